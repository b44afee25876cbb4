/* SPDX-License-Identifier: Apache-2.0 */
/* One rank's part of a results file: written once from front to back, then read back. */
#include "config.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "store/results_file.h"

enum {
    PIECE_BYTES = 4 << 20, /* of one column, written or read at once */
    ID_ROWS = 8192,        /* ids held */
};

/* Ids of input rows [first, first + n). */
struct id_window {
    struct ant_prompts *prompts;
    enum ant_id_kind kind;
    int64_t first, n;
    int64_t integers[ID_ROWS];
    char *bytes;      /* owned */
    int64_t *offsets; /* owned */
};

struct output {
    hid_t dataset, type; /* owned; the type is that in memory */
    struct ant_buf pending;
    int64_t written; /* elements */
    uint32_t crc;    /* of what was written */
};

struct ant_results_slice {
    const struct ant_results_plan *plan;     /* borrowed */
    const struct ant_results_layout *layout; /* borrowed */
    const char *part;                        /* borrowed */
    struct ant_journal_reader *reader;
    struct id_window ids;
    struct output outputs[ANT_N_COLUMNS];
    int64_t text_end, tokens_end, error_end, id_end, prompt_end; /* offsets so far */
    struct ant_logprobs room, prompt_room; /* a result's, as wide as the columns are */
};

/* ---- ids ------------------------------------------------------------------------------------- */

static void drop_ids(struct id_window *ids)
{
    free(ids->bytes);
    free(ids->offsets);
    ids->bytes = NULL;
    ids->offsets = NULL;
    ids->n = 0;
}

/* Index of the row's id in the window. */
static int hold_id(struct id_window *ids, int64_t row, int64_t *index, struct ant_error *err)
{
    if (row < ids->first || row >= ids->first + ids->n) {
        int64_t left = ant_prompts_count(ids->prompts) - row;
        int64_t n = left < ID_ROWS ? left : ID_ROWS;
        drop_ids(ids);
        ANT_TRY(
            ant_prompts_ids(ids->prompts, row, n, ids->integers, &ids->bytes, &ids->offsets, err));
        ids->first = row;
        ids->n = n;
    }
    *index = row - ids->first;
    return 0;
}

int ant_results_measure_ids(struct ant_results_ids *out, const struct ant_results_layout *layout,
                            const struct ant_results_plan *plan, struct ant_prompts *prompts,
                            struct ant_error *err)
{
    struct id_window *ids;
    int rc = 0;

    *out = (struct ant_results_ids){.kind = prompts ? ant_prompts_id_kind(prompts) : ANT_ID_NONE};
    if (out->kind != ANT_ID_STRING)
        return 0;
    ids = ant_xcalloc(1, sizeof(*ids));
    ids->prompts = prompts;
    for (int64_t i = layout->first; i < layout->first + layout->n && rc == 0; i++) {
        int64_t at = 0;
        rc = hold_id(ids, plan->shard.first_row + i / plan->n_samples, &at, err);
        if (rc < 0)
            break;
        int64_t length = ids->offsets[at + 1] - ids->offsets[at];
        out->n += length;
        if (length > out->width)
            out->width = length;
    }
    drop_ids(ids);
    free(ids);
    return rc;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* Elements [first, first + n) of a column's dataset, from or to `data`. */
static int transfer(const struct ant_results_slice *slice, int c, int64_t first, int64_t n,
                    void *data, bool is_write, struct ant_error *err)
{
    const struct output *output = &slice->outputs[c];
    hsize_t start = (hsize_t)first, count = (hsize_t)n;
    hid_t file_space = H5Dget_space(output->dataset);
    hid_t memory_space = H5Screate_simple(1, &count, NULL);
    herr_t rc = H5Sselect_hyperslab(file_space, H5S_SELECT_SET, &start, NULL, &count, NULL);

    /* The default transfer is independent: collective ones lose data silently on a full disk. */
    errno = 0;
    if (rc >= 0 && is_write)
        rc = H5Dwrite(output->dataset, output->type, memory_space, file_space, H5P_DEFAULT, data);
    else if (rc >= 0)
        rc = H5Dread(output->dataset, output->type, memory_space, file_space, H5P_DEFAULT, data);
    ant_h5_close(memory_space);
    ant_h5_close(file_space);
    if (rc < 0)
        return ant_h5_fail(err, ANT_EIO, "cannot %s '%s', dataset '/results/%s'",
                           is_write ? "write" : "read back", slice->part,
                           slice->layout->columns[c].name);
    return 0;
}

static int flush_column(struct ant_results_slice *slice, int c, struct ant_error *err)
{
    const struct ant_results_column *column = &slice->layout->columns[c];
    struct output *output = &slice->outputs[c];
    int64_t n = (int64_t)(output->pending.len / column->width);

    if (n == 0)
        return 0;
    if (n > column->n - output->written)
        return ant_fail(err, ANT_EBUG, "'%s': more of '/results/%s' than was planned", slice->part,
                        column->name);
    ANT_TRY(
        transfer(slice, c, column->first + output->written, n, output->pending.data, true, err));
    output->crc = ant_crc32c(output->crc, output->pending.data, output->pending.len);
    output->written += n;
    output->pending.len = 0;
    return 0;
}

static int add(struct ant_results_slice *slice, int c, const void *data, size_t bytes,
               struct ant_error *err)
{
    struct output *output = &slice->outputs[c];

