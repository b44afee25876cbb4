/* SPDX-License-Identifier: Apache-2.0 */
/* Guesses of an answer's next tokens: what followed when its last tokens occurred before, in the
 * prompt or in the answer itself. Pure function of the tokens. Thread: any. */
#ifndef ANT_ENGINE_LOOKUP_H
#define ANT_ENGINE_LOOKUP_H

#include "engine/engine.h"

/* At most `most` guesses to `out`; returns how many. */
int ant_lookup(const struct ant_request *request, int32_t *out, int most);

#endif
