/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "job/group.h"

#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/log.h"
#include "base/mem.h"
#include "job/group_internal.h"
#include "job/transport.h"

/* A tag: 32 bits of group, 12 of the collective's number in it, 20 of the sender's group rank. The
 * first numbers are those of enum ant_line. */
enum { NUMBER_BITS = 12, RANK_BITS = 20 };

/* Sums of less go to everybody whole: one step instead of two. */
enum { WHOLE_BYTES = 32 << 10 };

static const double close_seconds = 10.0;

/* A message on its way to another member. */
struct sending {
    struct ant_flight flight;
    struct sending *next;
    unsigned char data[];
};

struct ant_group {
    struct ant_watch watch;
    int *ranks; /* (n) world ranks */
    int n, me;
    uint32_t number; /* of the collective under way */
    struct ant_flight flight;
    float *blocks; /* (n_blocks) what others sent to be summed; owned */
    size_t n_blocks;
    struct sending *sendings; /* owned, newest first */
};

/* ---- open and close -------------------------------------------------------------------------- */

static int check_ranks(const struct ant_group *group, int my_world_rank, struct ant_error *err)
{
    if (group->n < 1 || group->n > 1 << RANK_BITS)
        return ant_fail(err, ANT_EBUG, "a group of %d ranks", group->n);
    for (int i = 0; i < group->n; i++)
        if (group->ranks[i] < 0)
            return ant_fail(err, ANT_EBUG, "rank %d in a group", group->ranks[i]);
    if (group->me < 0)
        return ant_fail(err, ANT_EBUG, "rank %d opens a group it is not in", my_world_rank);
    if (group->n > 1 && !*ant_transport_version())
        return ant_fail(err, ANT_EUNSUPP,
                        "%d ranks cannot talk to each other: this program was built without UCX, "
                        "configure it --with-ucx",
                        group->n);
    return 0;
}

/* The same number on all members without asking them: of the ranks, and how often this very set
 * was opened before. */
static uint32_t make_id(struct ant_watch_list *list, const int *ranks, int n)
{
    uint64_t set[2] = {ant_digest(ranks, (size_t)n * sizeof(*ranks)).low, 0};

    for (int i = 0; i < list->n_opened; i++)
        set[1] += list->opened[i] == set[0];
    list->opened = ant_xrealloc(list->opened, (size_t)list->n_opened + 1, sizeof(*list->opened));
    list->opened[list->n_opened++] = set[0];
    return (uint32_t)ant_digest(set, sizeof(set)).low;
}

int ant_group_open(struct ant_group **out, struct ant_transport *transport,
                   const struct ant_card *cards, const int *ranks, int n, int my_world_rank,
                   struct ant_error *err)
{
    struct ant_group *group = ant_xcalloc(1, sizeof(*group));
    int rc;

    group->n = n;
    group->me = -1;
    group->ranks = ant_xcalloc(n > 0 ? (size_t)n : 1, sizeof(*ranks));
    for (int i = 0; i < n; i++) {
        group->ranks[i] = ranks[i];
        if (ranks[i] == my_world_rank)
            group->me = i;
    }
    group->flight.transport = transport;
    rc = check_ranks(group, my_world_rank, err);
    if (rc == 0) {
        group->watch = (struct ant_watch){
            .transport = transport,
            .id = make_id(ant_transport_watches(transport), ranks, n),
            .cards = cards,
            .ranks = group->ranks,
            .n = n,
            .me = group->me,
        };
        ant_transport_meet(transport, cards, ranks, n);
        rc = ant_watch_join(&group->watch, err);
    }
    if (rc < 0) {
        free(group->ranks);
        free(group);
        return rc;
    }
    *out = group;
    return 0;
}

