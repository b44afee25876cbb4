/* SPDX-License-Identifier: Apache-2.0 */
/* Prompts as CSV by RFC 4180: cells between commas, quoted where they hold commas, quotes or line
 * ends. The first record names the columns. */
#include "config.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "store/exchange_source.h"

enum { MOST_COLUMNS = 4096, LISTED = 10 };

/* What a column is for. */
enum use {
    USE_NOT,
    USE_PROMPT,
    USE_TEXT,
    USE_SHAPE,
    USE_RULE,
    USE_ID,
    USE_INTEGER,
    USE_REAL,
    USE_REFUSE
};
struct column {
    char *name; /* owned */
    enum use use;
    unsigned flag;
};

struct ant_exchange_csv {
    struct column *columns; /* owned */
    int n_columns;
    struct ant_buf cells; /* of one record, one after the other */
    size_t *ends;         /* owned: where each ends in `cells` */
    int n_cells, cap;
    int ahead; /* a byte read too many, -1 at the end; see peek */
    bool has_ahead;
};

static int peek(struct ant_exchange_reader *reader)
{
    struct ant_exchange_csv *csv = reader->csv;

    if (!csv->has_ahead)
        csv->ahead = ant_exchange_byte(reader);
    csv->has_ahead = true;
    return csv->ahead;
}

static int take(struct ant_exchange_reader *reader)
{
    int byte = peek(reader);

    reader->csv->has_ahead = false;
    return byte;
}

/* The end of a record at "\n", "\r\n" or the end of the file, if it is here. */
static bool take_end(struct ant_exchange_reader *reader)
{
    if (peek(reader) == '\r') {
        take(reader);
        if (peek(reader) != '\n') {
            reader->line++;
            return true; /* a lone CR, as old Macs wrote it */
        }
    }
    if (peek(reader) == '\n') {
        take(reader);
        reader->line++;
        return true;
    }
    return peek(reader) < 0;
}

static int read_quoted(struct ant_exchange_reader *reader, struct ant_error *err)
{
    struct ant_buf *cells = &reader->csv->cells;

    take(reader);
    for (;;) {
        int byte = take(reader);
        if (byte < 0)
            return ant_exchange_fail(reader, err, ANT_EDATA, "a quote is not closed");
        if (byte == '\n')
            reader->line++;
        if (byte == '"' && peek(reader) != '"')
            break;
        if (byte == '"')
            take(reader);
        char c = (char)byte;
        ant_buf_add(cells, &c, 1);
        ANT_TRY(ant_exchange_limit(reader, cells->len, err));
    }
    int byte = peek(reader);
    if (byte >= 0 && byte != ',' && byte != '\r' && byte != '\n')
        return ant_exchange_fail(reader, err, ANT_EDATA,
                                 "'%c' after a closing quote, expected a comma", byte);
    return 0;
}

static int read_plain(struct ant_exchange_reader *reader, struct ant_error *err)
{
    struct ant_buf *cells = &reader->csv->cells;

    for (int byte = peek(reader); byte >= 0 && byte != ',' && byte != '\r' && byte != '\n';
         byte = peek(reader)) {
        char c = (char)take(reader);
        ant_buf_add(cells, &c, 1);
        ANT_TRY(ant_exchange_limit(reader, cells->len, err));
    }
    return 0;
}

static void end_cell(struct ant_exchange_csv *csv)
{
    if (csv->n_cells == csv->cap) {
        csv->cap = csv->cap ? 2 * csv->cap : 16;
        csv->ends = ant_xrealloc(csv->ends, (size_t)csv->cap, sizeof(*csv->ends));
    }
    csv->ends[csv->n_cells++] = csv->cells.len;
    ant_buf_add(&csv->cells, "", 1); /* numbers are parsed in place */
}

/* 1: a record. 0: the end. */
static int read_record(struct ant_exchange_reader *reader, struct ant_error *err)
{
    struct ant_exchange_csv *csv = reader->csv;

    csv->n_cells = 0;
    csv->cells.len = 0;
    do
        reader->row_line = reader->line + 1;
    while (peek(reader) >= 0 && take_end(reader)); /* empty lines */
    if (peek(reader) < 0) {
        ANT_TRY(ant_exchange_check(reader, err));
        return 0;
    }
    for (;;) {
        ANT_TRY(peek(reader) == '"' ? read_quoted(reader, err) : read_plain(reader, err));
        end_cell(csv);
        if (csv->n_cells > MOST_COLUMNS)
            return ant_exchange_fail(reader, err, ANT_EDATA, "more than %d columns", MOST_COLUMNS);
        if (take_end(reader))
            break;
        take(reader); /* the comma */
    }
    ANT_TRY(ant_exchange_check(reader, err));
    return 1;
}