    ant_buf_add(&output->pending, data, bytes);
    return output->pending.len >= PIECE_BYTES ? flush_column(slice, c, err) : 0;
}

static int add_id(struct ant_results_slice *slice, int64_t row, struct ant_error *err)
{
    const struct ant_results_column *column = &slice->layout->columns[ANT_COLUMN_ID];
    static const char zeros[ANT_WIDEST_ID];
    int64_t at = 0;

    if (!column->name)
        return 0;
    ANT_TRY(hold_id(&slice->ids, row, &at, err));
    if (slice->ids.kind != ANT_ID_STRING)
        return add(slice, ANT_COLUMN_ID, &slice->ids.integers[at], sizeof(int64_t), err);
    size_t length = (size_t)(slice->ids.offsets[at + 1] - slice->ids.offsets[at]);
    ANT_TRY(add(slice, ANT_COLUMN_ID, slice->ids.bytes + slice->ids.offsets[at], length, err));
    if (column->type == ANT_RESULTS_STRING)
        return add(slice, ANT_COLUMN_ID, zeros, column->width - length, err);
    ANT_TRY(add(slice, ANT_COLUMN_ID_OFFSETS, &slice->id_end, sizeof(int64_t), err));
    slice->id_end += (int64_t)length;
    return 0;
}

static int add_offsets(struct ant_results_slice *slice, struct ant_error *err)
{
    ANT_TRY(add(slice, ANT_COLUMN_TEXT_OFFSETS, &slice->text_end, sizeof(int64_t), err));
    ANT_TRY(add(slice, ANT_COLUMN_TOKENS_OFFSETS, &slice->tokens_end, sizeof(int64_t), err));
    if (slice->plan->columns.has_prompt_logprobs)
        ANT_TRY(add(slice, ANT_COLUMN_PROMPT_OFFSETS, &slice->prompt_end, sizeof(int64_t), err));
    return add(slice, ANT_COLUMN_ERROR_OFFSETS, &slice->error_end, sizeof(int64_t), err);
}

/* The first `n` of `from`, of as many alternatives as `room` has. What there is not: NaN, id -1. */
static void widen(struct ant_logprobs *room, const struct ant_logprobs *from, uint32_t n)
{
    static const struct ant_logprobs none;
    int32_t have;

    if (!from)
        from = &none;
    have = from->n_top < room->n_top ? from->n_top : room->n_top;
    room->n = 0;
    for (uint32_t i = 0; i < n; i++) {
        size_t to = (size_t)i * (size_t)room->n_top, at = (size_t)i * (size_t)from->n_top;
        ant_logprobs_add(room, i < from->n ? from->values[i] : NAN, NULL, NULL);
        for (int32_t k = 0; k < have && i < from->n; k++) {
            room->top_ids[to + (size_t)k] = from->top_ids[at + (size_t)k];
            room->top[to + (size_t)k] = from->top[at + (size_t)k];
        }
    }
}

static int add_logprobs(struct ant_results_slice *slice, const struct ant_logprobs *room,
                        int values, int top_ids, int top, struct ant_error *err)
{
    size_t n = room->n, width = 4 * (size_t)room->n_top;

    ANT_TRY(add(slice, values, room->values, 4 * n, err));
    if (room->n_top == 0)
        return 0;
    ANT_TRY(add(slice, top_ids, room->top_ids, n * width, err));
    return add(slice, top, room->top, n * width, err);
}

/* Log probabilities, where the job has them. */
static int add_all_logprobs(struct ant_results_slice *slice, const struct ant_answer *answer,
                            struct ant_error *err)
{
    const struct ant_columns *columns = &slice->plan->columns;
    const struct ant_logprobs *prompt = answer->prompt_logprobs;
    uint32_t n_prompt = prompt ? prompt->n : 0;