/* Those that cannot arrive any more, or would take too long, are given up. */
static void close_sendings(struct ant_group *group)
{
    struct sending *sending;

    while ((sending = group->sendings)) {
        if (group->watch.failed)
            ant_flight_abandon(&sending->flight);
        else
            ant_watch_wait(&group->watch, &sending->flight, "send", close_seconds, NULL);
        group->sendings = sending->next;
        ant_flight_release(&sending->flight);
        free(sending);
    }
}

void ant_group_close(struct ant_group *group)
{
    if (!group)
        return;
    close_sendings(group);
    /* A failed group has nothing to wait for; of a failure in here nobody wants to know. */
    if (!group->watch.failed)
        ant_group_barrier(group, close_seconds, NULL);
    ant_watch_leave(&group->watch);
    ant_flight_release(&group->flight);
    free(group->blocks);
    free(group->ranks);
    free(group);
}

int ant_group_rank(const struct ant_group *group)
{
    return group->me;
}

int ant_group_size(const struct ant_group *group)
{
    return group->n;
}

/* ---- steps of a collective ------------------------------------------------------------------- */

/* In a group that has failed nothing is set out that would have to be taken back: what is on its
 * way between two ranks that both give up may never end. */
static int check_group(const struct ant_group *group, struct ant_error *err)
{
    const struct ant_watch *watch = &group->watch;

    return watch->failed ? ant_fail(err, watch->failed, "%s", watch->verdict.text) : 0;
}

static int begin(struct ant_group *group, struct ant_error *err)
{
    ANT_TRY(check_group(group, err));
    if (group->number < ANT_N_LINES - 1 || group->number == (1U << NUMBER_BITS) - 1)
        group->number = ANT_N_LINES - 1;
    group->number++;
    return 0;
}

static uint64_t tag_from(const struct ant_group *group, uint32_t number, int source)
{
    return (uint64_t)group->watch.id << 32 | (uint64_t)number << RANK_BITS | (uint32_t)source;
}

uint64_t ant_group_tag(const struct ant_group *group, enum ant_line line, int source)
{
    return tag_from(group, line, source);
}

struct ant_watch *ant_group_watch(struct ant_group *group)
{
    return &group->watch;
}

static void send_to(struct ant_group *group, int to, const void *data, size_t bytes)
{
    ant_flight_send(&group->flight, group->ranks[to], tag_from(group, group->number, group->me),
                    data, bytes);
}

static void receive_from(struct ant_group *group, int from, void *data, size_t bytes)
{
    ant_flight_receive(&group->flight, group->ranks[from], tag_from(group, group->number, from),
                       data, bytes);
}

static int wait_all(struct ant_group *group, const char *what, double timeout,
                    struct ant_error *err)
{
    return ant_watch_wait(&group->watch, &group->flight, what, timeout, err);
}

/* Gather blocks of all ranks on all ranks in ceil(log2 n) steps (Bruck). `blocks` holds them in the
 * order me, me + 1, ... around the group; start (n + 1) says where each begins. Before: the own
 * block is in its place. In the step of distance d a rank has d blocks, passes them on to the rank
 * d below, and gets as many following ones from the rank d above. */
static int gather_around(struct ant_group *group, const char *what, char *blocks,
                         const size_t *start, double timeout, struct ant_error *err)
{
    int n = group->n, me = group->me;

    ANT_TRY(begin(group, err));
    for (int have = 1; have < n; have *= 2) {
        int more = have < n - have ? have : n - have;

        receive_from(group, (me + have) % n, blocks + start[have],
                     start[have + more] - start[have]);
        send_to(group, (me - have + n) % n, blocks, start[more]);
        ANT_TRY(wait_all(group, what, timeout, err));
    }
    return 0;
}

