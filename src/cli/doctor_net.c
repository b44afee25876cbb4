/* SPDX-License-Identifier: Apache-2.0 */
/* What the doctor looks at between ranks: the launcher, the first exchange, and the ways messages
 * go. */
#include "config.h"

#include <dirent.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/doctor.h"
#include "job/transport.h"

/* ---- the launcher and the exchange ----------------------------------------------------------- */

void ant_doctor_launcher(struct doctor *doctor)
{
    const char *server = getenv("PMIX_VERSION"), *client = ant_job_pmix_version(doctor->job);
    const char *tasks = getenv("SLURM_NTASKS");

    if (server && *client && atoi(server) != atoi(client))
        ant_doctor_find(doctor, DOCTOR_WARN,
                        "use the PMIx that the launcher was built with: another major version may "
                        "lack what the other expects",
                        "%s, %d ranks, PMIx library %s but server %s",
                        ant_job_launcher(doctor->job), doctor->size, client, server);
    else if (doctor->size == 1 && !getenv("PMIX_NAMESPACE") && tasks && atoi(tasks) > 1)
        ant_doctor_find(doctor, DOCTOR_WARN, "start it as the job: srun --mpi=pmix antiphon doctor",
                        "one rank without a launcher, in a job of %s tasks", tasks);
    else
        ant_doctor_find(doctor, DOCTOR_OK, "", "%s, %d ranks, PMIx library %s, server %s",
                        ant_job_launcher(doctor->job), doctor->size, *client ? client : "none",
                        server ? server : "unknown");
}

/* What the last rank puts late is there for all after the fence. */
void ant_doctor_fence(struct doctor *doctor)
{
    const struct timespec late = {0, 200000000};
    int value = 4711, got = 0, last = doctor->size - 1;
    struct ant_error err = {{0}};
    double start = ant_now();

    if (doctor->rank == last && doctor->size > 1)
        nanosleep(&late, NULL);
    int rc = ant_job_put(doctor->job, "antiphon.doctor", &value, sizeof(value), &err);
    if (rc == 0)
        rc = ant_job_fence(doctor->job, &err);
    if (rc == 0)
        rc = ant_job_get(doctor->job, last, "antiphon.doctor", &got, sizeof(got), &err);
    if (rc < 0 || got != value)
        ant_doctor_find(doctor, DOCTOR_FAIL,
                        "the PMIx server is broken or of another version: see slurmd's log",
                        "what rank %d put cannot be read after the fence: %.200s", last, err.text);
    else if (ant_now() - start > 10)
        ant_doctor_find(doctor, DOCTOR_WARN,
                        "starting will be slow: look at the load of the Slurm daemons",
                        "takes more than 10 s");
    else
        ant_doctor_find(doctor, DOCTOR_OK, "", "waits for all");
}

/* Also brings the cards; a rank whose UCX does not start has no address in its own. */
void ant_doctor_program(struct doctor *doctor)
{
    struct ant_card card = {0};
    struct ant_error err;

    if (ant_transport_open(&doctor->transport, false, &doctor->why) == 0)
        card.address =
            (unsigned char *)ant_transport_address(doctor->transport, &card.address_bytes);
    if (ant_job_exchange(doctor->job, &card, doctor->settings.timeout / 2, &err) < 0) {
        ant_doctor_find(doctor, DOCTOR_FAIL,
                        "start one file on all nodes, from a file system that they share", "%.200s",
                        err.text);
        return;
    }
    doctor->cards = ant_job_cards(doctor->job);
    ant_doctor_find(doctor, DOCTOR_OK, "", "the same on all ranks");
}

/* ---- clocks ---------------------------------------------------------------------------------- */

static int meet_again(struct doctor *doctor, struct ant_error *err)
{
    return doctor->world ? ant_group_barrier(doctor->world, doctor->settings.timeout, err)
                         : ant_job_fence(doctor->job, err);
}

void ant_doctor_clocks(struct doctor *doctor)
{
    double mine, *all = ant_xcalloc((size_t)doctor->size, sizeof(*all));
    int first = 0, last = 0;
    struct ant_error err;
    int rc = meet_again(doctor, &err);

    mine = ant_utc_now();
    if (rc == 0)
        rc = ant_doctor_share(doctor, &mine, sizeof(mine), all, &err);
    for (int i = 1; i < doctor->size; i++) {
        first = all[i] < all[first] ? i : first;
        last = all[i] > all[last] ? i : last;
    }
    double apart = all[last] - all[first];
    free(all);
    if (rc < 0)
        ant_doctor_find(doctor, DOCTOR_FAIL, "see the line about UCX", "%.200s", err.text);
    else if (apart > 2)
        ant_doctor_find(doctor, DOCTOR_WARN,
                        "times of different nodes cannot be compared: have NTP looked at",
                        "that of rank %d is %.0f s ahead of that of rank %d", last, apart, first);
    else
        ant_doctor_find(doctor, DOCTOR_OK, "", "agree");
}

