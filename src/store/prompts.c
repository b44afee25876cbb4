/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "store/prompts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/h5.h"
#include "store/prompts_number.h"
#include "store/prompts_text.h"

enum source { SOURCE_STRINGS, SOURCE_BYTES, SOURCE_TOKENS };

enum {
    WINDOW_ROWS = 256,      /* strings read at once, at most */
    WINDOW_BYTES = 4 << 20, /* ... while they are no longer than this */
    AHEAD = 256 << 10,      /* bytes or tokens read at once in ascending order */
    MOST_STRIDE = 4096,     /* a wider step counts as random access */
    FINGERPRINT_ROWS = 32,
    FOLDED_BYTES = 1 << 20,
    NAMES_LISTED = 8,
    ID_PIECE = 8192,
};

static const char *const structure_names[] = {"text", "text_offsets", "tokens", "tokens_offsets",
                                              "id",   "rank",         "error"};

struct ant_prompts {
    char *file, *path; /* owned: the file, and the object in it */
    hid_t h5, object;
    enum source source;
    bool chat;
    int64_t n;
    struct ant_h5_column values;  /* strings, bytes or tokens */
    struct ant_h5_column offsets; /* of bytes and tokens */
    struct ant_h5_column numbers[ANT_N_NUMBERS];
    struct ant_h5_column id, rank, error;
    struct ant_prompts_text texts[ANT_N_TEXTS];
    struct ant_buf why; /* of the error column */

    struct ant_buf ignored;

    /* strings held: rows first, first + stride ... */
    int64_t window_first, window_stride, window_n, window_want, last_row;
    int64_t window_offsets[WINDOW_ROWS + 1];
    struct ant_buf window;

    struct ant_h5_span held; /* bytes, or int64 tokens */
    struct ant_ids ids;

    struct ant_digest fingerprint;
};

/* FILE:/path, unless a file of exactly that name is there. */
static void split_spec(struct ant_prompts *p, const char *spec)
{
    const char *colon = NULL;

    for (const char *at = spec; (at = strstr(at, ":/")); at++)
        colon = at;
    if (!colon || colon == spec || access(spec, F_OK) == 0) {
        p->file = ant_xstrdup(spec);
        p->path = ant_xstrdup("/prompts");
        return;
    }
    p->file = ant_xstrndup(spec, (size_t)(colon - spec));
    p->path = ant_xstrdup(colon + 1);
}

/* Names in a group, in the order of the alphabet; NULL past the end. */
static char *name_at(hid_t group, hsize_t i)
{
    ssize_t length =
        H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, NULL, 0, H5P_DEFAULT);
    if (length < 0)
        return NULL;
    char *name = ant_xcalloc((size_t)length + 1, 1);
    H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, (size_t)length + 1,
                       H5P_DEFAULT);
    return name;
}

static hsize_t link_count(hid_t group)
{
    H5G_info_t info;

    return H5Gget_info(group, &info) < 0 ? 0 : info.nlinks;
}

static int fail_no_object(struct ant_prompts *p, struct ant_error *err)
{
    if (H5Lexists(p->h5, p->path, H5P_DEFAULT) > 0)
        return ant_h5_fail(err, ANT_ENOENT,
                           "'%s': '%s' cannot be opened; a link that leads nowhere?", p->file,
                           p->path);
    struct ant_buf names = {0};
    hid_t root = H5Gopen2(p->h5, "/", H5P_DEFAULT);
    hsize_t n = root < 0 ? 0 : link_count(root);

    for (hsize_t i = 0; i < n && i < NAMES_LISTED; i++) {
        char *name = name_at(root, i);
        ant_buf_printf(&names, "%s/%s", i ? ", " : "; it has ", name ? name : "?");
        free(name);
    }
    if (n > NAMES_LISTED)
        ant_buf_printf(&names, " ...");
    ant_h5_close(root);
    int rc = ant_fail(err, ANT_ENOENT, "'%s' has no dataset or group '%s'%.*s%s", p->file, p->path,
                      (int)names.len, names.data ? names.data : "",
                      n ? " (name one as FILE:/path)" : "");
    ant_buf_release(&names);
    return rc;
}

static bool is_number(const char *name)
{
    for (int i = 0; i < ANT_N_NUMBERS; i++)
        if (strcmp(name, ant_number_columns[i].name) == 0)
            return true;
    return false;
}