/* Blocks of given sizes to `out`, in group order. */
static int gather_blocks(struct ant_group *group, const char *what, const void *mine,
                         const size_t *sizes, char *out, double timeout, struct ant_error *err)
{
    int n = group->n, me = group->me, rc;
    size_t *start = ant_xcalloc((size_t)n + 1, sizeof(*start));
    size_t before = 0; /* bytes of the blocks of lower ranks */
    char *blocks;

    for (int i = 0; i < n; i++)
        start[i + 1] = start[i] + sizes[(me + i) % n];
    for (int i = 0; i < me; i++)
        before += sizes[i];
    blocks = ant_xmalloc(start[n] + 1);
    if (sizes[me])
        memcpy(blocks, mine, sizes[me]);
    rc = gather_around(group, what, blocks, start, timeout, err);
    if (rc == 0 && start[n]) {
        size_t above = start[n] - before; /* bytes of mine and the higher ranks */

        memcpy(out + before, blocks, above);
        memcpy(out, blocks + above, before);
    }
    free(blocks);
    free(start);
    return rc;
}

/* ---- collectives ----------------------------------------------------------------------------- */

int ant_group_barrier(struct ant_group *group, double timeout, struct ant_error *err)
{
    /* A gathering of nothing: everybody has heard, directly or not, of everybody. */
    size_t *start = ant_xcalloc((size_t)group->n + 1, sizeof(*start));
    char nothing[1] = {0};
    int rc = gather_around(group, "barrier", nothing, start, timeout, err);

    free(start);
    return rc;
}

int ant_group_broadcast(struct ant_group *group, int root, void *data, size_t bytes, double timeout,
                        struct ant_error *err)
{
    int n = group->n, place, have = 1; /* place: 0 for the root, the others around the group */

    if (root < 0 || root >= n)
        return ant_fail(err, ANT_EBUG, "broadcast from rank %d of a group of %d", root, n);
    ANT_TRY(begin(group, err));
    place = (group->me - root + n) % n;
    /* A binomial tree: whoever has it when `have` ranks do gives it to the one `have` further. */
    while (have <= place)
        have *= 2;
    if (place > 0) {
        receive_from(group, (place - have / 2 + root) % n, data, bytes);
        ANT_TRY(wait_all(group, "broadcast", timeout, err));
    }
    for (; have < n; have *= 2)
        if (place + have < n)
            send_to(group, (place + have + root) % n, data, bytes);
    return wait_all(group, "broadcast", timeout, err);
}

int ant_group_all_gather(struct ant_group *group, const void *mine, size_t bytes, void *out,
                         double timeout, struct ant_error *err)
{
    size_t *sizes = ant_xcalloc((size_t)group->n, sizeof(*sizes));
    int rc;

    for (int i = 0; i < group->n; i++)
        sizes[i] = bytes;
    rc = gather_blocks(group, "all-gather", mine, sizes, out, timeout, err);
    free(sizes);
    return rc;
}

int ant_group_all_gather_v(struct ant_group *group, const void *mine, size_t bytes, void **out,
                           size_t *sizes, double timeout, struct ant_error *err)
{
    size_t total = 0;
    char *blocks;
    int rc;

    ANT_TRY(ant_group_all_gather(group, &bytes, sizeof(bytes), sizes, timeout, err));
    for (int i = 0; i < group->n; i++)
        total += sizes[i];
    blocks = ant_xmalloc(total + 1);
    rc = gather_blocks(group, "all-gather", mine, sizes, blocks, timeout, err);
    if (rc < 0) {
        free(blocks);
        return rc;
    }
    *out = blocks;
    return 0;
}

int ant_group_share_address(struct ant_group *group, const struct ant_transport *transport,
                            const struct ant_card *cards, struct ant_card **out, double timeout,
                            struct ant_error *err)
{
    size_t bytes, total = 0, n = (size_t)group->n, *sizes = ant_xcalloc(n, sizeof(*sizes));
    const void *mine = ant_transport_address(transport, &bytes);
    void *all = NULL;
    int rc = ant_group_all_gather_v(group, mine, bytes, &all, sizes, timeout, err);

