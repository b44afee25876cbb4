/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "backend/backend.h"

#include <string.h>

#include "base/log.h"

/* In order of preference. */
static const struct ant_backend_ops *const backends[] = {
#ifdef HAVE_CUDA
    &ant_backend_cuda,
#endif
    &ant_backend_cpu,
};

enum { N_BACKENDS = sizeof backends / sizeof *backends };

int ant_backend_choose(const struct ant_backend_ops **out, const char *name, struct ant_error *err)
{
    bool is_auto = name == NULL || strcmp(name, "auto") == 0, is_known = is_auto;
    struct ant_error why = {{0}};
    int rc = 0;
    for (int i = 0; i < N_BACKENDS; i++) {
        if (!is_auto && strcmp(name, backends[i]->name) != 0)
            continue;
        is_known = true;
        rc = backends[i]->probe(&why);
        if (rc == 0) {
            *out = backends[i];
            return 0;
        }
        ant_log(ANT_LOG_INFO, "backend", "%s is not used: %s", backends[i]->name, why.text);
    }
    if (!is_known)
        return ant_fail(
            err, ANT_EUSAGE,
            "this build has no backend '%s': configure did not find what it needs, or was "
            "told to leave it out",
            name);
    ant_fail(err, rc, "%s", why.text);
    return is_auto ? rc : ant_fail_in(err, rc, "backend %s", name);
}