/* ---- interfaces ------------------------------------------------------------------------------ */

struct interface {
    char name[32];
    bool is_up;
    long mbits; /* 0: the kernel does not say */
};

enum { MOST_INTERFACES = 64 };

static bool read_word(const char *sys, const char *name, const char *what, char *out, size_t bytes)
{
    char *path = ant_xasprintf("%s/class/net/%s/%s", sys, name, what);
    FILE *file = fopen(path, "re");
    bool is_read = file && fgets(out, (int)bytes, file);

    if (file)
        fclose(file);
    free(path);
    return is_read;
}

static void read_interface(struct interface *out, const char *sys, const char *name)
{
    char flags[32] = "0", state[32] = "", speed[32] = "0";

    *out = (struct interface){0};
    snprintf(out->name, sizeof(out->name), "%.31s", name);
    read_word(sys, name, "flags", flags, sizeof(flags));
    read_word(sys, name, "operstate", state, sizeof(state));
    if (!read_word(sys, name, "speed", speed, sizeof(speed)))
        snprintf(speed, sizeof(speed), "0");
    out->is_up = (strtol(flags, NULL, 0) & IFF_UP) && strncmp(state, "down", 4) != 0;
    out->mbits = strtol(speed, NULL, 10);
    if (out->mbits < 0)
        out->mbits = 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct interface *)a)->name, ((const struct interface *)b)->name);
}

static int read_interfaces(const char *sys, struct interface *out)
{
    char *path = ant_xasprintf("%s/class/net", sys);
    DIR *folder = opendir(path);
    struct dirent *entry;
    int n = 0;

    while (folder && n < MOST_INTERFACES && (entry = readdir(folder)))
        if (entry->d_name[0] != '.')
            read_interface(&out[n++], sys, entry->d_name);
    if (folder)
        closedir(folder);
    free(path);
    qsort(out, (size_t)n, sizeof(*out), by_name);
    return n;
}

bool ant_doctor_has_fabric(const struct doctor *doctor)
{
    char *path = ant_xasprintf("%s/class/infiniband", doctor->sys);
    DIR *folder = opendir(path);
    struct dirent *entry;
    bool has = false;

    while (folder && !has && (entry = readdir(folder)))
        has = entry->d_name[0] != '.';
    if (folder)
        closedir(folder);
    free(path);
    return has;
}

static bool is_loopback(const struct interface *interface)
{
    return strcmp(interface->name, "lo") == 0;
}

static bool is_on_several_hosts(const struct doctor *doctor)
{
    return doctor->cards && doctor->cards[doctor->rank].local_size < doctor->size;
}

void ant_doctor_interfaces(struct doctor *doctor)
{
    struct interface all[MOST_INTERFACES];
    struct ant_buf text = {0};
    int n = read_interfaces(doctor->sys, all), up = 0;
    long best = 0;

    for (int i = 0; i < n; i++) {
        if (!all[i].is_up || is_loopback(&all[i]))
            continue;
        ant_buf_printf(&text, "%s%s", up++ ? ", " : "", all[i].name);
        if (all[i].mbits > 0)
            ant_buf_printf(&text, " of %g Gb/s", (double)all[i].mbits / 1e3);
        best = all[i].mbits > best ? all[i].mbits : best;
    }
    ant_buf_printf(&text, "%s%s", up ? " up" : "none but loopback is up",
                   ant_doctor_has_fabric(doctor) ? ", and InfiniBand or RoCE devices" : "");
    if (up == 0 && !ant_doctor_has_fabric(doctor) && is_on_several_hosts(doctor))
        ant_doctor_find(doctor, DOCTOR_FAIL, "ranks of other hosts cannot be reached: see ip link",
                        "%s", text.data);
    else if (best > 0 && best < 10000 && is_on_several_hosts(doctor) &&
             !ant_doctor_has_fabric(doctor))
        ant_doctor_find(doctor, DOCTOR_WARN,
                        "enough for --dp-size; replicas (--tp-size, --pp-size, --ep-scope job) "
                        "should stay within a host",
                        "%s: slow", text.data);
    else
        ant_doctor_find(doctor, DOCTOR_OK, "", "%s", text.data);
    ant_buf_release(&text);
}