    if (columns->has_logprobs) {
        widen(&slice->room, answer->logprobs, answer->n_tokens);
        ANT_TRY(add_logprobs(slice, &slice->room, ANT_COLUMN_LOGPROBS, ANT_COLUMN_TOP_IDS,
                             ANT_COLUMN_TOP_LOGPROBS, err));
    }
    if (columns->is_scored) {
        bool is_ok = answer->status == ANT_STATUS_OK;
        double sum = is_ok ? ant_logprobs_sum(&slice->room) : NAN;
        uint8_t is_greedy = is_ok && ant_logprobs_are_greedy(&slice->room, answer->tokens);
        ANT_TRY(add(slice, ANT_COLUMN_LOGPROB_SUM, &sum, sizeof(sum), err));
        ANT_TRY(add(slice, ANT_COLUMN_IS_GREEDY, &is_greedy, sizeof(is_greedy), err));
    }
    if (!columns->has_prompt_logprobs)
        return 0;
    widen(&slice->prompt_room, prompt, n_prompt);
    slice->prompt_end += n_prompt;
    ANT_TRY(add(slice, ANT_COLUMN_PROMPT_IDS, answer->prompt_ids, 4 * (size_t)n_prompt, err));
    return add_logprobs(slice, &slice->prompt_room, ANT_COLUMN_PROMPT_LOGPROBS,
                        ANT_COLUMN_PROMPT_TOP_IDS, ANT_COLUMN_PROMPT_TOP_LOGPROBS, err);
}

static int add_answer(struct ant_results_slice *slice, const struct ant_answer *answer,
                      struct ant_error *err)
{
    const uint16_t sample = (uint16_t)answer->sample, attempt = (uint16_t)answer->attempt;
    const uint8_t status = (uint8_t)answer->status, finish = (uint8_t)answer->finish;
    const int32_t n_tokens = (int32_t)answer->n_tokens;
    const struct {
        int column;
        const void *data;
        size_t bytes;
    } cells[] = {
        {ANT_COLUMN_ROW, &answer->row, sizeof(answer->row)},
        {ANT_COLUMN_SAMPLE, &sample, sizeof(sample)},
        {ANT_COLUMN_STATUS, &status, sizeof(status)},
        {ANT_COLUMN_FINISH, &finish, sizeof(finish)},
        {ANT_COLUMN_PROMPT_TOKENS, &answer->prompt_tokens, sizeof(answer->prompt_tokens)},
        {ANT_COLUMN_COMPLETION_TOKENS, &n_tokens, sizeof(n_tokens)},
        {ANT_COLUMN_SEED, &answer->seed, sizeof(answer->seed)},
        {ANT_COLUMN_DP_RANK, &answer->dp_rank, sizeof(answer->dp_rank)},
        {ANT_COLUMN_ATTEMPT, &attempt, sizeof(attempt)},
        {ANT_COLUMN_T_FIRST, &answer->t_first, sizeof(answer->t_first)},
        {ANT_COLUMN_T_TOTAL, &answer->t_total, sizeof(answer->t_total)},
        {ANT_COLUMN_TEXT, answer->text, answer->text_bytes},
        {ANT_COLUMN_TOKENS, answer->tokens, 4 * (size_t)answer->n_tokens},
        {ANT_COLUMN_ERROR, answer->error, answer->error_bytes},
    };

    ANT_TRY(add_offsets(slice, err));
    for (size_t i = 0; i < sizeof(cells) / sizeof(*cells); i++)
        ANT_TRY(add(slice, cells[i].column, cells[i].data, cells[i].bytes, err));
    slice->text_end += answer->text_bytes;
    slice->tokens_end += answer->n_tokens;
    slice->error_end += answer->error_bytes;
    ANT_TRY(add_all_logprobs(slice, answer, err));
    return add_id(slice, answer->row, err);
}

int ant_results_slice_open(struct ant_results_slice **out, hid_t file, const char *part,
                           const struct ant_results_plan *plan,
                           const struct ant_results_layout *layout, struct ant_prompts *prompts,
                           struct ant_error *err)
{
    struct ant_results_slice *slice = ant_xcalloc(1, sizeof(*slice));

