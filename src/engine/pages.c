/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "engine/pages.h"

#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "base/checksum.h"
#include "base/log.h"
#include "base/mem.h"

struct page {
    int32_t tokens[ANT_PAGE_TOKENS]; /* what a published page holds */
    int32_t before;                  /* and which page it continues */
    int32_t bucket, next;            /* where it is found: its list, and who follows there */
    int32_t older, newer;            /* neighbours among the kept ones */
    int32_t users;
    bool is_published;
};

/* Kept pages form a ring from the longest unused to the newest, closed by the entry behind the last
 * page. A sequence gives back its last page first, and who uses a page uses those before it too: so
 * a page is always older in the ring than the one it continues. */
struct ant_pages {
    struct page *all; /* (n + 1) */
    int n, n_free, n_kept;
    int32_t *free;    /* (n) a stack */
    int32_t *buckets; /* (n_buckets) first page of each list, or ANT_NO_PAGE */
    uint64_t n_buckets;
};

struct ant_pages *ant_pages_open(int n_pages)
{
    struct ant_pages *pages = ant_xcalloc(1, sizeof(*pages));

    pages->n = n_pages;
    pages->all = ant_xcalloc((size_t)n_pages + 1, sizeof(*pages->all));
    pages->all[n_pages].older = pages->all[n_pages].newer = n_pages;
    pages->free = ant_xcalloc((size_t)n_pages, sizeof(*pages->free));
    for (int i = 0; i < n_pages; i++)
        pages->free[pages->n_free++] = n_pages - 1 - i;
    pages->n_buckets = 64;
    while (pages->n_buckets < (uint64_t)n_pages)
        pages->n_buckets *= 2;
    pages->buckets = ant_xcalloc(pages->n_buckets, sizeof(*pages->buckets));
    for (uint64_t i = 0; i < pages->n_buckets; i++)
        pages->buckets[i] = ANT_NO_PAGE;
    return pages;
}

void ant_pages_close(struct ant_pages *pages)
{
    if (!pages)
        return;
    free(pages->all);
    free(pages->free);
    free(pages->buckets);
    free(pages);
}

int ant_pages_available(const struct ant_pages *pages)
{
    return pages->n_free + pages->n_kept;
}

/* ---- finding a page by what it holds --------------------------------------------------------- */

static int32_t bucket_of(const struct ant_pages *pages, int32_t before, const int32_t *tokens)
{
    int32_t key[1 + ANT_PAGE_TOKENS];

    key[0] = before;
    memcpy(key + 1, tokens, sizeof(key) - sizeof(*key));
    return (int32_t)(ant_digest(key, sizeof(key)).low & (pages->n_buckets - 1));
}

static int32_t find(const struct ant_pages *pages, int32_t bucket, int32_t before,
                    const int32_t *tokens)
{
    int32_t i = pages->buckets[bucket];

    while (i != ANT_NO_PAGE &&
           (pages->all[i].before != before ||
            memcmp(pages->all[i].tokens, tokens, sizeof(pages->all[i].tokens)) != 0))
        i = pages->all[i].next;
    return i;
}

bool ant_pages_publish(struct ant_pages *pages, int32_t page, int32_t before, const int32_t *tokens)
{
    struct page *it = &pages->all[page];
    int32_t bucket = bucket_of(pages, before, tokens);

    if (find(pages, bucket, before, tokens) != ANT_NO_PAGE)
        return false;
    it->before = before;
    memcpy(it->tokens, tokens, sizeof(it->tokens));
    it->bucket = bucket;
    it->next = pages->buckets[bucket];
    pages->buckets[bucket] = page;
    it->is_published = true;
    return true;
}

static void unpublish(struct ant_pages *pages, int32_t page)
{
    int32_t *link = &pages->buckets[pages->all[page].bucket];

    while (*link != page)
        link = &pages->all[*link].next;
    *link = pages->all[page].next;
    pages->all[page].is_published = false;
}

/* ---- free, used, kept ------------------------------------------------------------------------ */

static void keep(struct ant_pages *pages, int32_t page)
{
    struct page *ring = &pages->all[pages->n];

    pages->all[page].older = ring->older;
    pages->all[page].newer = pages->n;
    pages->all[ring->older].newer = page;
    ring->older = page;
    pages->n_kept++;
}

static void unkeep(struct ant_pages *pages, int32_t page)
{
    const struct page *it = &pages->all[page];

    pages->all[it->older].newer = it->newer;
    pages->all[it->newer].older = it->older;
    pages->n_kept--;
}

int32_t ant_pages_take(struct ant_pages *pages)
{
    int32_t page;

    if (pages->n_free > 0) {
        page = pages->free[--pages->n_free];
    } else {
        page = pages->all[pages->n].newer;
        unkeep(pages, page);
        unpublish(pages, page);
    }
    pages->all[page].users = 1;
    return page;
}

void ant_pages_give(struct ant_pages *pages, int32_t page)
{
    struct page *it = &pages->all[page];

    if (--it->users > 0)
        return;
    if (it->is_published)
        keep(pages, page);
    else
        pages->free[pages->n_free++] = page;
}

int32_t ant_pages_share(struct ant_pages *pages, int32_t before, const int32_t *tokens)
{
    int32_t page = find(pages, bucket_of(pages, before, tokens), before, tokens);

    if (page != ANT_NO_PAGE && pages->all[page].users++ == 0)
        unkeep(pages, page);
    return page;
}

/* ---- invariants ------------------------------------------------------------------------------ */

static void check_published(const struct ant_pages *pages, int32_t page, const int *kept_at)
{
    const struct page *it = &pages->all[page];

    if (find(pages, it->bucket, it->before, it->tokens) != page)
        ant_die("page %d cannot be found", page);
    if (it->before == ANT_NO_PAGE)
        return;
    if (!pages->all[it->before].is_published)
        ant_die("page %d continues page %d, which is not published", page, it->before);
    if (pages->all[it->before].users < it->users)
        ant_die("page %d has more users than page %d before it", page, it->before);
    if (kept_at[it->before] > 0 && kept_at[it->before] < kept_at[page])
        ant_die("page %d goes before page %d, which continues it", it->before, page);
}

void ant_pages_check(const struct ant_pages *pages, const int *users)
{
    int *kept_at =
        ant_xcalloc((size_t)pages->n + 1, sizeof(*kept_at)); /* place in the ring, from 1 */
    char *is_free = ant_xcalloc((size_t)pages->n + 1, 1);
    int n_kept = 0;

    for (int i = 0; i < pages->n_free; i++)
        if (is_free[pages->free[i]]++)
            ant_die("page %d is free twice", pages->free[i]);
    for (int32_t i = pages->all[pages->n].newer; i != pages->n; i = pages->all[i].newer)
        kept_at[i] = ++n_kept;
    if (n_kept != pages->n_kept)
        ant_die("%d pages are kept, %d were counted", n_kept, pages->n_kept);
    for (int32_t i = 0; i < pages->n; i++) {
        if ((users[i] > 0) + is_free[i] + (kept_at[i] > 0) != 1)
            ant_die("page %d has %d users, is %sfree and %skept", i, users[i],
                    is_free[i] ? "" : "not ", kept_at[i] ? "" : "not ");
        if (users[i] > 0 && users[i] != pages->all[i].users)
            ant_die("page %d has %d users, %d were counted", i, users[i], pages->all[i].users);
        if (pages->all[i].is_published)
            check_published(pages, i, kept_at);
    }
    free(kept_at);
    free(is_free);
}
