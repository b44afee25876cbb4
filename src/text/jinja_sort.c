/* SPDX-License-Identifier: Apache-2.0 */
/* Values of a template in their order, by merging. */
#include "config.h"

#include "text/jinja_value.h"

#include <string.h>

/* Merge [low, mid) and [mid, high) of `from` into `to`; both are indices into the keys. */
static int merge(struct ant_jrun *run, const struct ant_jv *keys, const size_t *from, size_t *to,
                 const size_t range[3], bool descending)
{
    size_t a = range[0], b = range[1];

    for (size_t i = range[0]; i < range[2]; i++) {
        bool takes_right = a == range[1];
        if (!takes_right && b < range[2]) {
            int order;
            ANT_TRY(ant_jv_compare(run, &keys[from[b]], &keys[from[a]], &order));
            takes_right = order == (descending ? 1 : -1);
        }
        to[i] = takes_right ? from[b++] : from[a++];
    }
    return ant_jinja_work(run, range[2] - range[0]);
}

int ant_jv_sort(struct ant_jrun *run, struct ant_jv *keys, struct ant_jv *items, size_t n,
                bool descending)
{
    size_t *order = ant_jinja_take(run, 2 * n * sizeof(*order)), *other = order + n;
    struct ant_jv *copy = order ? ant_jinja_take(run, 2 * n * sizeof(*copy)) : NULL;

    if (!copy)
        return ANT_EDATA;
    for (size_t i = 0; i < n; i++)
        order[i] = i;
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t low = 0; low < n; low += 2 * width) {
            size_t mid = low + width < n ? low + width : n;
            size_t high = mid + width < n ? mid + width : n;
            ANT_TRY(merge(run, keys, order, other, (size_t[]){low, mid, high}, descending));
        }
        size_t *swap = order;
        order = other;
        other = swap;
    }
    for (size_t i = 0; i < n; i++) {
        copy[i] = keys[order[i]];
        copy[n + i] = items[order[i]];
    }
    if (n > 0) {
        memcpy(keys, copy, n * sizeof(*keys));
        memcpy(items, copy + n, n * sizeof(*items));
    }
    return 0;
}
