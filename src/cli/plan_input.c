/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cli/plan_input.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/run.h"

/* Rows that are looked at: spread evenly over the input. Of rows made up fewer, of so many tokens,
 * where they are long: then few are in flight. */
enum { MOST_ROWS = 4096, LEAST_ROWS = 64, MOST_TOKENS = 1 << 24 };

const char *const ant_plan_dummy_types[] = {"bf16", "f16", "f32", "q8_0", "q4_0", NULL};
static const enum ant_type type_of[] = {ANT_BF16, ANT_F16, ANT_F32, ANT_Q8_0, ANT_Q4_0};

int ant_plan_open_model(struct ant_checkpoint **out, const struct plan_input_settings *settings,
                        struct ant_error *err)
{
    if (!settings->model == !settings->dummy)
        return ant_fail(err, ANT_EUSAGE, "one of --model and --dummy is needed");
    if (settings->dummy)
        return ant_checkpoint_open_shape(out, settings->dummy, type_of[settings->dummy_type], err);
    return ant_checkpoint_open(out, settings->model, err);
}

static void add_item(struct plan_work *work, int32_t *tokens, int n_prompt, int n_output, int most)
{
    work->items = ant_xrealloc(work->items, (size_t)work->n_items + 1, sizeof(*work->items));
    work->items[work->n_items++] = (struct plan_item){tokens, n_prompt, n_output, most};
}

static int expected(const struct plan_input_settings *settings, int most)
{
    return settings->out && settings->out < most ? settings->out : most;
}

static int rows_of(int n_tokens)
{
    int rows = MOST_TOKENS / (n_tokens + 1);

    return rows < LEAST_ROWS ? LEAST_ROWS : rows > MOST_ROWS ? MOST_ROWS : rows;
}

/* No two alike behind what they share. */
static int make_work(struct plan_work *out, const struct plan_input_settings *settings,
                     int max_context, struct ant_error *err)
{
    int n = settings->shared + settings->in, most = settings->max_tokens;

    if (n >= max_context)
        return ant_fail(err, ANT_EUSAGE, "prompts of %d tokens leave no room for answers in %d", n,
                        max_context);
    if (settings->out > most)
        most = settings->out; /* asked for on its own */
    if (most > max_context - n)
        most = max_context - n;
    for (int i = 0; i < rows_of(n) && i < settings->n; i++) {
        int32_t *tokens = ant_xcalloc((size_t)n, sizeof(*tokens));
        for (int t = 0; t < n; t++)
            tokens[t] =
                t < settings->shared ? t : (int32_t)((uint32_t)(i + 1) * 2654435761u >> 8) + t;
        add_item(out, tokens, n, expected(settings, most), most);
    }
    out->n = settings->n;
    return 0;
}

/* As a run sees the prompts: its text, through its chat template. */
static int open_run(struct run *run, const struct plan_input_settings *settings,
                    struct ant_error *err)
{
    run->settings.model = settings->model;
    run->settings.input = settings->input;
    run->settings.chat = settings->chat;
    run->answers = ant_xstrdup("");
    ANT_TRY(ant_prompts_open(&run->prompts, settings->input, err));
    if (ant_prompts_are_tokens(run->prompts))
        return 0;
    if (!settings->model)
        return ant_fail(err, ANT_EUSAGE,
                        "'%s' holds texts, whose tokens only --model can count: or say how many "
                        "with --prompts and --in",
                        settings->input);
    ANT_TRY(ant_checkpoint_tokenizer(run->checkpoint, &run->tokenizer, err));
    return ant_run_open_chat(run, err);
}

static int read_row(struct plan_work *out, struct run *run,
                    const struct plan_input_settings *settings, int64_t row, int max_context,
                    struct ant_error *err)
{
    struct ant_prompt prompt;
    struct ant_ids ids = {0};
    int most = settings->max_tokens;

    int rc = ant_prompts_read(run->prompts, row, &prompt, err);
    if (rc == 0)
        rc = ant_run_prompt_ids(run, &prompt, &ids, err);
    if (rc == ANT_EDATA || (rc == 0 && (ids.len == 0 || ids.len >= (size_t)max_context))) {
        ant_ids_release(&ids);
        return 0;
    }
    if (rc < 0)
        return rc;
    if (prompt.has & ANT_HAS_MAX_TOKENS && prompt.max_tokens > 0)
        most = (int)fmin((double)prompt.max_tokens, INT32_MAX);
    if (most > max_context - (int)ids.len)
        most = max_context - (int)ids.len;
    add_item(out, ids.data, (int)ids.len, expected(settings, most), most);
    return 0;
}

static int read_input(struct plan_work *out, const struct plan_input_settings *settings,
                      const struct ant_checkpoint *checkpoint, int max_context,
                      struct ant_error *err)
{
    struct run run = {.checkpoint = (struct ant_checkpoint *)checkpoint};
    int64_t read = 0;

    int rc = ant_store_start(1, err);
    if (rc == 0)
        rc = open_run(&run, settings, err);
    int64_t rows = rc == 0 ? ant_prompts_count(run.prompts) : 0;
    int64_t stride = rows > MOST_ROWS ? rows / MOST_ROWS : 1;
    for (int64_t row = 0; row < rows && rc == 0; row += stride, read++)
        rc = read_row(out, &run, settings, row, max_context, err);
    if (rc == 0 && out->n_items == 0)
        rc = ant_fail(err, ANT_EDATA, "'%s' has no prompt that could be answered", settings->input);
    if (rc == 0)
        out->n = (int64_t)((double)rows * out->n_items / (double)read);
    ant_chat_close(run.chat);
    ant_tokenizer_close(run.tokenizer);
    ant_prompts_close(run.prompts);
    free(run.answers);
    return rc;
}

int ant_plan_read_work(struct plan_work *out, const struct plan_input_settings *settings,
                       const struct ant_checkpoint *checkpoint, int max_context,
                       struct ant_error *err)
{
    int rc;

    *out = (struct plan_work){0};
    if (!settings->input == (settings->n == 0))
        return ant_fail(err, ANT_EUSAGE, "one of --input and --prompts is needed");
    if (settings->input)
        rc = read_input(out, settings, checkpoint, max_context, err);
    else
        rc = make_work(out, settings, max_context, err);
    out->samples = settings->samples;
    out->n *= settings->samples;
    return rc;
}

void ant_plan_release_work(struct plan_work *work)
{
    for (int i = 0; i < work->n_items; i++)
        free(work->items[i].tokens);
    free(work->items);
}
