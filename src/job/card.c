/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "job/card.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    CARD_MAGIC = 0x43544e41, /* "ANTC" */
    CARD_VERSION = 1,
    MAX_ADDRESS = 1 << 20, /* of a worker address; real ones have some hundred bytes */
};

/* ---- this process ---------------------------------------------------------------------------- */

/* "0-3,8,10-11"; what does not fit ends in "...". */
static void list_cores(const cpu_set_t *set, size_t set_bytes, int limit, char *text, size_t bytes)
{
    static const char cut[] = "...";
    size_t len = 0;

    text[0] = '\0';
    for (int first = 0; first < limit; first++) {
        char part[32];
        int last = first, n;

        if (!CPU_ISSET_S(first, set_bytes, set))
            continue;
        while (last + 1 < limit && CPU_ISSET_S(last + 1, set_bytes, set))
            last++;
        n = last > first ? snprintf(part, sizeof(part), "%s%d-%d", len ? "," : "", first, last)
                         : snprintf(part, sizeof(part), "%s%d", len ? "," : "", first);
        if (len + (size_t)n + sizeof(cut) > bytes) {
            memcpy(text + len, cut, sizeof(cut));
            return;
        }
        memcpy(text + len, part, (size_t)n + 1);
        len += (size_t)n;
        first = last;
    }
}

static void fill_cores(struct ant_card *card)
{
    /* The kernel refuses a set smaller than its own, whose size nobody tells. */
    for (int limit = 1024; limit <= 1 << 20; limit *= 4) {
        cpu_set_t *set = CPU_ALLOC((size_t)limit);
        size_t bytes = CPU_ALLOC_SIZE((size_t)limit);
        int rc;

        if (!set)
            break;
        CPU_ZERO_S(bytes, set);
        rc = sched_getaffinity(0, bytes, set);
        if (rc == 0) {
            card->n_cores = CPU_COUNT_S(bytes, set);
            list_cores(set, bytes, limit, card->cores, sizeof(card->cores));
        }
        CPU_FREE(set);
        if (rc == 0)
            return;
    }
    card->n_cores = 1;
}

/* The first line of a small file of the kernel's, empty where there is none. */
static void read_line(const char *path, char *text, size_t bytes)
{
    FILE *file = fopen(path, "re");

    text[0] = '\0';
    if (!file)
        return;
    if (fgets(text, (int)bytes, file))
        text[strcspn(text, "\n")] = '\0';
    fclose(file);
}

int ant_card_fill(struct ant_card *card, struct ant_error *err)
{
    const char *node = getenv("SLURMD_NODENAME");

    card->pid = getpid();
    if (gethostname(card->host, sizeof(card->host)) != 0)
        snprintf(card->host, sizeof(card->host), "unknown");
    card->host[sizeof(card->host) - 1] = '\0';
    /* Node daemons that share a host have names of their own, which is what squeue shows. */
    snprintf(card->node_name, sizeof(card->node_name), "%s", node && *node ? node : card->host);
    read_line("/proc/sys/kernel/random/boot_id", card->boot_id, sizeof(card->boot_id));
    fill_cores(card);
    return ant_digest_file(&card->binary, "/proc/self/exe", err);
}

/* ---- to bytes and back ----------------------------------------------------------------------- */

static void put_number(struct ant_buf *out, uint64_t value, int bytes)
{
    unsigned char *to = ant_buf_grow(out, (size_t)bytes);

    for (int i = 0; i < bytes; i++)
        to[i] = (unsigned char)(value >> 8 * i);
}

static void put_block(struct ant_buf *out, const void *data, size_t bytes)
{
    put_number(out, bytes, 4);
    if (bytes)
        ant_buf_add(out, data, bytes);
}

static void put_digest(struct ant_buf *out, struct ant_digest digest)
{
    put_number(out, digest.high, 8);
    put_number(out, digest.low, 8);
}

void ant_card_write(const struct ant_card *card, struct ant_buf *out)
{
    put_number(out, CARD_MAGIC, 4);
    put_number(out, CARD_VERSION, 4);
    put_number(out, (uint64_t)card->pid, 8);
    put_number(out, (uint64_t)card->n_cores, 4);
    put_digest(out, card->binary);
    put_digest(out, card->settings);
    put_block(out, card->host, strlen(card->host));
    put_block(out, card->boot_id, strlen(card->boot_id));
    put_block(out, card->node_name, strlen(card->node_name));
    put_block(out, card->cores, strlen(card->cores));
    put_block(out, card->address, card->address_bytes);
}

/* Reading: past the end everything is zero and `bad` stays set. */
struct reader {
    const unsigned char *at;
    size_t left;
    bool bad;
};

static uint64_t get_number(struct reader *in, int bytes)
{
    uint64_t value = 0;

    if (in->left < (size_t)bytes) {
        in->bad = true;
        in->left = 0;
        return 0;
    }
    for (int i = 0; i < bytes; i++)
        value |= (uint64_t)in->at[i] << 8 * i;
    in->at += bytes;
    in->left -= (size_t)bytes;
    return value;
}

static struct ant_digest get_digest(struct reader *in)
{
    struct ant_digest digest;

