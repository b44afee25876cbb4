/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "store/results_layout.h"

/* What a result costs beside its texts and tokens. */
enum { RESULT_BYTES = 80 };

/* Elements of the columns of varying length. */
struct lengths {
    int64_t text, tokens, error, prompt;
};

static void add_lengths(struct lengths *sum, const struct ant_journal_entry *entry)
{
    sum->text += entry->text_bytes;
    sum->tokens += entry->n_tokens;
    sum->error += entry->error_bytes;
    sum->prompt += entry->n_prompt;
}

/* Bytes of the columns of varying length. */
static int64_t cost_of(const struct lengths *lengths, const struct ant_columns *columns)
{
    int64_t token = 4 + (columns->has_logprobs ? 4 + 8 * columns->n_top : 0);
    int64_t prompt = columns->has_prompt_logprobs ? 8 + 8 * columns->n_prompt_top : 0;

    return lengths->text + token * lengths->tokens + lengths->error + prompt * lengths->prompt;
}

static int check_entries(const struct ant_results_plan *plan, struct ant_error *err)
{
    int64_t first = plan->shard.first_row;

    for (size_t i = 0; i < plan->n_entries; i++) {
        const struct ant_journal_entry *entry = &plan->entries[i];
        if (entry->row < first || entry->row - first >= plan->n_rows || entry->sample < 0 ||
            entry->sample >= plan->n_samples)
            return ant_fail(err, ANT_EBUG, "'%s': row %lld, sample %d is not one of %lld x %d",
                            plan->path, (long long)entry->row, (int)entry->sample,
                            (long long)plan->n_rows, plan->n_samples);
        if (i > 0 && (entry->row < entry[-1].row ||
                      (entry->row == entry[-1].row && entry->sample <= entry[-1].sample)))
            return ant_fail(err, ANT_EBUG, "'%s': row %lld, sample %d is out of order", plan->path,
                            (long long)entry->row, (int)entry->sample);
    }
    return 0;
}

static void count_outcomes(struct ant_results_layout *layout, const struct ant_results_plan *plan)
{
    for (size_t i = 0; i < plan->n_entries; i++)
        if (plan->entries[i].status == ANT_STATUS_FAILED)
            layout->n_failed++;
        else
            layout->n_ok++; /* what is skipped on purpose, too */
    layout->n_missing = layout->n_results - (int64_t)plan->n_entries;
}

/* Result i belongs to the rank in whose share of the whole cost it begins. A rank that gets none
 * stands at the end. */
static void cut_slices(struct ant_results_layout *layout, const struct ant_results_plan *plan,
                       int rank, int size, struct lengths *before, struct lengths *mine,
                       struct lengths *all)
{
    struct lengths seen = {0};
    size_t next = 0;

    for (size_t i = 0; i < plan->n_entries; i++)
        add_lengths(all, &plan->entries[i]);
    int64_t cost = cost_of(all, &plan->columns) + layout->n_results * RESULT_BYTES;
    layout->first = layout->n_results;
    layout->first_entry = plan->n_entries;
    *before = *all;
    for (int64_t i = 0; i < layout->n_results; i++) {
        int64_t begin = cost_of(&seen, &plan->columns) + i * RESULT_BYTES;
        int owner = (int)((unsigned __int128)begin * (unsigned)size / (unsigned __int128)cost);
        const struct ant_journal_entry *entry =
            next < plan->n_entries ? &plan->entries[next] : NULL;
        bool is_there =
            entry && (entry->row - plan->shard.first_row) * plan->n_samples + entry->sample == i;
        if (owner > rank)
            break;
        if (owner == rank) {
            if (layout->n++ == 0) {
                layout->first = i;
                layout->first_entry = next;
                *before = seen;
            }
            if (is_there) {
                layout->n_entries++;
                add_lengths(mine, entry);
            }
        }
        if (is_there) {
            add_lengths(&seen, entry);
            next++;
        }
    }
}

