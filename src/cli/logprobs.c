/* SPDX-License-Identifier: Apache-2.0 */
/* What rows are asked for beside an answer: several of them; log probabilities of tokens that are
 * drawn, of prompts, and of continuations that are given. */
#include "config.h"

#include <string.h>

#include "cli/run.h"

/* What rows may ask for at most; more fails the row, and does not widen the results of all. */
enum { MOST_SAMPLES = 128 };

/* The larger of what the settings say and what a row says, as far as it is possible. */
static int find_most(const struct run *run, enum ant_prompt_has flag, int limit, int setting,
                     int *most, struct ant_error *err)
{
    int64_t of_rows = -1;

    ANT_TRY(ant_prompts_most(run->prompts, flag, limit, &of_rows, err));
    *most = of_rows > setting ? (int)of_rows : setting;
    return 0;
}

int ant_run_find_columns(struct run *run, struct ant_error *err)
{
    struct run_settings *settings = &run->settings;
    struct {
        int samples, n_top, n_prompt_top;
    } most = {settings->samples, -1, -1};
    int rc = 0;

    if (run->layout.rank == 0) {
        rc = find_most(run, ANT_HAS_LOGPROBS, ANT_MAX_TOP, settings->logprobs, &most.n_top, err);
        if (rc == 0)
            rc = find_most(run, ANT_HAS_PROMPT_LOGPROBS, ANT_MAX_TOP, settings->prompt_logprobs,
                           &most.n_prompt_top, err);
        if (rc == 0 && !run->is_scored)
            rc = find_most(run, ANT_HAS_SAMPLES, MOST_SAMPLES, settings->samples, &most.samples,
                           err);
    }
    ANT_TRY(ant_run_agree(run, rc, err));
    ANT_TRY(ant_group_broadcast(run->world, 0, &most, sizeof(most), START_TIMEOUT_S, err));
    run->samples = settings->samples;
    settings->samples = most.samples;
    run->columns =
        (struct ant_columns){.has_logprobs = most.n_top >= 0,
                             .has_prompt_logprobs = most.n_prompt_top >= 0,
                             .n_top = most.n_top > 0 ? most.n_top : 0,
                             .n_prompt_top = most.n_prompt_top > 0 ? most.n_prompt_top : 0,
                             .is_scored = run->is_scored};
    return 0;
}

int ant_run_row_samples(const struct run *run, const struct ant_prompt *prompt, int *out,
                        struct ant_error *err)
{
    bool is_given = (prompt->has & ANT_HAS_SAMPLES) && !run->is_scored;

    if (is_given && (prompt->n < 1 || prompt->n > MOST_SAMPLES))
        return ant_fail(err, ANT_EUSAGE, "n %lld is not between 1 and %d", (long long)prompt->n,
                        MOST_SAMPLES);
    *out = is_given ? (int)prompt->n : run->samples;
    return 0;
}

int ant_run_check_logprobs(const struct run *run, struct ant_error *err)
{
    const struct ant_columns *columns = &run->columns;

    if (run->facts.ranks_logits || (columns->n_top == 0 && !columns->has_prompt_logprobs))
        return 0;
    return ant_fail(err, ANT_EUNSUPP,
                    "log probabilities of prompts, continuations and alternatives are not possible "
                    "with the backend '%s' of this version: take --backend cpu",
                    run->ops->name);
}

static int row_number(const char *name, bool is_given, int64_t of_row, int setting, int *out,
                      struct ant_error *err)
{
    if (is_given && of_row > ANT_MAX_TOP)
        return ant_fail(err, ANT_EUSAGE, "%s %lld is more than %d", name, (long long)of_row,
                        ANT_MAX_TOP);
    *out = !is_given ? setting : of_row < 0 ? -1 : (int)of_row;
    return 0;
}

int ant_run_want_logprobs(const struct run *run, const struct ant_prompt *prompt,
                          struct ant_request *request, struct ant_error *err)
{
    const struct run_settings *settings = &run->settings;
    int n_top = -1, n_prompt_top = -1;

    ANT_TRY(row_number("logprobs", (prompt->has & ANT_HAS_LOGPROBS) && !run->is_scored,
                       prompt->logprobs, settings->logprobs, &n_top, err));
    ANT_TRY(row_number("prompt_logprobs", prompt->has & ANT_HAS_PROMPT_LOGPROBS,
                       prompt->prompt_logprobs, settings->prompt_logprobs, &n_prompt_top, err));
    request->has_logprobs = n_top >= 0;
    request->logprobs.n_top = n_top > 0 ? n_top : 0;
    request->has_prompt_logprobs = n_prompt_top >= 0 && request->sample == 0;
    request->prompt_logprobs.n_top = n_prompt_top > 0 ? n_prompt_top : 0;
    return 0;
}

/* ---- continuations --------------------------------------------------------------------------- */

/* What a text begins with where nothing comes before it: as evaluation harnesses do, an end of
 * text, unless the tokenizer puts something there itself. */
static int add_beginning(const struct run *run, struct ant_ids *before, struct ant_error *err)
{
    if (before->len > 0)
        return 0;
    if (run->stops.n_eos == 0)
        return ant_fail(err, ANT_EDATA, "empty prompt, and the model has no token to begin with");
    ant_ids_add(before, run->stops.ids[0]);
    return 0;
}

/* A text and its continuation are cut into tokens as one text, whose first tokens are as many as
 * those of the text alone. Spaces between both belong to the continuation, as tokens have them. */
static int split_text(const struct run *run, const struct ant_prompt *prompt,
                      struct ant_ids *before, struct ant_ids *out, struct ant_error *err)
{
    struct ant_buf both = {0};
    struct ant_ids all = {0};
    size_t n = prompt->text_bytes;

    while (n > 0 && strchr(" \t\n\r", prompt->text[n - 1]) && prompt->text[n - 1])
        n--;
    ant_buf_add(&both, prompt->text, prompt->text_bytes);
    ant_buf_add(&both, prompt->continuation, prompt->continuation_bytes);
    int rc = ant_tokenizer_encode(run->tokenizer, both.data, n, true, before, err);
    if (rc == 0)
        rc = ant_tokenizer_encode(run->tokenizer, both.data, both.len, true, &all, err);
    size_t first = before->len < all.len ? before->len : all.len;
    before->len = 0;
    if (rc == 0) {
        ant_ids_append(before, all.data, first);
        ant_ids_append(out, all.data + first, all.len - first);
        rc = add_beginning(run, before, err);
    }
    ant_ids_release(&all);
    ant_buf_release(&both);
    return rc;
}

int ant_run_continuation_ids(const struct run *run, const struct ant_prompt *prompt,
                             struct ant_ids *before, struct ant_ids *out, struct ant_error *err)
{
    int rc;

    if (prompt->continuation_bytes == 0)
        return ant_fail(err, ANT_EDATA, "empty continuation");
    if (prompt->text && !run->chat) {
        rc = split_text(run, prompt, before, out, err);
    } else {
        rc = ant_run_prompt_ids(run, prompt, before, err);
        if (rc == 0)
            rc = ant_tokenizer_encode(run->tokenizer, prompt->continuation,
                                      prompt->continuation_bytes, false, out, err);
    }
    if (rc == 0 && out->len == 0)
        rc = ant_fail(err, ANT_EDATA, "the continuation has no token of its own");
    return rc;
}