static bool is_among(const char *name, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Every name in the group is used, or noted as ignored. */
static int check_names(struct ant_prompts *p, struct ant_error *err)
{
    hsize_t n = link_count(p->object);

    for (hsize_t i = 0; i < n; i++) {
        char *name = name_at(p->object, i);
        if (!name)
            return ant_h5_fail(err, ANT_EDATA, "'%s': cannot list '%s'", p->file, p->path);
        if (!is_among(name, structure_names, COUNT(structure_names)) && !is_number(name) &&
            !is_among(name, ant_text_columns, ANT_N_TEXTS))
            ant_buf_printf(&p->ignored, "%s%s", p->ignored.len ? ", " : "", name);
        free(name);
    }
    return 0;
}

/* A group of something else: one that pandas wrote, or with names of its own. */
static int fail_no_prompts(struct ant_prompts *p, struct ant_error *err)
{
    if (H5Aexists(p->object, "pandas_type") > 0)
        return ant_fail(err, ANT_EDATA,
                        "'%s': group '%s' is a table as pandas keeps it; write the column itself, "
                        "h5py.File(FILE, \"w\")[\"prompts\"] = table[COLUMN].tolist(), or use "
                        "to_json(FILE, orient=\"records\", lines=True) and 'antiphon pack'",
                        p->file, p->path);
    return ant_fail(err, ANT_ENOENT, "'%s': group '%s' has neither 'text' nor 'tokens'%s%.*s%s",
                    p->file, p->path, p->ignored.len ? "; it has " : "", (int)p->ignored.len,
                    p->ignored.len ? p->ignored.data : "",
                    p->ignored.len ? " (FILE:/path names a dataset of strings)" : "");
}

/* 1: open. 0: the group has no such dataset. */
static int open_column(struct ant_prompts *p, struct ant_h5_column *out, const char *name,
                       struct ant_error *err)
{
    htri_t there = H5Lexists(p->object, name, H5P_DEFAULT);
    if (there < 0)
        return ant_h5_fail(err, ANT_EDATA, "'%s': cannot look for '%s/%s'", p->file, p->path, name);
    if (there == 0)
        return 0;
    char *path = ant_xasprintf("%s/%s", p->path, name);
    int rc = ant_h5_column_open(out, p->object, name, p->file, path, err);
    free(path);
    return rc < 0 ? rc : 1;
}

/* Offsets of n + 1 rows whose ends lie inside the values. Each row's own pair is looked at when
 * the row is read. */
static int open_offsets(struct ant_prompts *p, const char *name, struct ant_error *err)
{
    struct ant_h5_column *offsets = &p->offsets;
    int64_t first = 0, last = 0;
    bool given;

    int rc = open_column(p, offsets, name, err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return ant_fail(err, ANT_ENOENT,
                        "'%s': dataset '%s/%s' is missing, without it %s cannot be read", p->file,
                        p->path, name, p->values.label);
    if (offsets->kind != ANT_H5_INTEGER)
        return ant_fail(err, ANT_EDATA, "%s must hold integers", offsets->label);
    if (offsets->n == 0)
        return ant_fail(err, ANT_EDATA,
                        "%s is empty, it needs one more element than there are rows",
                        offsets->label);
    ANT_TRY(ant_h5_int(offsets, offsets->n - 1, &last, &given, err));
    ANT_TRY(ant_h5_int(offsets, 0, &first, &given, err));
    if (first < 0 || last < first || last > p->values.n)
        return ant_fail(err, ANT_EDATA, "%s runs from %lld to %lld, but %s has %lld elements",
                        offsets->label, (long long)first, (long long)last, p->values.label,
                        (long long)p->values.n);
    p->n = offsets->n - 1;
    return 0;
}

static int open_values(struct ant_prompts *p, struct ant_error *err)
{
    struct ant_h5_column tokens = {0};
    int has_text = open_column(p, &p->values, "text", err);
    if (has_text < 0)
        return has_text;
    int has_tokens = open_column(p, &tokens, "tokens", err);
    if (has_tokens < 0)
        return has_tokens;
    if (has_text && has_tokens) {
        ant_h5_column_close(&tokens);
        return ant_fail(err, ANT_EDATA, "'%s': '%s' holds both text and tokens, keep one", p->file,
                        p->path);
    }
    if (!has_text && !has_tokens)
        return fail_no_prompts(p, err);
    if (has_tokens) {
        p->values = tokens;
        p->source = SOURCE_TOKENS;
        if (p->values.kind != ANT_H5_INTEGER)
            return ant_fail(err, ANT_EDATA, "%s must hold integers", p->values.label);
        return open_offsets(p, "tokens_offsets", err);
    }
    if (p->values.kind == ANT_H5_INTEGER && p->values.size == 1) {
        p->source = SOURCE_BYTES;
        return open_offsets(p, "text_offsets", err);
    }
    if (p->values.kind != ANT_H5_FIXED && p->values.kind != ANT_H5_VARIABLE)
        return ant_fail(err, ANT_EDATA, "%s must hold strings, or bytes with offsets",
                        p->values.label);
    p->source = SOURCE_STRINGS;
    p->n = p->values.n;
    return 0;
}

/* A column beside the values: as long as they are, and of a kind that serves. */
static int open_beside(struct ant_prompts *p, struct ant_h5_column *column, const char *name,
                       bool strings, struct ant_error *err)
{
    int rc = open_column(p, column, name, err);
    if (rc <= 0)
        return rc;
    bool is_string = column->kind == ANT_H5_FIXED || column->kind == ANT_H5_VARIABLE;
    if (is_string && !strings)
        return ant_fail(err, ANT_EDATA, "%s must hold numbers, not strings", column->label);
    if (column->kind == ANT_H5_REAL && strings)
        return ant_fail(err, ANT_EDATA, "%s must hold strings or integers", column->label);
    if (column->n != p->n)
        return ant_fail(err, ANT_EDATA, "%s has %lld rows, but there are %lld prompts",
                        column->label, (long long)column->n, (long long)p->n);
    return 0;
}

static int open_texts(struct ant_prompts *p, struct ant_error *err)
{
    for (int i = 0; i < ANT_N_TEXTS; i++) {
        struct ant_h5_column *column = &p->texts[i].column;
        ANT_TRY(open_beside(p, column, ant_text_columns[i], true, err));
        if (ant_h5_column_is_open(column) && column->kind == ANT_H5_INTEGER)
            return ant_fail(err, ANT_EDATA, "%s must hold strings, not numbers", column->label);
    }
    return 0;
}

static int read_attributes(struct ant_prompts *p, struct ant_error *err)
{
    char *label = ant_xasprintf("'%s': '%s'", p->file, p->path);
    char *format = NULL, *schema = NULL;
    int64_t version = 1;
    int rc = ant_h5_get_text(&format, p->object, "format", label, err);

    if (rc >= 0)
        rc = ant_h5_get_text(&schema, p->object, "schema", label, err);
    if (rc >= 0)
        rc = ant_h5_get_int(&version, p->object, "version", label, err);
    if (rc < 0)
        goto out;
    rc = 0;
    p->chat = format && strcmp(format, "chat") == 0;
    if (schema && strcmp(schema, "antiphon-prompts") != 0)
        rc = ant_fail(err, ANT_EDATA, "%s has schema '%s', expected 'antiphon-prompts'", label,
                      schema);
    else if (version != 1)
        rc = ant_fail(err, ANT_EUNSUPP, "%s has version %lld, this program reads version 1", label,
                      (long long)version);
    else if (format && !p->chat && strcmp(format, "text") != 0)
        rc = ant_fail(err, ANT_EDATA, "%s has format '%s', expected 'text' or 'chat'", label,
                      format);
    else if (p->chat && p->source == SOURCE_TOKENS)
        rc = ant_fail(err, ANT_EDATA, "%s has format 'chat' but holds tokens", label);
out:
    free(format);
    free(schema);
    free(label);
    return rc;
}

static int open_group(struct ant_prompts *p, struct ant_error *err)
{
    ANT_TRY(check_names(p, err));
    ANT_TRY(open_values(p, err));
    for (int i = 0; i < ANT_N_NUMBERS; i++)
        ANT_TRY(open_beside(p, &p->numbers[i], ant_number_columns[i].name, false, err));
    ANT_TRY(open_beside(p, &p->rank, "rank", false, err));
    ANT_TRY(open_beside(p, &p->error, "error", true, err));
    ANT_TRY(open_texts(p, err));
    return open_beside(p, &p->id, "id", true, err);
}

static int open_dataset(struct ant_prompts *p, struct ant_error *err)
{
    ANT_TRY(ant_h5_column_open(&p->values, p->object, ".", p->file, p->path, err));
    if (p->values.kind != ANT_H5_FIXED && p->values.kind != ANT_H5_VARIABLE)
        return ant_fail(err, ANT_EDATA, "%s holds numbers, expected strings", p->values.label);
    p->source = SOURCE_STRINGS;
    p->n = p->values.n;
    return 0;
}

/* 1: [*first, *first + *n) of the values are row's. ANT_EDATA is the row's own fault. */
static int row_range(struct ant_prompts *p, int64_t row, int64_t *first, int64_t *n,
                     struct ant_error *err)
{
    int64_t end = 0;
    bool given;

    ANT_TRY(ant_h5_int(&p->offsets, row, first, &given, err));
    ANT_TRY(ant_h5_int(&p->offsets, row + 1, &end, &given, err));
    if (*first < 0 || end < *first || end > p->values.n)
        return ant_fail(err, ANT_EDATA,
                        "%s, row %lld: offsets %lld and %lld are not a range of %lld",
                        p->offsets.label, (long long)row, (long long)*first, (long long)end,
                        (long long)p->values.n);
    *n = end - *first;
    if (*n > ANT_H5_LONGEST_VALUE)
        return ant_fail(err, ANT_EDATA, "%s, row %lld: %lld elements, at most %d are possible",
                        p->values.label, (long long)row, (long long)*n, ANT_H5_LONGEST_VALUE);
    return 0;
}

/* Elements of the values, and some behind them when rows come one after the other. */
static int hold(struct ant_prompts *p, int64_t row, int64_t first, int64_t n, const char **at,
                struct ant_error *err)
{
    int64_t ahead = row == p->last_row + 1 ? AHEAD : 0;

    if (p->source == SOURCE_TOKENS)
        return ant_h5_hold(&p->held, &p->values, first, n, ahead, H5T_NATIVE_INT64, 8, at, err);
    return ant_h5_hold(&p->held, &p->values, first, n, ahead,
                       p->values.is_signed ? H5T_NATIVE_INT8 : H5T_NATIVE_UINT8, 1, at, err);
}

static int read_bytes(struct ant_prompts *p, int64_t row, struct ant_prompt *out,
                      struct ant_error *err)
{
    int64_t first = 0, n = 0;

    ANT_TRY(row_range(p, row, &first, &n, err));
    ANT_TRY(hold(p, row, first, n, &out->text, err));
    out->text_bytes = (size_t)n;
    return 0;
}

static int read_tokens(struct ant_prompts *p, int64_t row, struct ant_prompt *out,
                       struct ant_error *err)
{
    int64_t first = 0, n = 0;
    const char *cells = NULL;

    ANT_TRY(row_range(p, row, &first, &n, err));
    ANT_TRY(hold(p, row, first, n, &cells, err));
    p->ids.len = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t id;
        memcpy(&id, cells + (size_t)i * sizeof(id), sizeof(id));
        if (id < 0 || id > INT32_MAX)
            return ant_fail(err, ANT_EDATA, "%s, row %lld: %lld is no token id", p->values.label,
                            (long long)row, (long long)id);
        ant_ids_add(&p->ids, (int32_t)id);
    }
    out->tokens = p->ids.data;
    out->n_tokens = (size_t)n;
    return 0;
}

/* The step between rows asked for is kept (a rank of eight asks for every eighth row), the number
 * of rows grows while they are short. A jump starts with one row. */
static int fill_window(struct ant_prompts *p, int64_t row, struct ant_error *err)
{
    int64_t stride = row - p->last_row;
    bool steady = stride >= 1 && stride <= MOST_STRIDE;

    if (!steady || stride != p->window_stride)
        p->window_want = 1;
    else if (p->window.len > WINDOW_BYTES)
        p->window_want = p->window_want > 1 ? p->window_want / 2 : 1;
    else
        p->window_want *= 2;
    stride = steady ? stride : 1;
    int64_t most = ant_h5_strings_at_once(&p->values, WINDOW_ROWS);
    int64_t n = p->window_want < most ? p->window_want : most;
    int64_t left = (p->n - 1 - row) / stride + 1;
    n = n < left ? n : left;

    p->window_n = 0;
    ANT_TRY(ant_h5_read_strings(&p->values, row, stride, n, &p->window, p->window_offsets, err));
    p->window_first = row;
    p->window_stride = stride;
    p->window_want = n;
    p->window_n = n;
    return 0;
}

static int read_string(struct ant_prompts *p, int64_t row, struct ant_prompt *out,
                       struct ant_error *err)
{
    int64_t i = row - p->window_first;

    if (p->window_n == 0 || i < 0 || i % p->window_stride != 0 ||
        i / p->window_stride >= p->window_n) {
        ANT_TRY(fill_window(p, row, err));
        i = 0;
    }
    i /= p->window_stride;
    out->text_bytes = (size_t)(p->window_offsets[i + 1] - p->window_offsets[i]);
    out->text = out->text_bytes ? p->window.data + p->window_offsets[i] : "";
    return 0;
}

static int read_numbers(struct ant_prompts *p, int64_t row, struct ant_prompt *out,
                        struct ant_error *err)
{
    for (int i = 0; i < ANT_N_NUMBERS; i++) {
        struct ant_h5_column *column = &p->numbers[i];
        void *to = (char *)out + ant_number_columns[i].offset;
        bool given = false;
        int rc = 0;
        if (!ant_h5_column_is_open(column))
            continue;
        switch (ant_number_columns[i].kind) {
        case ANT_NUMBER_INTEGER:
            rc = ant_h5_int(column, row, to, &given, err);
            break;
        case ANT_NUMBER_BITS:
            rc = ant_h5_bits(column, row, to, &given, err);
            break;
        case ANT_NUMBER_REAL:
            rc = ant_h5_real(column, row, to, &given, err);
        }
        ANT_TRY(rc);
        if (given)
            out->has |= 1u << i;
    }
    return 0;
}

/* A row that says of itself that it is none. */
static int read_error(struct ant_prompts *p, int64_t row, struct ant_error *err)
{
    int64_t offsets[2];

    if (!ant_h5_column_is_open(&p->error))
        return 0;
    if (p->error.kind == ANT_H5_INTEGER)
        return ant_fail(err, ANT_EDATA, "%s must hold strings, not numbers", p->error.label);
    ANT_TRY(ant_h5_read_strings(&p->error, row, 1, 1, &p->why, offsets, err));
    return p->why.len > 0 ? ant_fail(err, ANT_EDATA, "%.*s", (int)p->why.len, p->why.data) : 0;
}

static int read_texts(struct ant_prompts *p, int64_t row, struct ant_prompt *out,
                      struct ant_error *err)
{
    const struct {
        const char **text;
        size_t *bytes;
    } to[ANT_TEXT_RULES] = {
        [ANT_TEXT_CONTINUATION] = {&out->continuation, &out->continuation_bytes},
        [ANT_TEXT_STOP] = {&out->stop, &out->stop_bytes},
        [ANT_TEXT_SYSTEM] = {&out->system, &out->system_bytes}};

    for (int i = 0; i < ANT_TEXT_RULES; i++)
        ANT_TRY(ant_prompts_text_read(&p->texts[i], row, p->n, to[i].text, to[i].bytes, err));
    for (int i = 0; i < ANT_N_RULES; i++)
        ANT_TRY(ant_prompts_text_read(&p->texts[ANT_TEXT_RULES + i], row, p->n, &out->rules[i].text,
                                      &out->rules[i].bytes, err));
    for (int i = ANT_TEXT_CHOICE; i < ANT_N_TEXTS; i++) {
        const char *text = NULL;
        size_t bytes = 0;
        ANT_TRY(ant_prompts_text_read(&p->texts[i], row, p->n, &text, &bytes, err));
        if (bytes == 0)
            continue;
        if (out->constraint_kind != ANT_CONSTRAINT_NONE)
            return ant_fail(err, ANT_EDATA, "row %lld has both %s and %s, of which one can be met",
                            (long long)row, ant_constraint_names[out->constraint_kind],
                            ant_text_columns[i]);
        out->constraint_kind =
            (enum ant_constraint_kind)(ANT_CONSTRAINT_CHOICE + i - ANT_TEXT_CHOICE);
        out->constraint = text;
        out->constraint_bytes = bytes;
    }
    return 0;
}

int ant_prompts_read(struct ant_prompts *p, int64_t row, struct ant_prompt *out,
                     struct ant_error *err)
{
    struct ant_prompt prompt = {.row = row};
    int rc;

    if (row < 0 || row >= p->n)
        return ant_fail(err, ANT_EBUG, "'%s': row %lld of %lld asked for", p->file, (long long)row,
                        (long long)p->n);
    if (p->source == SOURCE_STRINGS)
        rc = read_string(p, row, &prompt, err);
    else if (p->source == SOURCE_BYTES)
        rc = read_bytes(p, row, &prompt, err);
    else
        rc = read_tokens(p, row, &prompt, err);
    p->last_row = row;
    if (rc == 0)
        rc = read_error(p, row, err);
    if (rc == 0)
        rc = read_numbers(p, row, &prompt, err);
    if (rc == 0)
        rc = read_texts(p, row, &prompt, err);
    if (rc == 0)
        *out = prompt;
    return rc;
}

static void note_column(struct ant_buf *facts, const struct ant_h5_column *column, const char *name)
{
    if (ant_h5_column_is_open(column))
        ant_buf_printf(facts, "%s %d %zu %lld\n", name, (int)column->kind, column->size,
                       (long long)column->n);
}

/* Large prompts count by their digest: all of them at once may be more than the memory. */
static void fold(struct ant_buf *facts)
{
    char text[ANT_DIGEST_TEXT];

    if (facts->len < FOLDED_BYTES)
        return;
    ant_digest_text(text, ant_digest(facts->data, facts->len));
    ant_buf_release(facts);
    ant_buf_printf(facts, "%s\n", text);
}

/* Rows spread evenly, the first and the last among them. A bad row counts as its number. */
static int take_fingerprint(struct ant_prompts *p, struct ant_error *err)
{
    struct ant_buf facts = {0};
    int64_t rows = p->n < FINGERPRINT_ROWS ? p->n : FINGERPRINT_ROWS;
    int rc = 0;

    ant_buf_printf(&facts, "%lld %d %d\n", (long long)p->n, (int)p->source, p->chat);
    note_column(&facts, &p->values, "values");
    note_column(&facts, &p->id, "id");
    note_column(&facts, &p->rank, "rank");
    note_column(&facts, &p->error, "error");
    for (int i = 0; i < ANT_N_TEXTS; i++)
        note_column(&facts, &p->texts[i].column, ant_text_columns[i]);
    for (int i = 0; i < ANT_N_NUMBERS; i++)
        note_column(&facts, &p->numbers[i], ant_number_columns[i].name);
    for (int64_t i = 0; i < rows && rc == 0; i++) {
        struct ant_prompt prompt = {.row = rows > 1 ? i * ((p->n - 1) / (rows - 1)) : 0};
        if (i == rows - 1)
            prompt.row = p->n - 1;
        rc = ant_prompts_read(p, prompt.row, &prompt, err);
        if (rc == ANT_EDATA)
            rc = 0;
        ant_prompts_note(&facts, &prompt);
        fold(&facts);
    }
    if (rc == 0)
        p->fingerprint = ant_digest(facts.data, facts.len);
    ant_buf_release(&facts);
    p->last_row = INT64_MIN / 2;
    return rc;
}

int ant_prompts_open(struct ant_prompts **out, const char *spec, struct ant_error *err)
{
    struct ant_prompts *p = ant_xcalloc(1, sizeof(*p));
    int rc;

    p->h5 = p->object = H5I_INVALID_HID;
    p->last_row = INT64_MIN / 2;
    split_spec(p, spec);
    char *advice = ant_xasprintf("; make one with 'antiphon pack %s -o prompts.h5'", p->file);
    rc = ant_h5_open(&p->h5, p->file, false, advice, err);
    free(advice);
    if (rc < 0)
        goto fail;

    p->object = H5Oopen(p->h5, p->path, H5P_DEFAULT);
    if (p->object < 0) {
        rc = fail_no_object(p, err);
        goto fail;
    }
    if (H5Iget_type(p->object) == H5I_GROUP)
        rc = open_group(p, err);
    else if (H5Iget_type(p->object) == H5I_DATASET)
        rc = open_dataset(p, err);
    else
        rc = ant_fail(err, ANT_EDATA, "'%s': '%s' is neither dataset nor group", p->file, p->path);
    if (rc == 0)
        rc = ant_h5_check_sources(&p->values, p->file, err);
    if (rc == 0 && ant_h5_column_is_open(&p->offsets))
        rc = ant_h5_check_sources(&p->offsets, p->file, err);
    if (rc == 0)
        rc = read_attributes(p, err);
    if (rc == 0)
        rc = take_fingerprint(p, err);
    if (rc < 0)
        goto fail;
    *out = p;
    return 0;

fail:
    ant_prompts_close(p);
    return rc;
}

void ant_prompts_close(struct ant_prompts *p)
{
    if (!p)
        return;
    ant_h5_column_close(&p->values);
    ant_h5_column_close(&p->offsets);
    for (int i = 0; i < ANT_N_NUMBERS; i++)
        ant_h5_column_close(&p->numbers[i]);
    ant_h5_column_close(&p->id);
    ant_h5_column_close(&p->rank);
    ant_h5_column_close(&p->error);
    for (int i = 0; i < ANT_N_TEXTS; i++)
        ant_prompts_text_close(&p->texts[i]);
    ant_buf_release(&p->why);
    ant_h5_close(p->object);
    ant_h5_close(p->h5);
    ant_buf_release(&p->ignored);
    ant_buf_release(&p->window);
    ant_buf_release(&p->held.data);
    ant_ids_release(&p->ids);
    free(p->file);
    free(p->path);
    free(p);
}

int64_t ant_prompts_count(const struct ant_prompts *prompts)
{
    return prompts->n;
}

bool ant_prompts_are_chat(const struct ant_prompts *prompts)
{
    return prompts->chat;
}

bool ant_prompts_are_tokens(const struct ant_prompts *prompts)
{
    return prompts->source == SOURCE_TOKENS;
}

time_t ant_prompts_written(const struct ant_prompts *prompts)
{
    struct stat facts;

    return stat(prompts->file, &facts) == 0 ? facts.st_mtime : 0;
}

const char *ant_prompts_ignored(const struct ant_prompts *prompts)
{
    return prompts->ignored.len ? prompts->ignored.data : "";
}

struct ant_digest ant_prompts_fingerprint(const struct ant_prompts *prompts)
{
    return prompts->fingerprint;
}

bool ant_prompts_have_constraints(const struct ant_prompts *prompts)
{
    bool has = false;

    for (int i = ANT_TEXT_CHOICE; i < ANT_N_TEXTS; i++)
        has |= ant_h5_column_is_open(&prompts->texts[i].column);
    return has;
}

bool ant_prompts_have_continuations(const struct ant_prompts *prompts)
{
    return ant_h5_column_is_open(&prompts->texts[ANT_TEXT_CONTINUATION].column);
}

int ant_prompts_most(struct ant_prompts *p, enum ant_prompt_has flag, int64_t limit, int64_t *most,
                     struct ant_error *err)
{
    struct ant_h5_column *column = &p->numbers[ant_number_of(flag)];

    *most = -1;
    for (int64_t i = 0; i < p->n && ant_h5_column_is_open(column); i++) {
        int64_t value = 0;
        bool given = false;
        int rc = ant_h5_int(column, i, &value, &given, err);
        if (rc < 0 && rc != ANT_EDATA) /* that would be the row's own fault */
            return rc;
        if (rc == 0 && given && value > *most && value <= limit)
            *most = value;
    }
    return 0;
}

int ant_prompts_ranks(struct ant_prompts *p, int64_t first, int64_t n, int32_t *out,
                      struct ant_error *err)
{
    if (!ant_h5_column_is_open(&p->rank))
        return ant_fail(err, ANT_ENOENT, "'%s': '%s' has no column 'rank'", p->file, p->path);
    if (first < 0 || n < 0 || first > p->n || n > p->n - first)
        return ant_fail(err, ANT_EBUG, "%s: rows %lld to %lld asked for", p->rank.label,
                        (long long)first, (long long)(first + n));
    for (int64_t i = 0; i < n; i++) {
        int64_t value = 0;
        bool given;
        ANT_TRY(ant_h5_int(&p->rank, first + i, &value, &given, err));
        if (!given || value < 0 || value > INT32_MAX)
            return ant_fail(err, ANT_EDATA, "%s, row %lld is no rank", p->rank.label,
                            (long long)(first + i));
        out[i] = (int32_t)value;
    }
    return 0;
}

bool ant_prompts_have_priority(const struct ant_prompts *prompts)
{
    return ant_h5_column_is_open(&prompts->numbers[ant_number_of(ANT_HAS_PRIORITY)]);
}

int ant_prompts_priorities(struct ant_prompts *p, int64_t first, int64_t n, double *out,
                           struct ant_error *err)
{
    struct ant_h5_column *column = &p->numbers[ant_number_of(ANT_HAS_PRIORITY)];

    for (int64_t i = 0; i < n; i++) {
        bool given;
        ANT_TRY(ant_h5_real(column, first + i, &out[i], &given, err));
        if (!given)
            out[i] = 0;
    }
    return 0;
}

/* Without offsets only reading the texts tells their lengths. */
static int measure_strings(struct ant_prompts *p, int64_t first, int64_t n, int64_t *sizes,
                           struct ant_error *err)
{
    int64_t ends[ID_PIECE + 1];
    bool is_fixed = p->values.kind == ANT_H5_FIXED;
    int64_t most = ant_h5_strings_at_once(&p->values, is_fixed ? ID_PIECE : WINDOW_ROWS);
    struct ant_buf texts = {0};
    int rc = 0;

    for (int64_t done = 0, count; done < n && rc == 0; done += count) {
        count = n - done < most ? n - done : most;
        rc = ant_h5_read_strings(&p->values, first + done, 1, count, &texts, ends, err);
        for (int64_t i = 0; i < count && rc == 0; i++)
            sizes[done + i] = ends[i + 1] - ends[i];
    }
    ant_buf_release(&texts);
    return rc;
}

static int measure(struct ant_prompts *p, int64_t first, int64_t n, int64_t *sizes,
                   struct ant_error *err)
{
    if (p->source == SOURCE_STRINGS)
        return measure_strings(p, first, n, sizes, err);
    for (int64_t i = 0; i < n; i++) {
        int64_t start = 0;
        int rc = row_range(p, first + i, &start, &sizes[i], err);
        if (rc == ANT_EDATA)
            sizes[i] = 0;
        else if (rc < 0)
            return rc;
    }
    return 0;
}

int ant_prompts_sizes(struct ant_prompts *p, int64_t first, int64_t n, int64_t *sizes,
                      int64_t *max_tokens, struct ant_error *err)
{
    struct ant_h5_column *column = &p->numbers[ant_number_of(ANT_HAS_MAX_TOKENS)];

    ANT_TRY(measure(p, first, n, sizes, err));
    for (int64_t i = 0; i < n; i++) {
        bool given = false;
        int rc = ant_h5_column_is_open(column)
                     ? ant_h5_int(column, first + i, &max_tokens[i], &given, err)
                     : 0;
        if (rc < 0 && rc != ANT_EDATA)
            return rc;
        if (rc < 0 || !given)
            max_tokens[i] = -1;
    }
    return 0;
}

enum ant_id_kind ant_prompts_id_kind(const struct ant_prompts *prompts)
{
    if (!ant_h5_column_is_open(&prompts->id))
        return ANT_ID_NONE;
    if (prompts->id.kind != ANT_H5_INTEGER)
        return ANT_ID_STRING;
    return prompts->id.cell_type == H5T_NATIVE_UINT64 ? ANT_ID_UNSIGNED : ANT_ID_INTEGER;
}

static int read_string_ids(struct ant_prompts *p, int64_t first, int64_t n, char **bytes,
                           int64_t **offsets, struct ant_error *err)
{
    struct ant_buf all = {0}, piece = {0};
    int64_t *ends = ant_xcalloc((size_t)n + 1, sizeof(*ends));
    int64_t most = ant_h5_strings_at_once(&p->id, ID_PIECE);
    int rc = 0;

    for (int64_t done = 0; done < n && rc == 0;) {
        int64_t count = n - done < most ? n - done : most;
        int64_t base = (int64_t)all.len;
        rc = ant_h5_read_strings(&p->id, first + done, 1, count, &piece, ends + done, err);
        for (int64_t i = done; i <= done + count; i++)
            ends[i] += base;
        ant_buf_add(&all, piece.data, piece.len);
        done += count;
    }
    ant_buf_release(&piece);
    if (rc < 0) {
        ant_buf_release(&all);
        free(ends);
        return rc;
    }
    *bytes = all.data ? all.data : ant_xcalloc(1, 1);
    *offsets = ends;
    return 0;
}

int ant_prompts_ids(struct ant_prompts *p, int64_t first, int64_t n, int64_t *integers,
                    char **bytes, int64_t **offsets, struct ant_error *err)
{
    enum ant_id_kind kind = ant_prompts_id_kind(p);

    if (kind == ANT_ID_NONE)
        return ant_fail(err, ANT_ENOENT, "'%s': '%s' has no column 'id'", p->file, p->path);
    if (first < 0 || n < 0 || first > p->n || n > p->n - first)
        return ant_fail(err, ANT_EBUG, "%s: rows %lld to %lld asked for", p->id.label,
                        (long long)first, (long long)(first + n));
    if (kind == ANT_ID_STRING)
        return read_string_ids(p, first, n, bytes, offsets, err);
    for (int64_t i = 0; i < n; i++) {
        uint64_t value = 0;
        bool given;
        ANT_TRY(ant_h5_bits(&p->id, first + i, &value, &given, err));
        integers[i] = (int64_t)value;
    }
    return 0;
}