/* ---- devices by name ------------------------------------------------------------------------- */

static bool has_file(const char *sys, const char *class, const char *name)
{
    char *path = ant_xasprintf("%s/class/%s/%s", sys, class, name);
    struct stat st;
    bool has = stat(path, &st) == 0;

    free(path);
    return has;
}

/* The first name of a list of UCX's ("mlx5_0:1,eth0") that is no device here; false: there is none.
 * What is all, left out or a pattern is not looked at. */
static bool ucx_misses(const char *sys, const char *list, char out[64])
{
    if (strcmp(list, "all") == 0 || strpbrk(list, "^[*"))
        return false;
    for (; *list; list += strcspn(list, ","), list += *list == ',') {
        snprintf(out, 64, "%.*s", (int)strcspn(list, ","), list);
        char *port = strchr(out, ':');
        if (port)
            *port = '\0';
        bool is_there = has_file(sys, "infiniband", out) || (!port && has_file(sys, "net", out));
        if (port)
            *port = ':';
        if (*out && !is_there)
            return true;
    }
    return false;
}

/* Whether NCCL's list of prefixes ("ib,eth", "=eth0" exactly, "^docker" others) takes a name. */
static bool nccl_takes(const char *list, const char *name)
{
    bool is_not = *list == '^', is_exact, has = false;

    list += is_not;
    is_exact = *list == '=';
    list += is_exact;
    for (; *list; list += strcspn(list, ","), list += *list == ',') {
        size_t length = strcspn(list, ",");
        has |= length > 0 && strncmp(name, list, length) == 0 && (!is_exact || !name[length]);
    }
    return has != is_not;
}

/* NCCL's own choice: InfiniBand's names first, what containers make after all others. */
static int nccl_order(const struct interface *interface)
{
    const char *name = interface->name;

    return strncmp(name, "ib", 2) == 0       ? 0
           : strncmp(name, "docker", 6) == 0 ? 2
           : is_loopback(interface)          ? 3
           : strncmp(name, "virbr", 5) == 0  ? 4
                                             : 1;
}

/* The interface that NCCL takes for its sockets, "" if the list names none that is up. */
static void nccl_choice(const char *sys, const char *list, char out[32])
{
    struct interface all[MOST_INTERFACES];
    int n = read_interfaces(sys, all), order = 5;

    *out = '\0';
    for (int i = 0; i < n; i++)
        if (all[i].is_up && (!list || nccl_takes(list, all[i].name)) &&
            (list ? !*out : nccl_order(&all[i]) < order)) {
            order = nccl_order(&all[i]);
            memcpy(out, all[i].name, sizeof(all[i].name));
        }
}

void ant_doctor_names(struct doctor *doctor)
{
    const char *nccl = getenv("NCCL_SOCKET_IFNAME"), *ucx = getenv("UCX_NET_DEVICES");
    char missing[64], chosen[32];

    nccl = nccl && *nccl ? nccl : NULL;
    nccl_choice(doctor->sys, nccl, chosen);
    if (ucx && ucx_misses(doctor->sys, ucx, missing))
        ant_doctor_find(doctor, DOCTOR_FAIL, "unset it, or name one that ucx_info -d lists",
                        "UCX_NET_DEVICES=%.100s: there is no '%s' here", ucx, missing);
    else if (nccl && !*chosen)
        ant_doctor_find(doctor, DOCTOR_FAIL, "unset it, or name one that ip link shows as up",
                        "NCCL_SOCKET_IFNAME=%.100s: no interface that is up has such a name", nccl);
    else
        ant_doctor_find(doctor, DOCTOR_OK, "", "NCCL takes %s for its sockets, UCX %.100s",
                        *chosen ? chosen : "none", ucx ? ucx : "what is best");
}

/* ---- messages -------------------------------------------------------------------------------- */

/* The group of all ranks, if every one of them has an address. */
static int open_world(struct doctor *doctor, struct ant_error *err)
{
    int *ranks = ant_xcalloc((size_t)doctor->size, sizeof(*ranks)), rc = 0;

    for (int i = 0; i < doctor->size; i++) {
        ranks[i] = i;
        if (rc == 0 && doctor->size > 1 && doctor->cards[i].address_bytes == 0)
            rc = i == doctor->rank ? ant_fail(err, ANT_EPEER, "%s", doctor->why.text)
                                   : ant_fail(err, ANT_EPEER, "UCX of rank %d does not start", i);
    }
    if (rc == 0)
        rc = ant_group_open(&doctor->world, doctor->transport, doctor->cards, ranks, doctor->size,
                            doctor->rank, err);
    free(ranks);
    return rc;
}