    if (rc == 0) {
        for (size_t i = 0; i < n; i++)
            total += sizes[i];
        struct ant_card *copies = ant_xmalloc(n * sizeof(*copies) + total);
        unsigned char *address = (unsigned char *)(copies + n);
        memcpy(address, all, total);
        for (size_t i = 0; i < n; i++) {
            copies[i] = cards[i];
            copies[i].address = address;
            copies[i].address_bytes = sizes[i];
            address += sizes[i];
        }
        *out = copies;
    }
    free(all);
    free(sizes);
    return rc;
}

/* Where the part that rank i sums begins; i = size: the end. */
static size_t part_start(const struct ant_group *group, size_t n, int i)
{
    return n * (size_t)i / (size_t)group->n;
}

/* Room for a block of each rank; the own one is not used. */
static float *room_for_blocks(struct ant_group *group, size_t block)
{
    size_t n = block * (size_t)group->n;

    if (n > group->n_blocks) {
        free(group->blocks);
        group->blocks = ant_xcalloc(n, sizeof(float));
        group->n_blocks = n;
    }
    return group->blocks;
}

/* `mine` (n) becomes the sum of everybody's block in rank order. */
static void sum_blocks(const struct ant_group *group, float *mine, size_t n)
{
    const float *blocks = group->blocks;

    for (size_t i = 0; i < n; i++) {
        float sum = group->me == 0 ? mine[i] : blocks[i];

        for (int rank = 1; rank < group->n; rank++)
            sum += rank == group->me ? mine[i] : blocks[(size_t)rank * n + i];
        mine[i] = sum;
    }
}

/* Everybody gets everybody's numbers. */
static int reduce_whole(struct ant_group *group, float *data, size_t n, double timeout,
                        struct ant_error *err)
{
    float *blocks = room_for_blocks(group, n);

    ANT_TRY(begin(group, err));
    for (int i = 0; i < group->n; i++) {
        if (i == group->me)
            continue;
        receive_from(group, i, blocks + (size_t)i * n, n * sizeof(float));
        send_to(group, i, data, n * sizeof(float));
    }
    ANT_TRY(wait_all(group, "all-reduce", timeout, err));
    sum_blocks(group, data, n);
    return 0;
}

/* Each rank sums one part, then gives it to all. */
static int reduce_parts(struct ant_group *group, float *data, size_t n, double timeout,
                        struct ant_error *err)
{
    size_t start = part_start(group, n, group->me);
    size_t count = part_start(group, n, group->me + 1) - start;
    float *blocks = room_for_blocks(group, count);

    ANT_TRY(begin(group, err));
    for (int i = 0; i < group->n; i++) {
        size_t theirs = part_start(group, n, i);

        if (i == group->me)
            continue;
        receive_from(group, i, blocks + (size_t)i * count, count * sizeof(float));
        send_to(group, i, data + theirs, (part_start(group, n, i + 1) - theirs) * sizeof(float));
    }
    ANT_TRY(wait_all(group, "all-reduce", timeout, err));
    sum_blocks(group, data + start, count);

    ANT_TRY(begin(group, err));
    for (int i = 0; i < group->n; i++) {
        size_t theirs = part_start(group, n, i);

        if (i == group->me)
            continue;
        receive_from(group, i, data + theirs,
                     (part_start(group, n, i + 1) - theirs) * sizeof(float));
        send_to(group, i, data + start, count * sizeof(float));
    }
    return wait_all(group, "all-reduce", timeout, err);
}

int ant_group_all_reduce(struct ant_group *group, float *data, size_t n, double timeout,
                         struct ant_error *err)
{
    if (group->n == 1)
        return 0;
    if (n * sizeof(float) <= WHOLE_BYTES)
        return reduce_whole(group, data, n, timeout, err);
    return reduce_parts(group, data, n, timeout, err);
}

