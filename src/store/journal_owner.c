/* SPDX-License-Identifier: Apache-2.0 */
/* Whose the journal's folder is, and how to tell that job to stop. */
#include "config.h"

#include "store/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/nap.h"
#include "store/journal_folder.h"

enum { MAX_OWNER = 512, BEAT_S = 1, WATCH_S = 6 };

/* Who is meant, for people; then which kernel, on a line of its own. */
struct owner {
    char who[MAX_OWNER], boot[48];
};

/* The claim of this process. One job runs in a process; the lock lives as long as the file is
 * open. */
static struct claim {
    int fd;     /* -1: none */
    char *path; /* owned */
    struct owner owner;
    pthread_t beat;
    struct ant_nap nap;
} claim = {.fd = -1};

/* ---- who it is ------------------------------------------------------------------------------- */

static void read_boot_id(char *out, size_t bytes)
{
    char *text = NULL;

    *out = '\0';
    if (ant_file_read(&text, NULL, "/proc/sys/kernel/random/boot_id", 4096, NULL) == 0)
        snprintf(out, bytes, "%.*s", (int)strcspn(text, "\n"), text);
    free(text);
}

static void owner_of_this(struct owner *out)
{
    const char *slurm = getenv("SLURM_JOB_ID"), *pmix = getenv("PMIX_NAMESPACE");
    char job[160] = "a process", host[65] = "", now[32];

    if (slurm)
        snprintf(job, sizeof(job), "Slurm job %.60s", slurm);
    else if (pmix)
        snprintf(job, sizeof(job), "job %.120s", pmix);
    gethostname(host, sizeof(host) - 1);
    ant_utc(now, sizeof(now), time(NULL));
    snprintf(out->who, sizeof(out->who), "%s, pid %ld on %s since %s", job, (long)getpid(), host,
             now);
    read_boot_id(out->boot, sizeof(out->boot));
}

static void read_owner(int fd, struct owner *out)
{
    char text[MAX_OWNER + 64];
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

    text[n > 0 ? n : 0] = '\0';
    size_t line = strcspn(text, "\n");
    snprintf(out->who, sizeof(out->who), "%.*s", (int)line, text);
    const char *boot = text + line + (text[line] == '\n');
    snprintf(out->boot, sizeof(out->boot), "%.*s", (int)strcspn(boot, "\n"), boot);
}

static int write_owner(int fd, const struct owner *owner, const char *path, struct ant_error *err)
{
    char text[MAX_OWNER + 64];
    int n = snprintf(text, sizeof(text), "%s\n%s\n", owner->who, owner->boot);

    if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)n, 0) < 0)
        return ant_fail(err, ANT_EIO, "cannot write '%s': %s", path, strerror(errno));
    return 0;
}

/* ---- does it live ---------------------------------------------------------------------------- */

enum lock { LOCK_NONE, LOCK_OURS, LOCK_THEIRS }; /* NONE: the file system has no locks */

static enum lock try_lock(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
        return LOCK_OURS;
    return errno == EAGAIN || errno == EACCES ? LOCK_THEIRS : LOCK_NONE;
}

/* The time of the file as it is now: opened anew, since a network file system keeps what it knows
 * of an open one. */
static struct timespec time_of(const char *path)
{
    struct stat st = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd >= 0 && fstat(fd, &st) < 0)
        st = (struct stat){0};
    if (fd >= 0)
        close(fd);
    return st.st_mtim;
}

static bool is_beating(const char *path)
{
    struct timespec was = time_of(path), is;

    for (int i = 0; i < WATCH_S; i++) {
        sleep(1);
        is = time_of(path);
        if (is.tv_sec != was.tv_sec || is.tv_nsec != was.tv_nsec)
            return true;
    }
    return false;
}

/* Is the owner that the file names alive? Within one kernel a lock that can be had says no; another
 * host's may not be seen here. */
static bool is_alive(const struct owner *owner, enum lock lock, const char *path)
{
    char boot[48];

    if (lock == LOCK_THEIRS)
        return true;
    if (!*owner->who)
        return false;
    read_boot_id(boot, sizeof(boot));
    if (lock == LOCK_OURS && *boot && strcmp(owner->boot, boot) == 0)
        return false;
    return is_beating(path);
}

/* ---- the claim ------------------------------------------------------------------------------- */

static void *beat(void *data)
{
    (void)data;
    while (!ant_nap_sleep(&claim.nap, BEAT_S))
        futimens(claim.fd, NULL);
    return NULL;
}