static void set_column(struct ant_results_layout *layout, int index, const char *name,
                       enum ant_results_type type, size_t width, int64_t total, int64_t first,
                       int64_t n)
{
    layout->columns[index] = (struct ant_results_column){name, type, width, total, first, n};
}

/* A column with one element a result. */
static void set_plain(struct ant_results_layout *layout, int index, const char *name,
                      enum ant_results_type type, size_t width)
{
    set_column(layout, index, name, type, width, layout->n_results, layout->first, layout->n);
}

/* Offsets have one element more, which the last rank writes. */
static void set_offsets(struct ant_results_layout *layout, int index, const char *name,
                        bool is_last)
{
    set_column(layout, index, name, ANT_RESULTS_I64, 8, layout->n_results + 1, layout->first,
               layout->n + is_last);
}

/* Log probabilities, as many as there are tokens of what they are of. */
static void lay_out_logprobs(struct ant_results_layout *layout, const struct ant_columns *columns,
                             const struct lengths *before, const struct lengths *mine,
                             const struct lengths *all)
{
    size_t top = 4 * (size_t)columns->n_top;

    if (!columns->has_logprobs)
        return;
    set_column(layout, ANT_COLUMN_LOGPROBS, "logprobs", ANT_RESULTS_F32, 4, all->tokens,
               before->tokens, mine->tokens);
    if (top > 0) {
        set_column(layout, ANT_COLUMN_TOP_IDS, "top_ids", ANT_RESULTS_TOP_I32, top, all->tokens,
                   before->tokens, mine->tokens);
        set_column(layout, ANT_COLUMN_TOP_LOGPROBS, "top_logprobs", ANT_RESULTS_TOP_F32, top,
                   all->tokens, before->tokens, mine->tokens);
    }
    if (columns->is_scored) {
        set_plain(layout, ANT_COLUMN_LOGPROB_SUM, "logprob_sum", ANT_RESULTS_F64, 8);
        set_plain(layout, ANT_COLUMN_IS_GREEDY, "is_greedy", ANT_RESULTS_U8, 1);
    }
}

static void lay_out_prompts(struct ant_results_layout *layout, const struct ant_columns *columns,
                            const struct lengths *before, const struct lengths *mine,
                            const struct lengths *all, bool is_last)
{
    size_t top = 4 * (size_t)columns->n_prompt_top;

    if (!columns->has_prompt_logprobs)
        return;
    set_column(layout, ANT_COLUMN_PROMPT_IDS, "prompt_ids", ANT_RESULTS_I32, 4, all->prompt,
               before->prompt, mine->prompt);
    set_column(layout, ANT_COLUMN_PROMPT_LOGPROBS, "prompt_logprobs", ANT_RESULTS_F32, 4,
               all->prompt, before->prompt, mine->prompt);
    set_offsets(layout, ANT_COLUMN_PROMPT_OFFSETS, "prompt_logprobs_offsets", is_last);
    if (top == 0)
        return;
    set_column(layout, ANT_COLUMN_PROMPT_TOP_IDS, "prompt_top_ids", ANT_RESULTS_TOP_I32, top,
               all->prompt, before->prompt, mine->prompt);
    set_column(layout, ANT_COLUMN_PROMPT_TOP_LOGPROBS, "prompt_top_logprobs", ANT_RESULTS_TOP_F32,
               top, all->prompt, before->prompt, mine->prompt);
}