/* Free the sendings that have arrived. The first that failed makes the group fail. */
static int reap_sendings(struct ant_group *group, struct ant_error *err)
{
    struct sending **link = &group->sendings, *sending;

    while ((sending = *link)) {
        int rc = ant_flight_poll(&sending->flight, err);
        if (rc < 0)
            return rc;
        if (rc == 0) {
            link = &sending->next;
            continue;
        }
        *link = sending->next;
        ant_flight_release(&sending->flight);
        free(sending);
    }
    return 0;
}

int ant_group_send(struct ant_group *group, int to, const void *data, size_t bytes,
                   struct ant_error *err)
{
    struct sending *sending;

    ANT_TRY(check_group(group, err));
    ANT_TRY(reap_sendings(group, err));
    sending = ant_xmalloc(sizeof(*sending) + bytes);
    sending->flight = (struct ant_flight){.transport = group->flight.transport};
    sending->next = group->sendings;
    group->sendings = sending;
    if (bytes)
        memcpy(sending->data, data, bytes);
    ant_flight_send(&sending->flight, group->ranks[to],
                    tag_from(group, ANT_LINE_MESSAGE, group->me), sending->data, bytes);
    return 0;
}

int ant_group_receive(struct ant_group *group, int from, void *data, size_t bytes, double timeout,
                      struct ant_error *err)
{
    ANT_TRY(check_group(group, err));
    ant_flight_receive(&group->flight, group->ranks[from], tag_from(group, ANT_LINE_MESSAGE, from),
                       data, bytes);
    return wait_all(group, "receive", timeout, err);
}

int ant_group_flush(struct ant_group *group, double timeout, struct ant_error *err)
{
    struct sending *sending;

    while ((sending = group->sendings)) {
        ANT_TRY(ant_watch_wait(&group->watch, &sending->flight, "send", timeout, err));
        group->sendings = sending->next;
        ant_flight_release(&sending->flight);
        free(sending);
    }
    return 0;
}

int ant_group_agree(struct ant_group *group, int rc, double timeout, struct ant_error *err)
{
    struct ant_error why = {{0}};
    int *codes = ant_xcalloc((size_t)group->n, sizeof(*codes));
    int first = 0, failed;

    failed = ant_group_all_gather(group, &rc, sizeof(rc), codes, timeout, &why);
    while (failed == 0 && first < group->n && codes[first] == 0)
        first++;
    if (failed == 0 && first < group->n) {
        if (first == group->me && err)
            why = *err;
        failed = ant_group_broadcast(group, first, why.text, sizeof(why.text), timeout, &why);
        if (failed == 0)
            failed = codes[first];
    }
    free(codes);
    /* If the agreement itself fails, an own cause says more. */
    if (failed < 0 && (rc == 0 || !group->watch.failed))
        ant_fail(err, failed, "%s", why.text);
    return rc < 0 && group->watch.failed ? rc : failed;
}

int ant_group_attend(struct ant_group *group, double seconds, bool (*is_over)(void *), void *arg,
                     struct ant_error *err)
{
    return ant_watch_attend(&group->watch, seconds, is_over, arg, err);
}

/* ---- posts ----------------------------------------------------------------------------------- */

void ant_group_post(struct ant_group *group, int to, const void *data, size_t bytes)
{
    if (bytes > ANT_POST_BYTES)
        ant_die("a post of %zu bytes", bytes);
    if (to != group->me)
        ant_watch_post(&group->watch, group->ranks[to], data, bytes);
}

bool ant_group_next_post(struct ant_group *group, int *from, void *data, size_t bytes)
{
    struct ant_post *post;
    bool is_whole = false;

    if (group->n == 1)
        return false;
    while (!is_whole && (post = ant_watch_next_post(&group->watch))) {
        is_whole = post->bytes == bytes;
        if (is_whole) {
            memcpy(data, post->data, bytes);
            for (*from = 0; group->ranks[*from] != post->from;)
                ++*from;
        }
        free(post);
    }
    return is_whole;
}
