/* SPDX-License-Identifier: Apache-2.0 */
/* What the doctor makes of hardware that is not here. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/mem.h"
#include "cli/doctor.h"

static struct doctor_finding finding;

static void is_found(enum doctor_verdict verdict, const char *text, const char *fix)
{
    assert_int_equal(finding.verdict, verdict);
    if (!strstr(finding.text, text) || !strstr(finding.fix, fix))
        fail_msg("found '%s' -> '%s'", finding.text, finding.fix);
    assert_true((verdict == DOCTOR_OK) == (*finding.fix == '\0'));
    finding = (struct doctor_finding){0};
}

/* ---- GPUs ------------------------------------------------------------------------------------ */

static struct doctor_gpu gpu_of(const char *name, const char *uuid)
{
    struct doctor_gpu gpu = {.is_there = 1,
                             .gpu = {.driver = 13000, .runtime = 13000, .total_bytes = 80e9}};

    snprintf(gpu.gpu.name, sizeof(gpu.gpu.name), "%s", name);
    snprintf(gpu.gpu.uuid, sizeof(gpu.gpu.uuid), "%s", uuid);
    gpu.gpu.free_bytes = 79e9;
    return gpu;
}

static void finds_twins(void **state)
{
    struct doctor doctor = {.size = 3, .rank = 2, .finding = &finding};
    struct doctor_gpu all[] = {gpu_of("H100", "GPU-1"), gpu_of("H100", "GPU-2"),
                               gpu_of("H100", "GPU-3")};

    (void)state;
    ant_doctor_judge_gpus(&doctor, all);
    is_found(DOCTOR_OK, "H100, 80 GB, one a rank", "");
    all[2] = gpu_of("H100", "GPU-2");
    ant_doctor_judge_gpus(&doctor, all);
    is_found(DOCTOR_FAIL, "H100 (GPU-2) is also that of rank 1", "--gpus-per-task=1");
    all[2] = gpu_of("A100", "GPU-4");
    ant_doctor_judge_gpus(&doctor, all);
    is_found(DOCTOR_WARN, "A100, while rank 0 has H100", "one kind");
    all[2] = gpu_of("H100", "GPU-4");
    all[2].gpu.free_bytes = 40e9;
    ant_doctor_judge_gpus(&doctor, all);
    is_found(DOCTOR_WARN, "only 40 of 80 GB are free", "nvidia-smi");
}

static void finds_ranks_without(void **state)
{
    struct doctor doctor = {.size = 2, .rank = 1, .finding = &finding};
    struct doctor_gpu all[2] = {{.why = "no device"}, {.why = "no device"}};

    (void)state;
    ant_doctor_judge_gpus(&doctor, all);
    is_found(DOCTOR_OK, "none: no device", "");
    all[0] = gpu_of("H100", "GPU-1");
    ant_doctor_judge_gpus(&doctor, all);
    is_found(DOCTOR_FAIL, "none, while rank 0 has one", "--gpus-per-task=1");
    all[1].is_asked = 1;
    ant_doctor_judge_gpus(&doctor, all);
    is_found(DOCTOR_FAIL, "none: no device", "cannot use them");
}

static void compares_drivers(void **state)
{
    struct doctor doctor = {.size = 1, .finding = &finding};
    struct doctor_gpu gpu = gpu_of("H100", "GPU-1");

    (void)state;
    ant_doctor_judge_driver(&doctor, &gpu);
    is_found(DOCTOR_OK, "serves CUDA 13.0, the program needs 13.0", "");
    gpu.gpu.driver = 12040;
    ant_doctor_judge_driver(&doctor, &gpu);
    is_found(DOCTOR_FAIL, "serves CUDA 12.4, the program needs 13.0", "driver updated");
    gpu.gpu.runtime = 12080;
    ant_doctor_judge_driver(&doctor, &gpu);
    is_found(DOCTOR_WARN, "serves CUDA 12.4, the program was built with 12.8", "driver updated");
    gpu.gpu.driver = 0;
    ant_doctor_judge_driver(&doctor, &gpu);
    is_found(DOCTOR_OK, "no NVIDIA driver", "");
    gpu.is_asked = 1;
    ant_doctor_judge_driver(&doctor, &gpu);
    is_found(DOCTOR_FAIL, "no NVIDIA driver", "apptainer --nv");
}

static void rates_sums(void **state)
{
    struct ant_card cards[4] = {{.local_size = 4}, {.local_size = 4}};
    struct doctor doctor = {.size = 4, .cards = cards, .finding = &finding};

    (void)state;
    ant_doctor_judge_sum(&doctor, 1e-3, 100e6); /* 2 * 3/4 * 100 MB a GPU */
    is_found(DOCTOR_OK, "sums of all GPUs are right, at 150.0 GB/s a GPU", "");
    ant_doctor_judge_sum(&doctor, 50e-3, 100e6);
    is_found(DOCTOR_WARN, "at 3.0 GB/s", "NCCL_DEBUG=INFO");
    cards[0].local_size = 2;
    ant_doctor_judge_sum(&doctor, 50e-3, 100e6);
    is_found(DOCTOR_OK, "at 3.0 GB/s", "");
}

/* ---- networks -------------------------------------------------------------------------------- */