int ant_results_lay_out(struct ant_results_layout *out, const struct ant_results_plan *plan,
                        int rank, int size, struct ant_error *err)
{
    struct ant_results_layout layout = {0};
    struct lengths before = {0}, mine = {0}, all = {0};
    bool is_last = rank == size - 1;

    if (plan->n_rows < 0 || plan->n_samples < 1 || plan->n_rows > INT64_MAX / plan->n_samples)
        return ant_fail(err, ANT_EBUG, "'%s': %lld x %d results are impossible", plan->path,
                        (long long)plan->n_rows, plan->n_samples);
    ANT_TRY(check_entries(plan, err));
    layout.n_results = plan->n_rows * plan->n_samples;
    count_outcomes(&layout, plan);
    cut_slices(&layout, plan, rank, size, &before, &mine, &all);

    set_plain(&layout, ANT_COLUMN_ROW, "row", ANT_RESULTS_I64, 8);
    set_plain(&layout, ANT_COLUMN_SAMPLE, "sample", ANT_RESULTS_U16, 2);
    set_plain(&layout, ANT_COLUMN_STATUS, "status", ANT_RESULTS_STATUS, 1);
    set_plain(&layout, ANT_COLUMN_FINISH, "finish", ANT_RESULTS_FINISH, 1);
    set_plain(&layout, ANT_COLUMN_PROMPT_TOKENS, "prompt_tokens", ANT_RESULTS_I32, 4);
    set_plain(&layout, ANT_COLUMN_COMPLETION_TOKENS, "completion_tokens", ANT_RESULTS_I32, 4);
    set_plain(&layout, ANT_COLUMN_SEED, "seed", ANT_RESULTS_U64, 8);
    set_plain(&layout, ANT_COLUMN_DP_RANK, "dp_rank", ANT_RESULTS_I32, 4);
    set_plain(&layout, ANT_COLUMN_ATTEMPT, "attempt", ANT_RESULTS_U16, 2);
    set_plain(&layout, ANT_COLUMN_T_FIRST, "t_first", ANT_RESULTS_F32, 4);
    set_plain(&layout, ANT_COLUMN_T_TOTAL, "t_total", ANT_RESULTS_F32, 4);
    set_column(&layout, ANT_COLUMN_TEXT, "text", ANT_RESULTS_U8, 1, all.text, before.text,
               mine.text);
    set_column(&layout, ANT_COLUMN_TOKENS, "tokens", ANT_RESULTS_I32, 4, all.tokens, before.tokens,
               mine.tokens);
    set_column(&layout, ANT_COLUMN_ERROR, "error", ANT_RESULTS_U8, 1, all.error, before.error,
               mine.error);
    set_offsets(&layout, ANT_COLUMN_TEXT_OFFSETS, "text_offsets", is_last);
    set_offsets(&layout, ANT_COLUMN_TOKENS_OFFSETS, "tokens_offsets", is_last);
    set_offsets(&layout, ANT_COLUMN_ERROR_OFFSETS, "error_offsets", is_last);
    lay_out_logprobs(&layout, &plan->columns, &before, &mine, &all);
    lay_out_prompts(&layout, &plan->columns, &before, &mine, &all, is_last);
    *out = layout;
    return 0;
}

void ant_results_lay_out_ids(struct ant_results_layout *layout, const struct ant_results_ids *ids,
                             bool is_last)
{
    if (ids->kind == ANT_ID_INTEGER) {
        set_plain(layout, ANT_COLUMN_ID, "id", ANT_RESULTS_I64, 8);
    } else if (ids->kind == ANT_ID_UNSIGNED) {
        set_plain(layout, ANT_COLUMN_ID, "id", ANT_RESULTS_U64, 8);
    } else if (ids->kind == ANT_ID_STRING && ids->width <= ANT_WIDEST_ID) {
        size_t width = ids->width > 0 ? (size_t)ids->width : 1;
        set_plain(layout, ANT_COLUMN_ID, "id", ANT_RESULTS_STRING, width);
    } else if (ids->kind == ANT_ID_STRING) {
        set_column(layout, ANT_COLUMN_ID, "id", ANT_RESULTS_U8, 1, ids->bytes, ids->first, ids->n);
        set_offsets(layout, ANT_COLUMN_ID_OFFSETS, "id_offsets", is_last);
    }
}

int64_t ant_results_bytes(const struct ant_results_layout *layout)
{
    int64_t bytes = 0;

    for (int i = 0; i < ANT_N_COLUMNS; i++)
        bytes += layout->columns[i].total * (int64_t)layout->columns[i].width;
    return bytes;
}