/* Seconds of the fastest of some barriers: ranks that share cores are slow now and then. */
static int time_barriers(struct doctor *doctor, double *best, struct ant_error *err)
{
    enum { ROUNDS = 20 };

    ANT_TRY(open_world(doctor, err));
    ANT_TRY(ant_group_barrier(doctor->world, doctor->settings.timeout, err));
    for (int i = 0; i < ROUNDS; i++) {
        double start = ant_now();
        ANT_TRY(ant_group_barrier(doctor->world, doctor->settings.timeout, err));
        if (i == 0 || ant_now() - start < *best)
            *best = ant_now() - start;
    }
    return 0;
}

/* All or none go on with UCX. */
static bool works_for_all(struct doctor *doctor, int rc)
{
    struct ant_group *world = doctor->world;
    int *all = ant_xcalloc((size_t)doctor->size, sizeof(*all));
    struct ant_error err;
    bool works;

    doctor->world = NULL; /* this is asked by PMIx */
    works = ant_doctor_share(doctor, &rc, sizeof(rc), all, &err) == 0;
    for (int i = 0; i < doctor->size; i++)
        works &= all[i] == 0;
    free(all);
    if (works)
        doctor->world = world;
    else
        ant_group_close(world);
    return works;
}

void ant_doctor_messages(struct doctor *doctor)
{
    struct ant_error err = {{0}};
    double best = 0;
    int rc = time_barriers(doctor, &best, &err);

    works_for_all(doctor, rc);
    if (rc < 0)
        ant_doctor_find(doctor, DOCTOR_FAIL,
                        "UCX_NET_DEVICES and UCX_TLS name what it may use; ucx_info -d lists it",
                        "%.200s", err.text);
    else if (best > 5e-3)
        ant_doctor_find(doctor, DOCTOR_WARN,
                        "messages go a slow way: see ucx_info -d and UCX_NET_DEVICES",
                        "a barrier takes more than 5 ms");
    else
        ant_doctor_find(doctor, DOCTOR_OK, "", "version %s, all ranks reach each other",
                        *ant_transport_version() ? ant_transport_version() : "none");
}

/* ---- transports ------------------------------------------------------------------------------ */

static bool is_tcp_alone(const char *ways)
{
    return strncmp(ways, "tcp/", 4) == 0 && !strstr(ways, ", ");
}

void ant_doctor_judge_ways(struct doctor *doctor, const char *near, const char *far)
{
    const char *chosen = getenv("UCX_TLS");
    bool has_fabric = ant_doctor_has_fabric(doctor);
    char text[256];

    snprintf(text, sizeof(text), "%s%.80s%s%s%.80s", *near ? "within the host " : "", near,
             *near && *far ? ", " : "", *far ? "between hosts " : "", far);
    if (is_tcp_alone(near))
        ant_doctor_find(doctor, DOCTOR_WARN,
                        chosen ? "unset UCX_TLS, or add sm to it: shared memory is 50 times faster"
                               : "let ranks of a host share memory: /dev/shm and one PID namespace",
                        "%s: TCP alone%s%.40s", text, chosen ? ", UCX_TLS is " : "",
                        chosen ? chosen : "");
    else if (is_tcp_alone(far))
        ant_doctor_find(doctor, DOCTOR_WARN,
                        chosen       ? "unset UCX_TLS, or add rc to it"
                        : has_fabric ? "this UCX lacks InfiniBand: install its ib module, or a UCX "
                                       "that ucx_info -d shows rc of"
                                     : "enough for --dp-size; replicas should stay within a host",
                        "%s: TCP alone, %s%.40s", text,
                        chosen       ? "UCX_TLS is "
                        : has_fabric ? "though there are InfiniBand or RoCE devices"
                                     : "there is no InfiniBand or RoCE device",
                        chosen ? chosen : "");
    else
        ant_doctor_find(doctor, DOCTOR_OK, "", "%s", *text ? text : "one rank needs none");
}

/* The ways to the first rank of this host but us, and to the first of another. */
void ant_doctor_ways(struct doctor *doctor)
{
    char near[160] = "", far[160] = "";
    int node = doctor->cards[doctor->rank].node;

    for (int i = doctor->size - 1; i >= 0; i--) {
        bool is_near = doctor->cards[i].node == node;
        char ways[160];

        if (i == doctor->rank)
            continue;
        ant_transport_ways(doctor->transport, i, ways, sizeof(ways));
        if (*ways)
            snprintf(is_near ? near : far, sizeof(near), "%s", ways);
    }
    ant_doctor_judge_ways(doctor, near, far);
}