static void put(const char *sys, const char *path, const char *text)
{
    char *whole = ant_xasprintf("%s/class/%s", sys, path);
    struct ant_error err;

    for (char *slash = strchr(whole + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(whole, 0777);
        *slash = '/';
    }
    if (ant_file_write(whole, text, strlen(text), &err) < 0)
        fail_msg("%s", err.text);
    free(whole);
}

static int make_sys(void **state)
{
    static char sys[] = "/tmp/antiphon-doctor.XXXXXX";

    unsetenv("UCX_TLS");
    unsetenv("UCX_NET_DEVICES");
    unsetenv("NCCL_SOCKET_IFNAME");
    *state = mkdtemp(sys);
    put(sys, "net/lo/flags", "0x9\n");
    put(sys, "net/eth0/flags", "0x1003\n");
    put(sys, "net/eth0/operstate", "up\n");
    put(sys, "net/eth0/speed", "1000\n");
    put(sys, "net/eth1/flags", "0x1002\n");
    put(sys, "net/docker0/flags", "0x1003\n");
    put(sys, "net/docker0/operstate", "down\n");
    put(sys, "net/docker0/speed", "-1\n");
    return *state ? 0 : -1;
}

static int remove_sys(void **state)
{
    char *command = ant_xasprintf("rm -r '%s'", (char *)*state);
    int rc = system(command);

    free(command);
    return rc;
}

static void reads_interfaces(void **state)
{
    struct ant_card cards[2] = {{.local_size = 1}, {.local_size = 1}};
    struct doctor doctor = {.size = 2, .cards = cards, .sys = *state, .finding = &finding};

    ant_doctor_interfaces(&doctor);
    is_found(DOCTOR_WARN, "eth0 of 1 Gb/s up: slow", "within a host");
    cards[0].local_size = 2;
    ant_doctor_interfaces(&doctor);
    is_found(DOCTOR_OK, "eth0 of 1 Gb/s up", "");
    put(*state, "net/eth0/operstate", "down\n");
    ant_doctor_interfaces(&doctor);
    is_found(DOCTOR_OK, "none but loopback is up", "");
    cards[0].local_size = 1;
    ant_doctor_interfaces(&doctor);
    is_found(DOCTOR_FAIL, "none but loopback is up", "ip link");
    put(*state, "net/eth0/operstate", "up\n");
}

static void reads_device_names(void **state)
{
    struct doctor doctor = {.size = 1, .sys = *state, .finding = &finding};

    ant_doctor_names(&doctor);
    is_found(DOCTOR_OK, "NCCL takes eth0 for its sockets, UCX what is best", "");
    setenv("NCCL_SOCKET_IFNAME", "ib,eth", 1);
    ant_doctor_names(&doctor);
    is_found(DOCTOR_OK, "NCCL takes eth0", "");
    setenv("NCCL_SOCKET_IFNAME", "=eth", 1);
    ant_doctor_names(&doctor);
    is_found(DOCTOR_FAIL, "NCCL_SOCKET_IFNAME==eth", "ip link");
    setenv("NCCL_SOCKET_IFNAME", "^lo,docker", 1);
    ant_doctor_names(&doctor);
    is_found(DOCTOR_OK, "NCCL takes eth0", "");
    setenv("NCCL_SOCKET_IFNAME", "eth1", 1);
    ant_doctor_names(&doctor);
    is_found(DOCTOR_FAIL, "no interface that is up", "unset it");
    unsetenv("NCCL_SOCKET_IFNAME");
    setenv("UCX_NET_DEVICES", "eth0,mlx5_0:1", 1);
    ant_doctor_names(&doctor);
    is_found(DOCTOR_FAIL, "there is no 'mlx5_0:1' here", "ucx_info -d");
    put(*state, "infiniband/mlx5_0/ports", "");
    ant_doctor_names(&doctor);
    is_found(DOCTOR_OK, "UCX eth0,mlx5_0:1", "");
    unsetenv("UCX_NET_DEVICES");
}

/* After the test before it there is InfiniBand. */
static void judges_ways(void **state)
{
    struct doctor doctor = {.size = 2, .sys = *state, .finding = &finding};

    ant_doctor_judge_ways(&doctor, "posix/memory, cma/memory", "rc_mlx5/mlx5_0:1, tcp/eth0");
    is_found(DOCTOR_OK, "within the host posix/memory, cma/memory, between hosts rc_mlx5", "");
    ant_doctor_judge_ways(&doctor, "tcp/lo", "");
    is_found(DOCTOR_WARN, "within the host tcp/lo: TCP alone", "/dev/shm");
    ant_doctor_judge_ways(&doctor, "", "tcp/eth0");
    is_found(DOCTOR_WARN, "though there are InfiniBand", "ib module");
    setenv("UCX_TLS", "tcp", 1);
    ant_doctor_judge_ways(&doctor, "posix/memory", "tcp/eth0");
    is_found(DOCTOR_WARN, "TCP alone, UCX_TLS is tcp", "add rc");
    unsetenv("UCX_TLS");
    doctor.sys = "/nonexistent";
    ant_doctor_judge_ways(&doctor, "", "tcp/eth0");
    is_found(DOCTOR_WARN, "there is no InfiniBand", "within a host");
}

static void wants_locked_memory(void **state)
{
    struct doctor doctor = {.size = 1, .sys = *state, .finding = &finding};
    struct rlimit limit = {65536, 65536};

    assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
    ant_doctor_locked_memory(&doctor);
    is_found(DOCTOR_WARN, "only 0.1 MB may be locked", "LimitMEMLOCK=infinity");
    doctor.sys = "/nonexistent";
    ant_doctor_locked_memory(&doctor);
    is_found(DOCTOR_OK, "0.1 MB may be locked", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_twins),      cmocka_unit_test(finds_ranks_without),
        cmocka_unit_test(compares_drivers), cmocka_unit_test(rates_sums),
        cmocka_unit_test(reads_interfaces), cmocka_unit_test(reads_device_names),
        cmocka_unit_test(judges_ways),      cmocka_unit_test(wants_locked_memory),
    };

    return cmocka_run_group_tests(tests, make_sys, remove_sys);
}