static const char *cell(const struct ant_exchange_csv *csv, int i, size_t *bytes)
{
    size_t begin = i ? csv->ends[i - 1] + 1 : 0;

    *bytes = csv->ends[i] - begin;
    return csv->cells.data + begin;
}

/* ---- header ---------------------------------------------------------------------------------- */

static int find_column(const struct ant_exchange_csv *csv, const char *name)
{
    for (int i = 0; i < csv->n_columns; i++)
        if (strcmp(csv->columns[i].name, name) == 0)
            return i;
    return -1;
}

static int choose_prompt(struct ant_exchange_reader *reader, struct ant_error *err)
{
    const struct ant_exchange_csv *csv = reader->csv;
    const char *wanted = reader->settings->column;
    struct ant_buf list = {0};
    int found = -1;

    if (wanted) {
        found = find_column(csv, wanted);
    } else {
        found = find_column(csv, "prompt");
        if (found < 0)
            found = find_column(csv, "text");
        if (found < 0 && csv->n_columns == 1)
            found = 0;
        if (csv->n_columns == 1 && strpbrk(csv->columns[0].name, ";\t"))
            return ant_exchange_fail(reader, err, ANT_EDATA,
                                     "the header '%.60s' has no comma: cells must be separated by "
                                     "commas (--column takes it as it is)",
                                     csv->columns[0].name);
    }
    if (found >= 0) {
        csv->columns[found].use = USE_PROMPT;
        return 0;
    }
    for (int i = 0; i < csv->n_columns && i < LISTED; i++)
        ant_buf_printf(&list, "%s'%.40s'", i ? ", " : "", csv->columns[i].name);
    const char *more = csv->n_columns > LISTED ? " ..." : "";
    int rc = wanted ? ant_exchange_fail(reader, err, ANT_EDATA, "no column '%.60s'; there are %s%s",
                                        wanted, list.data, more)
                    : ant_exchange_fail(reader, err, ANT_EDATA,
                                        "which column holds the prompts? --column NAME; there are "
                                        "%s%s",
                                        list.data, more);
    ant_buf_release(&list);
    return rc;
}

/* The kind of constraint that a column has by its name: not 0. */
static unsigned find_shape(const struct ant_exchange_reader *reader, const char *name)
{
    unsigned flag, i = ANT_N_CONSTRAINTS - 1;

    while (i > 0 && strcmp(name, ant_constraint_names[i]) != 0)
        i--;
    return ant_exchange_meaning(reader, name, &flag) == ANT_MEANS_IGNORED ? 0 : i;
}

static void choose_others(struct ant_exchange_reader *reader)
{
    struct ant_exchange_csv *csv = reader->csv;

    for (int i = 0; i < csv->n_columns; i++) {
        struct column *column = &csv->columns[i];
        if (column->use == USE_PROMPT)
            continue;
        if ((column->flag = find_shape(reader, column->name))) {
            column->use = USE_SHAPE;
            continue;
        }
        if (strcmp(column->name, "id") == 0 || strcmp(column->name, "custom_id") == 0) {
            column->use = USE_ID;
            continue;
        }
        switch (ant_exchange_meaning(reader, column->name, &column->flag)) {
        case ANT_MEANS_INTEGER:
            column->use = USE_INTEGER;
            break;
        case ANT_MEANS_REAL:
            column->use = USE_REAL;
            break;
        case ANT_MEANS_TEXT:
            column->use = USE_TEXT;
            break;
        case ANT_MEANS_RULE:
            column->use = USE_RULE;
            break;
        case ANT_MEANS_UNSUPPORTED:
            column->use = USE_REFUSE;
            break;
        case ANT_MEANS_NOTHING:
            ant_exchange_note_unused(reader, column->name);
            break;
        case ANT_MEANS_NO_MATTER:
        case ANT_MEANS_IGNORED:
            break;
        }
    }
}

