/* SPDX-License-Identifier: Apache-2.0 */
/* What antiphon.h promises to programs, over the set-up that commands have. Thread: control. */
#ifndef ANT_API_API_H
#define ANT_API_API_H

#include <string.h>

#include "antiphon.h"
#include "cli/run.h"

/* Ranks may come apart for as long as a program likes: one that died is noticed all the same. */
#define API_PATIENCE_S 1e9

struct antiphon {
    struct run run;
    struct ant_group *replica;           /* for the program; the engine has one of its own */
    struct ant_device_group *devices[3]; /* by enum antiphon_group, made when asked for */
};

/* `rc` as the caller of a public function gets it, with the text. */
static inline int ant_api_result(int rc, const struct ant_error *err, antiphon_text error)
{
    if (rc < 0) {
        _Static_assert(sizeof(err->text) <= sizeof(antiphon_text), "texts fit");
        memcpy(error, err->text, sizeof(err->text));
    }
    return rc < 0 ? rc : 0;
}

#endif
