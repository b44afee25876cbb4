/* SPDX-License-Identifier: Apache-2.0 */
/* The pages of the KV cache: who uses them, and what they hold.
 *
 * A page is free, or used by one sequence or more, or used by none and kept for what it holds. A
 * full page may be published: from then on it is found by its tokens and the page before it, so
 * that another sequence which begins alike shares it, read-only. When no page is free a kept one is
 * taken back, the longest unused first; those that continue a page go before it. Pure integers.
 * Thread: engine. */
#ifndef ANT_ENGINE_PAGES_H
#define ANT_ENGINE_PAGES_H

#include <stdbool.h>
#include <stdint.h>

enum { ANT_NO_PAGE = -1 }; /* what comes before a sequence's first page; nothing found */

struct ant_pages;

struct ant_pages *ant_pages_open(int n_pages);
void ant_pages_close(struct ant_pages *pages);

int ant_pages_available(const struct ant_pages *pages); /* free and kept ones */

/* A page for the caller alone; one must be available. */
int32_t ant_pages_take(struct ant_pages *pages);

/* One user less. A sequence gives its pages back last one first. */
void ant_pages_give(struct ant_pages *pages, int32_t page);

/* The published page that holds these ANT_PAGE_TOKENS tokens behind page `before`, the caller now
 * one of its users; or ANT_NO_PAGE. */
int32_t ant_pages_share(struct ant_pages *pages, int32_t before, const int32_t *tokens);

/* Let others find `page`, behind `before`, which is published itself. False: another page holds
 * the same already. */
bool ant_pages_publish(struct ant_pages *pages, int32_t page, int32_t before,
                       const int32_t *tokens);

/* Dies unless every page is free, kept or used, `users` (n_pages) is how often each is used, and
 * every published page can be reached and is kept no longer than the page before it. */
void ant_pages_check(const struct ant_pages *pages, const int *users);

#endif