static int claim_open_file(int fd, const char *path, const char *out_path, struct ant_error *err)
{
    struct owner owner;

    read_owner(fd, &owner);
    if (is_alive(&owner, try_lock(fd), path))
        return ant_fail(
            err, ANT_EUSAGE,
            "'%s.journal' belongs to a running job: %s; wait for its end, or give another "
            "--output",
            out_path, *owner.who ? owner.who : "unknown");
    owner_of_this(&owner);
    ANT_TRY(write_owner(fd, &owner, path, err));
    claim.fd = fd;
    ant_nap_init(&claim.nap);
    int rc = pthread_create(&claim.beat, NULL, beat, NULL);
    if (rc != 0) {
        ant_nap_fini(&claim.nap);
        claim.fd = -1;
        return ant_fail(err, ANT_EIO, "cannot start a thread: %s", strerror(rc));
    }
    claim.path = ant_xstrdup(path);
    claim.owner = owner;
    return 0;
}

int ant_journal_claim(const char *out_path, struct ant_error *err)
{
    if (claim.fd >= 0)
        return ant_fail(err, ANT_EBUG, "this process has claimed '%s' already", claim.path);

    char *path = ant_journal_in_folder(out_path, "owner");
    int rc = 0;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        rc = ant_fail(err, errno == ENOENT ? ANT_ENOENT : ANT_EIO, "cannot open '%s': %s", path,
                      strerror(errno));
    else
        rc = claim_open_file(fd, path, out_path, err);
    if (rc < 0 && fd >= 0)
        close(fd);
    free(path);
    return rc;
}

int ant_journal_check_claim(struct ant_error *err)
{
    struct owner owner = {.who = ""};

    int fd = open(claim.path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        read_owner(fd, &owner);
        close(fd);
    }
    if (strcmp(owner.who, claim.owner.who) == 0 && strcmp(owner.boot, claim.owner.boot) == 0)
        return 0;
    return ant_fail(err, ANT_EUSAGE, "'%s' is no longer ours: %s has taken it", claim.path,
                    *owner.who ? owner.who : "somebody");
}

/* The empty file names nobody: the next job need not watch it. */
void ant_journal_release(void)
{
    if (claim.fd < 0)
        return;
    ant_nap_end(&claim.nap);
    pthread_join(claim.beat, NULL);
    ant_nap_fini(&claim.nap);
    if (ftruncate(claim.fd, 0) < 0)
        unlink(claim.path);
    close(claim.fd);
    free(claim.path);
    claim.fd = -1;
    claim.path = NULL;
}

/* ---- halt ------------------------------------------------------------------------------------ */

int ant_journal_halt(const char *out_path, bool now, char *owner, size_t bytes,
                     struct ant_error *err)
{
    const char *text = now ? "now\n" : "drain\n";
    char *path = ant_journal_in_folder(out_path, "owner");
    struct owner is = {.who = ""};
    int rc = 0;

    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd >= 0)
        read_owner(fd, &is);
    if (fd < 0 && errno != ENOENT)
        rc = ant_fail(err, ANT_EIO, "cannot open '%s': %s", path, strerror(errno));
    else if (fd < 0 || !is_alive(&is, try_lock(fd), path))
        rc = ant_fail(err, ANT_ENOENT, "no job is writing '%s'", out_path);
    if (fd >= 0)
        close(fd);
    free(path);
    ANT_TRY(rc);
    snprintf(owner, bytes, "%s", is.who);
    path = ant_journal_in_folder(out_path, "halt");
    rc = ant_file_write(path, text, strlen(text), err);
    free(path);
    return rc;
}

int ant_journal_who(const char *out_path, char *owner, size_t bytes, double *silent,
                    struct ant_error *err)
{
    char *path = ant_journal_in_folder(out_path, "owner");
    struct owner is = {.who = ""};
    int rc = 0;

    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        rc = ant_fail(err, errno == ENOENT ? ANT_ENOENT : ANT_EIO, "cannot open '%s': %s", path,
                      strerror(errno));
    else
        read_owner(fd, &is);
    if (fd >= 0)
        close(fd);
    struct timespec then = time_of(path);
    free(path);
    ANT_TRY(rc);
    *silent = ant_utc_now() - ((double)then.tv_sec + 1e-9 * (double)then.tv_nsec);
    snprintf(owner, bytes, "%s", is.who);
    return 0;
}

enum ant_halt ant_journal_halt_asked(const char *out_path)
{
    char *path = ant_journal_in_folder(out_path, "halt"), *text = NULL;
    enum ant_halt asked = ANT_HALT_NO;

    if (access(path, F_OK) == 0 && ant_file_read(&text, NULL, path, 64, NULL) == 0)
        asked = strncmp(text, "now", 3) == 0 ? ANT_HALT_NOW : ANT_HALT_DRAIN;
    free(text);
    free(path);
    return asked;
}
