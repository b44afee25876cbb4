/* SPDX-License-Identifier: Apache-2.0 */
/* Whose a journal is: with locks, without, after a kill, on another host; and telling it to stop.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "store/journal.h"
#include "journal_files.h"

/* fcntl as on a file system without locks, when a test asks for it (the link wraps it). */
static int no_locks;
int __real_fcntl(int fd, int command, void *argument);
int __real_fcntl64(int fd, int command, void *argument);
int __wrap_fcntl(int fd, int command, void *argument);
int __wrap_fcntl64(int fd, int command, void *argument);

int __wrap_fcntl(int fd, int command, void *argument)
{
    if (no_locks && command == F_OFD_SETLK) {
        errno = ENOLCK;
        return -1;
    }
    return __real_fcntl(fd, command, argument);
}

int __wrap_fcntl64(int fd, int command, void *argument)
{
    return __wrap_fcntl(fd, command, argument);
}

/* When a test asks for it the wall clock is an hour ahead for who looks at it, as before it is set
 * back (wrapped, too). */
static _Atomic int is_late; /* the journal's own thread looks, too */
int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    int rc = __real_clock_gettime(clock, now);

    if (is_late && clock == CLOCK_REALTIME)
        now->tv_sec += 3600;
    return rc;
}

static int with_locks(void **state)
{
    no_locks = 0;
    is_late = 0;
    return tear_down(state);
}

/* Runs in a child: claims, tells the parent, waits to be killed. */
static pid_t start_owner(void)
{
    int pipes[2];
    char byte;

    assert_int_equal(pipe(pipes), 0);
    pid_t pid = fork();
    if (pid == 0) {
        int start;
        int rc = ant_journal_prepare(out, &manifest, false, &start, &err);
        if (write(pipes[1], rc == 0 ? "y" : "n", 1) == 1)
            pause();
        _exit(0);
    }
    assert_int_equal(read(pipes[0], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    close(pipes[0]);
    close(pipes[1]);
    return pid;
}

static void kill_owner(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void one_live_job_at_a_time(void **state)
{
    (void)state;
    int start;

    pid_t pid = start_owner();
    assert_error(ant_journal_prepare(out, &manifest, false, &start, &err), ANT_EUSAGE,
                 "belongs to a running job: a process, pid ");
    assert_error(ant_journal_claim(out, &err), ANT_EUSAGE, "belongs to a running job");
    kill_owner(pid);
    prepare(1);
}

static void without_locks_the_owner_must_move(void **state)
{
    (void)state;
    int start;

    no_locks = 1;
    setenv("SLURM_JOB_ID", "77", 1);
    pid_t pid = start_owner();
    setenv("SLURM_JOB_ID", "7", 1);
    assert_error(ant_journal_prepare(out, &manifest, false, &start, &err), ANT_EUSAGE,
                 "belongs to a running job: Slurm job 77, pid ");
    kill_owner(pid);
    prepare(1); /* after watching it for a while */
    ant_journal_release();
    double began = ant_now();
    prepare(1);
    assert_true(ant_now() - began < 5); /* it was given up in order: nothing is watched */
}

/* Another host's owner, whose lock cannot be seen here: only its time tells. */
static void another_kernels_owner_must_move(void **state)
{
    (void)state;
    static const char other[] = "Slurm job 3, pid 1 on n9 since 2026\nanother-boot\n";
    int start;

    prepare(1);
    ant_journal_release();
    assert_int_equal(ant_file_write(inside("owner"), other, strlen(other), &err), 0);
    pid_t pid = fork();
    if (pid == 0)
        for (;;) {
            utimensat(AT_FDCWD, inside("owner"), NULL, 0);
            usleep(200000);
        }
    assert_error(ant_journal_prepare(out, &manifest, false, &start, &err), ANT_EUSAGE,
                 "belongs to a running job: Slurm job 3, pid 1 on n9");
    kill_owner(pid);
    prepare(1);
    assert_int_equal(ant_journal_check_claim(&err), 0);
    assert_int_equal(ant_file_write(inside("owner"), other, strlen(other), &err), 0);
    assert_error(ant_journal_check_claim(&err), ANT_EUSAGE, "Slurm job 3, pid 1 on n9");
}

static void a_running_job_can_be_asked_to_stop(void **state)
{
    (void)state;
    char owner[256];
    int start;

    assert_error(ant_journal_halt(out, false, owner, sizeof(owner), &err), ANT_ENOENT, "no job");
    pid_t pid = start_owner();
    assert_int_equal(ant_journal_halt_asked(out), ANT_HALT_NO);
    assert_int_equal(ant_journal_halt(out, false, owner, sizeof(owner), &err), 0);
    assert_non_null(strstr(owner, "a process, pid "));
    assert_int_equal(ant_journal_halt_asked(out), ANT_HALT_DRAIN);
    assert_int_equal(ant_journal_halt(out, true, owner, sizeof(owner), &err), 0);
    assert_int_equal(ant_journal_halt_asked(out), ANT_HALT_NOW);
    kill_owner(pid);
    assert_error(ant_journal_halt(out, false, owner, sizeof(owner), &err), ANT_ENOENT, "no job");
    assert_int_equal(ant_journal_prepare(out, &manifest, false, &start, &err), 0);
    assert_int_equal(ant_journal_halt_asked(out), ANT_HALT_NO); /* that was for the other */
}

/* The wall clock may be set back while a job runs: its owner goes on giving signs. */
static void setting_the_clock_stops_no_sign(void **state)
{
    (void)state;
    struct stat was, is;
    double began = ant_now();

    is_late = 1;
    prepare(1);
    assert_int_equal(stat(inside("owner"), &was), 0);
    do {
        usleep(50000);
        assert_int_equal(stat(inside("owner"), &is), 0);
    } while (is.st_mtim.tv_sec == was.st_mtim.tv_sec && is.st_mtim.tv_nsec == was.st_mtim.tv_nsec &&
             ant_now() - began < 20);
    assert_true(ant_now() - began < 20);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, with_locks)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_live_job_at_a_time),          TEST(without_locks_the_owner_must_move),
        TEST(another_kernels_owner_must_move), TEST(a_running_job_can_be_asked_to_stop),
        TEST(setting_the_clock_stops_no_sign),
    };
    return cmocka_run_group_tests_name("journal_owner", tests, NULL, NULL);
}
