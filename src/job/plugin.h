/* SPDX-License-Identifier: Apache-2.0 */
/* A user's own partition: a shared object with the function of antiphon.h. Hides dlopen. */
#ifndef ANT_JOB_PLUGIN_H
#define ANT_JOB_PLUGIN_H

#include "antiphon.h"
#include "base/error.h"

/* Load the object at `path` and let it fill `rows`. ANT_EUSAGE: it cannot be loaded, or it gave a
 * reason why not. */
int ant_plugin_partition(const char *path, struct antiphon_rows *rows, struct ant_error *err);

#endif
