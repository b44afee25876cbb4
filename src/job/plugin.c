/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "job/plugin.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

typedef int partition_fn(struct antiphon_rows *rows, char *error, size_t error_size);

/* A name without a slash would be looked for among the system's libraries. */
static void *load(const char *path)
{
    char *name = ant_xasprintf("%s%s", strchr(path, '/') ? "" : "./", path);
    void *object = dlopen(name, RTLD_NOW | RTLD_LOCAL);

    free(name);
    return object;
}

int ant_plugin_partition(const char *path, struct antiphon_rows *rows, struct ant_error *err)
{
    char error[160] = "";
    partition_fn *partition;
    void *object = load(path);
    int rc = 0;

    if (!object)
        return ant_fail(err, ANT_EUSAGE, "cannot load the partition '%s': %s", path, dlerror());
    void *symbol = dlsym(object, "antiphon_partition");
    memcpy(&partition, &symbol, sizeof(partition)); /* ISO C has no cast for it */
    if (!symbol)
        rc = ant_fail(err, ANT_EUSAGE, "'%s' has no function antiphon_partition", path);
    else if (partition(rows, error, sizeof(error)) != 0)
        rc = ant_fail(err, ANT_EUSAGE, "'%s': %.*s", path, (int)sizeof(error) - 1,
                      *error ? error : "the partition failed without a reason");
    dlclose(object);
    return rc;
}