    slice->plan = plan;
    slice->layout = layout;
    slice->part = part;
    slice->reader = ant_journal_reader_open(plan->journal ? plan->journal : plan->path);
    slice->ids.prompts = prompts;
    slice->ids.kind = prompts ? ant_prompts_id_kind(prompts) : ANT_ID_NONE;
    slice->text_end = layout->columns[ANT_COLUMN_TEXT].first;
    slice->tokens_end = layout->columns[ANT_COLUMN_TOKENS].first;
    slice->error_end = layout->columns[ANT_COLUMN_ERROR].first;
    slice->id_end = layout->columns[ANT_COLUMN_ID].first;
    slice->prompt_end = layout->columns[ANT_COLUMN_PROMPT_LOGPROBS].first;
    slice->room.n_top = plan->columns.n_top;
    slice->prompt_room.n_top = plan->columns.n_prompt_top;
    for (int i = 0; i < ANT_N_COLUMNS; i++)
        slice->outputs[i].dataset = slice->outputs[i].type = H5I_INVALID_HID;
    for (int i = 0; i < ANT_N_COLUMNS; i++) {
        const struct ant_results_column *column = &layout->columns[i];
        struct output *output = &slice->outputs[i];
        if (!column->name)
            continue;
        char *path = ant_xasprintf("results/%s", column->name);
        output->dataset = H5Dopen2(file, path, H5P_DEFAULT);
        free(path);
        hid_t type = ant_results_type_open(column);
        output->type = H5Tget_native_type(type, H5T_DIR_ASCEND);
        ant_h5_close(type);
        if (output->dataset < 0 || output->type < 0) {
            int rc = ant_h5_fail(err, ANT_EIO, "cannot open '%s', dataset '/results/%s'", part,
                                 column->name);
            ant_results_slice_close(slice);
            return rc;
        }
    }
    *out = slice;
    return 0;
}

int ant_results_slice_write(struct ant_results_slice *slice, struct ant_error *err)
{
    const struct ant_results_plan *plan = slice->plan;
    const struct ant_results_layout *layout = slice->layout;
    size_t next = layout->first_entry, last = next + layout->n_entries;

    for (int64_t i = layout->first; i < layout->first + layout->n; i++) {
        const struct ant_journal_entry *entry = next < last ? &plan->entries[next] : NULL;
        struct ant_answer answer = {.row = plan->shard.first_row + i / plan->n_samples,
                                    .sample = (int32_t)(i % plan->n_samples),
                                    .status = ANT_STATUS_MISSING,
                                    .dp_rank = -1,
                                    .t_first = NAN,
                                    .t_total = NAN};
        if (entry && entry->row == answer.row && entry->sample == answer.sample) {
            ANT_TRY(ant_journal_read(slice->reader, entry, &answer, err));
            next++;
        }
        ANT_TRY(add_answer(slice, &answer, err));
    }
    const struct ant_results_column *offsets = &layout->columns[ANT_COLUMN_TEXT_OFFSETS];
    if (offsets->n > layout->n) {
        ANT_TRY(add_offsets(slice, err));
        if (layout->columns[ANT_COLUMN_ID_OFFSETS].name)
            ANT_TRY(add(slice, ANT_COLUMN_ID_OFFSETS, &slice->id_end, sizeof(int64_t), err));
    }
    for (int c = 0; c < ANT_N_COLUMNS; c++) {
        if (!layout->columns[c].name)
            continue;
        ANT_TRY(flush_column(slice, c, err));
        if (slice->outputs[c].written != layout->columns[c].n)
            return ant_fail(err, ANT_EBUG, "'%s': less of '/results/%s' than was planned",
                            slice->part, layout->columns[c].name);
    }
    return 0;
}

int ant_results_slice_verify(struct ant_results_slice *slice, struct ant_error *err)
{
    struct ant_buf piece = {0};
    int rc = 0;

    for (int c = 0; c < ANT_N_COLUMNS && rc == 0; c++) {
        const struct ant_results_column *column = &slice->layout->columns[c];
        uint32_t crc = 0;
        if (!column->name)
            continue;
        int64_t most = PIECE_BYTES / (int64_t)column->width;
        for (int64_t done = 0; done < column->n && rc == 0;) {
            int64_t n = column->n - done < most ? column->n - done : most;
            piece.len = 0;
            void *room = ant_buf_grow(&piece, (size_t)n * column->width);
            rc = transfer(slice, c, column->first + done, n, room, false, err);
            crc = ant_crc32c(crc, piece.data, piece.len);
            done += n;
        }
        if (rc == 0 && crc != slice->outputs[c].crc)
            rc = ant_fail(err, ANT_EIO,
                          "'%s': what was written to '/results/%s' does not read back the same",
                          slice->part, column->name);
    }
    ant_buf_release(&piece);
    return rc;
}

uint32_t ant_results_slice_crc(const struct ant_results_slice *slice, int column)
{
    return slice->outputs[column].crc;
}

void ant_results_slice_close(struct ant_results_slice *slice)
{
    if (!slice)
        return;
    for (int i = 0; i < ANT_N_COLUMNS; i++) {
        ant_h5_close(slice->outputs[i].dataset);
        ant_h5_close(slice->outputs[i].type);
        ant_buf_release(&slice->outputs[i].pending);
    }
    ant_journal_reader_close(slice->reader);
    ant_logprobs_release(&slice->room);
    ant_logprobs_release(&slice->prompt_room);
    drop_ids(&slice->ids);
    free(slice);
}