/* 1: there is a header. 0: the file is empty. */
static int read_header(struct ant_exchange_reader *reader, struct ant_error *err)
{
    struct ant_exchange_csv *csv = ant_xcalloc(1, sizeof(*csv));

    reader->csv = csv;
    int rc = read_record(reader, err);
    if (rc <= 0)
        return rc;
    csv->columns = ant_xcalloc((size_t)csv->n_cells, sizeof(*csv->columns));
    csv->n_columns = csv->n_cells;
    for (int i = 0; i < csv->n_cells; i++) {
        size_t bytes;
        const char *name = cell(csv, i, &bytes);
        csv->columns[i].name = ant_xstrndup(name, bytes);
    }
    for (int i = 0; i < csv->n_columns; i++)
        if (find_column(csv, csv->columns[i].name) != i)
            return ant_exchange_fail(reader, err, ANT_EDATA, "two columns are named '%.60s'",
                                     csv->columns[i].name);
    ANT_TRY(choose_prompt(reader, err));
    choose_others(reader);
    return 1;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static int take_number(struct ant_exchange_reader *reader, const struct column *column,
                       const char *text, size_t bytes, struct ant_prompt *prompt,
                       struct ant_error *err)
{
    char *end = NULL, *real_end = NULL;

    /* A spreadsheet or pandas writes 3 as 3.0 where other rows of the column have no value. */
    double real = strtod(text, &real_end);
    errno = 0;
    if (column->use == USE_INTEGER && column->flag == ANT_HAS_SEED && text[0] != '-')
        ant_exchange_set_integer(prompt, column->flag, (int64_t)strtoull(text, &end, 10));
    else if (column->use == USE_INTEGER)
        ant_exchange_set_integer(prompt, column->flag, strtoll(text, &end, 10));
    else
        ant_exchange_set_real(prompt, column->flag, strtod(text, &end));
    if (column->use == USE_INTEGER && *end == '.' && real == floor(real) && fabs(real) < 0x1p53) {
        ant_exchange_set_integer(prompt, column->flag, (int64_t)real);
        end = real_end;
    }
    if (errno || end != text + bytes)
        return ant_exchange_fail(reader, err, ANT_EDATA, "'%.60s' is '%.60s', expected %s",
                                 column->name, text,
                                 column->use == USE_INTEGER ? "an integer" : "a number");
    return 0;
}

static int take_cell(struct ant_exchange_reader *reader, int i, struct ant_exchange_row *out,
                     struct ant_error *err)
{
    const struct column *column = &reader->csv->columns[i];
    size_t bytes;
    const char *text = cell(reader->csv, i, &bytes);

    switch (column->use) {
    case USE_PROMPT:
        out->prompt.text = text;
        out->prompt.text_bytes = bytes;
        return 0;
    case USE_TEXT:
        if (bytes > 0)
            ant_exchange_set_text(reader, &out->prompt, column->name, text, bytes);
        return 0;
    case USE_SHAPE:
        if (bytes > 0 && out->prompt.constraint_kind != ANT_CONSTRAINT_NONE)
            return ant_exchange_fail(reader, err, ANT_EDATA,
                                     "only one of choice, regex and json_schema can be met");
        if (bytes > 0) {
            out->prompt.constraint_kind = (enum ant_constraint_kind)column->flag;
            out->prompt.constraint = text;
            out->prompt.constraint_bytes = bytes;
        }
        return 0;
    case USE_RULE:
        if (bytes > 0)
            ant_exchange_set_rule(reader, &out->prompt, column->flag, text, bytes);
        return 0;
    case USE_ID:
        out->id_kind = ANT_ID_STRING;
        out->id_text = text;
        out->id_bytes = bytes;
        return 0;
    case USE_INTEGER:
    case USE_REAL:
        return bytes ? take_number(reader, column, text, bytes, &out->prompt, err) : 0;
    case USE_REFUSE:
        if (bytes == 0)
            return 0;
        return ant_exchange_fail(reader, err, ANT_EUNSUPP,
                                 "'%s' cannot be set for one prompt; leave it out, or pass over it "
                                 "with --ignore %s",
                                 column->name, column->name);
    case USE_NOT:
        return 0;
    }
    return 0;
}

int ant_exchange_next_csv(struct ant_exchange_reader *reader, struct ant_exchange_row *out,
                          struct ant_error *err)
{
    struct ant_exchange_row row = {0};
    int rc;

    if (!reader->csv) {
        rc = read_header(reader, err);
        if (rc <= 0)
            return rc;
    }
    rc = read_record(reader, err);
    if (rc <= 0)
        return rc;
    if (reader->csv->n_cells != reader->csv->n_columns)
        return ant_exchange_fail(reader, err, ANT_EDATA, "%d cells where the header has %d",
                                 reader->csv->n_cells, reader->csv->n_columns);
    for (int i = 0; i < reader->csv->n_columns; i++)
        ANT_TRY(take_cell(reader, i, &row, err));
    *out = row;
    return 1;
}

void ant_exchange_close_csv(struct ant_exchange_csv *csv)
{
    if (!csv)
        return;
    for (int i = 0; i < csv->n_columns; i++)
        free(csv->columns[i].name);
    free(csv->columns);
    free(csv->ends);
    ant_buf_release(&csv->cells);
    free(csv);
}
