/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "backend/cpu/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The number after `key` in a file of "key value" lines; `fallback` where there is none. With an
 * empty key the file's first number. */
static unsigned long long read_number(const char *path, const char *key,
                                      unsigned long long fallback)
{
    char line[256];
    unsigned long long value;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return fallback;
    while (fgets(line, sizeof line, file))
        if (strncmp(line, key, strlen(key)) == 0 &&
            sscanf(line + strlen(key), " %llu", &value) == 1) {
            fallback = value;
            break;
        }
    fclose(file);
    return fallback;
}

/* Names of the files of one control group version. */
struct group_files {
    const char *root, *limit, *usage, *cache;
};
static const struct group_files group_v1 = {"/sys/fs/cgroup/memory", "memory.limit_in_bytes",
                                            "memory.usage_in_bytes", "total_inactive_file"};
static const struct group_files group_v2 = {"/sys/fs/cgroup", "memory.max", "memory.current",
                                            "inactive_file"};

static unsigned long long number_of(const struct group_files *files, const char *group,
                                    const char *name, const char *key)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s%s/%s", files->root, group, name);
    return n < (int)sizeof path ? read_number(path, key, ~0ull) : ~0ull;
}

/* What is left of the limits of a group and its parents; cache that can be dropped is not used. */
static unsigned long long left_of_groups(const struct group_files *files, char *group)
{
    unsigned long long least = ~0ull;
    for (;;) {
        unsigned long long limit = number_of(files, group, files->limit, "");
        unsigned long long used = number_of(files, group, files->usage, "");
        if (limit != ~0ull && used != ~0ull) {
            unsigned long long cache = number_of(files, group, "memory.stat", files->cache);
            used -= cache == ~0ull || cache > used ? 0 : cache;
            unsigned long long left = limit > used ? limit - used : 0;
            least = left < least ? left : least;
        }
        char *slash = strrchr(group, '/');
        if (slash == NULL)
            return least;
        *slash = 0;
    }
}

size_t ant_cpu_free_bytes(void)
{
    unsigned long long least = read_number("/proc/meminfo", "MemAvailable:", 0) * 1024;
    char line[4096];
    FILE *file = fopen("/proc/self/cgroup", "re");
    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        char *group = strchr(line, ':');
        group = group ? strchr(group + 1, ':') : NULL;
        if (group == NULL)
            continue;
        *group++ = 0;
        const struct group_files *files = strcmp(line, "0:") == 0   ? &group_v2
                                          : strstr(line, ":memory") ? &group_v1
                                                                    : NULL;
        unsigned long long left = files ? left_of_groups(files, group) : ~0ull;
        least = left < least ? left : least;
    }
    if (file)
        fclose(file);
    return (size_t)least;
}
