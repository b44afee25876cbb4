/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "model/names.h"

#include <stdlib.h>
#include <string.h>

bool ant_name_is_plain(const char *name, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (name[i] < 0x20 || name[i] > 0x7e)
            return false;
    return bytes > 0;
}

const char *ant_name_shown(const char *name)
{
    size_t bytes = strlen(name);
    return bytes <= 64 && ant_name_is_plain(name, bytes) ? name : "(not printable)";
}

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct ant_name *)a)->name, ((const struct ant_name *)b)->name);
}

const struct ant_name *ant_names_sort(struct ant_name *names, size_t n)
{
    if (n == 0)
        return NULL;
    qsort(names, n, sizeof *names, compare);
    for (size_t i = 1; i < n; i++)
        if (strcmp(names[i - 1].name, names[i].name) == 0)
            return &names[i - 1];
    return NULL;
}

const struct ant_name *ant_names_find(const struct ant_name *names, size_t n, const char *name)
{
    struct ant_name wanted = {.name = name};
    return n == 0 ? NULL : bsearch(&wanted, names, n, sizeof *names, compare);
}