    digest.high = get_number(in, 8);
    digest.low = get_number(in, 8);
    return digest;
}

static const unsigned char *get_block(struct reader *in, size_t max, size_t *bytes)
{
    size_t n = (size_t)get_number(in, 4);
    const unsigned char *block = in->at;

    if (n > max || n > in->left) {
        in->bad = true;
        n = 0;
    }
    in->at += n;
    in->left -= n;
    *bytes = n;
    return block;
}

static void get_text(struct reader *in, char *text, size_t room)
{
    size_t bytes;
    const unsigned char *block = get_block(in, room - 1, &bytes);

    if (memchr(block, '\0', bytes))
        in->bad = true;
    memcpy(text, block, bytes);
    text[bytes] = '\0';
}

int ant_card_read(struct ant_card *out, const void *data, size_t bytes, int rank,
                  struct ant_error *err)
{
    struct reader in = {data, bytes, false};
    struct ant_card card = {.rank = rank};
    uint64_t magic = get_number(&in, 4), version = get_number(&in, 4);
    const unsigned char *address;

    if (magic != CARD_MAGIC)
        return ant_fail(err, ANT_EPEER, "rank %d sent no card but %zu other bytes", rank, bytes);
    if (version != CARD_VERSION)
        return ant_fail(err, ANT_EUSAGE, "rank %d runs another version of the program", rank);
    card.pid = (pid_t)get_number(&in, 8);
    card.n_cores = (int)get_number(&in, 4);
    card.binary = get_digest(&in);
    card.settings = get_digest(&in);
    get_text(&in, card.host, sizeof(card.host));
    get_text(&in, card.boot_id, sizeof(card.boot_id));
    get_text(&in, card.node_name, sizeof(card.node_name));
    get_text(&in, card.cores, sizeof(card.cores));
    address = get_block(&in, MAX_ADDRESS, &card.address_bytes);
    if (in.bad || in.left > 0 || card.n_cores < 1)
        return ant_fail(err, ANT_EPEER, "the card of rank %d is damaged (%zu bytes)", rank, bytes);
    if (card.address_bytes) {
        card.address = ant_xmalloc(card.address_bytes);
        memcpy(card.address, address, card.address_bytes);
    }
    *out = card;
    return 0;
}

void ant_card_release(struct ant_card *card)
{
    free(card->address);
    *card = (struct ant_card){0};
}

/* ---- all together ---------------------------------------------------------------------------- */

static int by_host(const void *left, const void *right)
{
    const struct ant_card *a = *(const struct ant_card *const *)left;
    const struct ant_card *b = *(const struct ant_card *const *)right;
    int order = strcmp(a->host, b->host);

    if (order == 0)
        order = strcmp(a->boot_id, b->boot_id);
    return order ? order : (a->rank > b->rank) - (a->rank < b->rank);
}

static void derive_host(struct ant_card **ranks, int n)
{
    for (int i = 0; i < n; i++) {
        ranks[i]->local_rank = i;
        ranks[i]->local_size = n;
        ranks[i]->cores_shared = 0;
        for (int k = 0; k < n; k++)
            if (ranks[k]->n_cores == ranks[i]->n_cores &&
                strcmp(ranks[k]->cores, ranks[i]->cores) == 0)
                ranks[i]->cores_shared++;
    }
}

void ant_cards_derive(struct ant_card *cards, int n)
{
    struct ant_card **sorted = ant_xcalloc((size_t)n, sizeof(*sorted));
    int node = 0;

    for (int i = 0; i < n; i++)
        sorted[i] = &cards[i];
    qsort(sorted, (size_t)n, sizeof(*sorted), by_host);
    for (int first = 0, last; first < n; first = last) {
        last = first + 1;
        while (last < n && strcmp(sorted[last]->host, sorted[first]->host) == 0 &&
               strcmp(sorted[last]->boot_id, sorted[first]->boot_id) == 0)
            last++;
        derive_host(sorted + first, last - first);
        for (int i = first; i < last; i++)
            sorted[i]->node = sorted[first]->rank; /* for now: the host's lowest rank */
    }
    for (int i = 0; i < n; i++)
        cards[i].node = cards[i].local_rank == 0 ? node++ : cards[cards[i].node].node;
    free(sorted);
}

static bool is_same(struct ant_digest a, struct ant_digest b)
{
    return a.high == b.high && a.low == b.low;
}

int ant_cards_check(const struct ant_card *cards, int n, struct ant_error *err)
{
    for (int i = 1; i < n; i++) {
        if (!is_same(cards[i].binary, cards[0].binary))
            return ant_fail(err, ANT_EUSAGE,
                            "rank %d on %s runs another binary than rank 0 on %s: all ranks must "
                            "start the same program",
                            i, cards[i].node_name, cards[0].node_name);
        if (!is_same(cards[i].settings, cards[0].settings))
            return ant_fail(err, ANT_EUSAGE,
                            "rank %d on %s was started with other settings than rank 0 on %s: all "
                            "ranks must get the same options",
                            i, cards[i].node_name, cards[0].node_name);
    }
    return 0;
}
