/* SPDX-License-Identifier: Apache-2.0 */
/* What requests own, and its end. */
#include "config.h"

#include "engine/engine.h"

#include <stdlib.h>

static void free_stops(struct ant_stops *stops)
{
    if (!stops)
        return;
    for (int i = 0; i < stops->n_strings; i++)
        free((char *)stops->strings[i]);
    free((void *)stops->strings);
    free((void *)stops->ids);
    free(stops);
}

void ant_rules_release(struct ant_rules *rules)
{
    for (int i = 0; i < rules->n_bad_words; i++)
        ant_ids_release((struct ant_ids *)&rules->bad_words[i]);
    free((void *)rules->bad_words);
    free((void *)rules->bias);
    free((void *)rules->allowed);
    *rules = (struct ant_rules){0};
}

static void free_rules(struct ant_rules *rules)
{
    if (rules)
        ant_rules_release(rules);
    free(rules);
}

void ant_request_free(struct ant_request *request)
{
    if (!request)
        return;
    free_stops(request->own_stops);
    free_rules(request->own_rules);
    free(request->prompt);
    ant_ids_release(&request->output);
    ant_constraint_release(request->constraint);
    free(request->why);
    ant_logprobs_release(&request->logprobs);
    ant_logprobs_release(&request->prompt_logprobs);
    free(request);
}
