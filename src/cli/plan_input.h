/* SPDX-License-Identifier: Apache-2.0 */
/* What a plan is made of: the model's shape, and lengths of prompts and answers. */
#ifndef ANT_CLI_PLAN_INPUT_H
#define ANT_CLI_PLAN_INPUT_H

#include "base/option.h"
#include "cli/plan.h"

struct plan_input_settings {
    const char *model, *dummy, *input;
    int dummy_type;
    bool chat;
    int64_t n;
    int in, shared, max_tokens, out, samples;
};

extern const char *const ant_plan_dummy_types[];

int ant_plan_open_model(struct ant_checkpoint **out, const struct plan_input_settings *settings,
                        struct ant_error *err);
/* Rows that could not be answered are left out. Release with ant_plan_release_work, also after an
 * error. */
int ant_plan_read_work(struct plan_work *out, const struct plan_input_settings *settings,
                       const struct ant_checkpoint *checkpoint, int max_context,
                       struct ant_error *err);
void ant_plan_release_work(struct plan_work *work);

#endif
