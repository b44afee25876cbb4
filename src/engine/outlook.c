/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "engine/outlook.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* Sequences by how many pages they will still take. */
struct ant_outlook {
    int max_pages;
    struct group {
        int n, pages;
    } * groups; /* (max_pages + 1) */
};

struct ant_outlook *ant_outlook_open(int max_pages)
{
    struct ant_outlook *outlook = ant_xcalloc(1, sizeof(*outlook));

    outlook->max_pages = max_pages;
    outlook->groups = ant_xcalloc((size_t)max_pages + 1, sizeof(*outlook->groups));
    return outlook;
}

void ant_outlook_close(struct ant_outlook *outlook)
{
    if (!outlook)
        return;
    free(outlook->groups);
    free(outlook);
}

void ant_outlook_clear(struct ant_outlook *outlook)
{
    memset(outlook->groups, 0, ((size_t)outlook->max_pages + 1) * sizeof(*outlook->groups));
}

void ant_outlook_add(struct ant_outlook *outlook, int pages, int more)
{
    int most = more < outlook->max_pages ? more : outlook->max_pages;
    struct group *group = &outlook->groups[most > 0 ? most : 0];

    group->n++;
    group->pages += pages;
}

/* The worst moments are those just before a sequence ends. When those that take `more` end, the
 * ones left are they and all that take as many or more, each `more` pages larger than now. */
int ant_outlook_peak(const struct ant_outlook *outlook)
{
    int n = 0, pages = 0, peak = 0;

    for (int more = outlook->max_pages; more >= 0; more--) {
        n += outlook->groups[more].n;
        pages += outlook->groups[more].pages;
        if (pages + n * more > peak)
            peak = pages + n * more;
    }
    return peak;
}
