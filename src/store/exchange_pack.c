/* SPDX-License-Identifier: Apache-2.0 */
/* Writing a prompt file whose length is not known before its end: every column is a chunked dataset
 * that grows by whole pieces. A column that first appears in row k has its rows before k filled by
 * HDF5 with the value that means "not given". */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "store/exchange.h"
#include "store/prompts_number.h"
#include "store/prompts_text.h"

enum {
    PIECE = 1 << 20, /* bytes of text kept, and in a chunk */
    CELLS = 1 << 13, /* the same of other columns */
    LONGEST_ID = 1 << 16,
};

static const int64_t not_given = INT64_MIN;
static const char text_offsets[] = "text_offsets";

/* A dataset that grows. */
struct growing {
    hid_t dataset, type; /* type: in memory, owned */
    size_t width;
    int64_t n; /* elements in the file */
    struct ant_buf pending;
};

struct ant_pack {
    char *path, *part; /* owned */
    hid_t file, group;
    struct growing text; /* bytes, or ids of tokens; opened by the first row that has any */
    struct growing offsets, numbers[ANT_N_NUMBERS];
    struct growing ids, names, errors; /* integers, or strings; why rows are no prompts */
    struct growing texts[ANT_N_TEXTS]; /* empty where a row has none */
    int64_t rows, length;              /* of all prompts: bytes or tokens */
    bool is_chat, is_tokens, has_prompts, is_finished;
    enum ant_id_kind id_kind;
    struct ant_buf columns;
};

/* ---- growing datasets ------------------------------------------------------------------------ */

static bool is_open(const struct growing *g)
{
    return g->dataset > 0;
}

static void set_fill(hid_t creation, hid_t type)
{
    const double nan = strtod("nan", NULL);

    if (H5Tget_class(type) == H5T_INTEGER && H5Tget_size(type) == sizeof(int64_t))
        H5Pset_fill_value(creation, type, &not_given);
    else if (H5Tget_class(type) == H5T_FLOAT)
        H5Pset_fill_value(creation, type, &nan);
}

/* `type` is taken over. Rows before the first exist, unwritten. */
static int open_growing(struct growing *g, hid_t group, const char *name, hid_t type, hsize_t chunk,
                        int64_t first, struct ant_error *err)
{
    hsize_t n = (hsize_t)first, most = H5S_UNLIMITED;
    hid_t space = H5Screate_simple(1, &n, &most);
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE);

    g->type = type;
    g->width = H5Tget_size(type);
    g->n = first;
    H5Pset_chunk(creation, 1, &chunk);
    H5Pset_obj_track_times(creation, 0);
    set_fill(creation, type);
    g->dataset = H5Dcreate2(group, name, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    H5Pclose(creation);
    H5Sclose(space);
    if (g->dataset < 0) {
        g->dataset = 0;
        return ant_h5_fail(err, ANT_EIO, "cannot create dataset '%s'", name);
    }
    return 0;
}

/* Elements [g->n, g->n + n) from `data`. */
static int append(struct growing *g, const void *data, size_t n, struct ant_error *err)
{
    hsize_t start = (hsize_t)g->n, count = n, end = start + count;

    if (n == 0)
        return 0;
    errno = 0;
    herr_t rc = H5Dset_extent(g->dataset, &end);
    hid_t file_space = H5Dget_space(g->dataset), memory_space = H5Screate_simple(1, &count, NULL);
    if (rc >= 0)
        rc = H5Sselect_hyperslab(file_space, H5S_SELECT_SET, &start, NULL, &count, NULL);
    if (rc >= 0)
        rc = H5Dwrite(g->dataset, g->type, memory_space, file_space, H5P_DEFAULT, data);
    ant_h5_close(memory_space);
    ant_h5_close(file_space);
    if (rc < 0)
        return ant_h5_fail(err, ANT_EIO, "cannot write");
    g->n += (int64_t)n;
    return 0;
}

static int flush(struct growing *g, struct ant_error *err)
{
    if (!is_open(g))
        return 0;
    ANT_TRY(append(g, g->pending.data, g->pending.len / g->width, err));
    g->pending.len = 0;
    return 0;
}

static int add(struct growing *g, const void *data, size_t bytes, size_t most,
               struct ant_error *err)
{
    ant_buf_add(&g->pending, data, bytes);
    return g->pending.len >= most ? flush(g, err) : 0;
}

static void close_growing(struct growing *g)
{
    if (!is_open(g))
        return;
    ant_h5_close(g->dataset);
    ant_h5_close(g->type);
    ant_buf_release(&g->pending);
    g->dataset = 0;
}

/* ---- strings --------------------------------------------------------------------------------- */

/* Pending are pointers to strings of our own. */
static int flush_strings(struct growing *g, struct ant_error *err)
{
    size_t n = g->pending.len / sizeof(char *);

    if (!is_open(g))
        return 0;
    int rc = append(g, g->pending.data, n, err);
    for (size_t i = 0; i < n; i++) {
        char *name;
        memcpy(&name, g->pending.data + i * sizeof(name), sizeof(name));
        free(name);
    }
    g->pending.len = 0;
    return rc;
}

static int add_string(struct ant_pack *pack, struct growing *g, const char *column,
                      const char *text, size_t bytes, struct ant_error *err)
{
    if (!is_open(g)) {
        hid_t type = H5Tcopy(H5T_C_S1);
        H5Tset_size(type, H5T_VARIABLE);
        H5Tset_cset(type, H5T_CSET_UTF8);
        ANT_TRY(open_growing(g, pack->group, column, type, CELLS, pack->rows, err));
    }
    char *copy = ant_xstrndup(text ? text : "", bytes);
    ant_buf_add(&g->pending, &copy, sizeof(copy));
    return g->pending.len >= CELLS * sizeof(copy) ? flush_strings(g, err) : 0;
}

static int check_name(const struct ant_exchange_row *row, struct ant_error *err)
{
    if (row->id_bytes > LONGEST_ID)
        return ant_fail(err, ANT_EDATA, "an id of %zu bytes, at most %d are possible",
                        row->id_bytes, LONGEST_ID);
    if (row->id_bytes && memchr(row->id_text, '\0', row->id_bytes))
        return ant_fail(err, ANT_EDATA, "an id with a zero byte in it");
    return 0;
}

static const char *kind_name(enum ant_id_kind kind)
{
    return kind == ANT_ID_NONE ? "none" : kind == ANT_ID_STRING ? "a string" : "an integer";
}

/* Ids of one kind. Where they are strings a row may have none. */
static int check_id(struct ant_pack *pack, const struct ant_exchange_row *row,
                    struct ant_error *err)
{
    enum ant_id_kind was = pack->id_kind, is = row->id_kind;

    if (pack->rows == 0 || was == is)
        pack->id_kind = is;
    else if (was == ANT_ID_NONE && is == ANT_ID_STRING)
        pack->id_kind = is;
    else if (was != ANT_ID_STRING || is != ANT_ID_NONE)
        return ant_fail(err, ANT_EDATA, "the id is %s, where it was %s before", kind_name(is),
                        kind_name(was));
    return 0;
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* A number of 8 bytes; `value` NULL: the row has none. */
static int add_number(struct ant_pack *pack, struct growing *g, const char *name, bool is_real,
                      const void *value, struct ant_error *err)
{
    const double nan = strtod("nan", NULL);
    const void *none = is_real ? (const void *)&nan : &not_given;
    hid_t type = is_real ? H5T_IEEE_F64LE : H5T_STD_I64LE;

    if (!value && !is_open(g))
        return 0;
    if (!is_open(g))
        ANT_TRY(open_growing(g, pack->group, name, H5Tcopy(type), CELLS, pack->rows, err));
    return add(g, value ? value : none, sizeof(not_given), CELLS * sizeof(not_given), err);
}

/* The value of a column in a row, NULL where it is not given. */
static const void *value_of(const struct ant_prompt *prompt, int i)
{
    return prompt->has & 1u << i ? (const char *)prompt + ant_number_columns[i].offset : NULL;
}

static int add_numbers(struct ant_pack *pack, const struct ant_prompt *prompt,
                       struct ant_error *err)
{
    for (int i = 0; i < ANT_N_NUMBERS; i++) {
        const struct ant_number_column *column = &ant_number_columns[i];
        struct growing *g = &pack->numbers[i];
        bool is_real = column->kind == ANT_NUMBER_REAL, was_open = is_open(g);
        ANT_TRY(add_number(pack, g, column->name, is_real, value_of(prompt, i), err));
        if (is_open(g) && !was_open && !is_real)
            ANT_TRY(ant_h5_put_int(g->dataset, "_FillValue", not_given, err));
    }
    return 0;
}

/* One value says that there is none. */
static int check_integers(const struct ant_prompt *prompt, struct ant_error *err)
{
    for (int i = 0; i < ANT_N_NUMBERS; i++) {
        const struct ant_number_column *column = &ant_number_columns[i];
        const void *value = value_of(prompt, i);
        if (column->kind != ANT_NUMBER_REAL && value && memcmp(value, &not_given, 8) == 0)
            return ant_fail(err, ANT_EDATA, "'%s' cannot be %lld", column->name,
                            (long long)not_given);
    }
    return 0;
}

/* The columns of strings; NULL where the row says nothing. */
static void list_texts(struct ant_prompt_text out[ANT_N_TEXTS], const struct ant_prompt *prompt)
{
    memset(out, 0, ANT_N_TEXTS * sizeof(*out));
    out[ANT_TEXT_CONTINUATION] =
        (struct ant_prompt_text){prompt->continuation, prompt->continuation_bytes};
    out[ANT_TEXT_STOP] = (struct ant_prompt_text){prompt->stop, prompt->stop_bytes};
    out[ANT_TEXT_SYSTEM] = (struct ant_prompt_text){prompt->system, prompt->system_bytes};
    memcpy(out + ANT_TEXT_RULES, prompt->rules, sizeof(prompt->rules));
    if (prompt->constraint_kind != ANT_CONSTRAINT_NONE)
        out[ANT_TEXT_CHOICE + (int)prompt->constraint_kind - ANT_CONSTRAINT_CHOICE] =
            (struct ant_prompt_text){prompt->constraint, prompt->constraint_bytes};
}

/* HDF5's strings end at a zero byte: the rest would be lost. */
static int check_texts(const struct ant_prompt *prompt, struct ant_error *err)
{
    struct ant_prompt_text texts[ANT_N_TEXTS];

    list_texts(texts, prompt);
    for (int i = 0; i < ANT_N_TEXTS; i++)
        if (texts[i].bytes > 0 && memchr(texts[i].text, '\0', texts[i].bytes))
            return ant_fail(err, ANT_EDATA, "'%s' has a zero byte in it", ant_text_columns[i]);
    return 0;
}

/* What the row says can stand beside what the rows before say. */
static int check_row(struct ant_pack *pack, const struct ant_exchange_row *row,
                     struct ant_error *err)
{
    bool is_tokens = row->prompt.tokens != NULL;

    if (!pack->has_prompts) {
        pack->is_chat = row->is_chat;
        pack->is_tokens = is_tokens;
    }
    if (!row->error && (pack->is_chat != row->is_chat || pack->is_tokens != is_tokens))
        return ant_fail(err, ANT_EDATA, "%s, where there were %s before; a file holds one kind",
                        row->is_chat ? "messages"
                        : is_tokens  ? "token ids"
                                     : "a text",
                        pack->is_chat     ? "messages"
                        : pack->is_tokens ? "token ids"
                                          : "texts");
    ANT_TRY(check_name(row, err));
    ANT_TRY(check_integers(&row->prompt, err));
    ANT_TRY(check_texts(&row->prompt, err));
    return check_id(pack, row, err);
}

static int add_texts(struct ant_pack *pack, const struct ant_prompt *prompt, struct ant_error *err)
{
    struct ant_prompt_text from[ANT_N_TEXTS];

    list_texts(from, prompt);
    for (int i = 0; i < ANT_N_TEXTS; i++)
        if (from[i].text || is_open(&pack->texts[i]))
            ANT_TRY(add_string(pack, &pack->texts[i], ant_text_columns[i], from[i].text,
                               from[i].bytes, err));
    return 0;
}

static int open_text(struct ant_pack *pack, struct ant_error *err)
{
    hid_t type = H5Tcopy(pack->is_tokens ? H5T_STD_I32LE : H5T_STD_U8LE);

    return open_growing(&pack->text, pack->group, pack->is_tokens ? "tokens" : "text", type, PIECE,
                        0, err);
}

static int add_prompt(struct ant_pack *pack, const struct ant_prompt *prompt, struct ant_error *err)
{
    const void *data = prompt->tokens ? (const void *)prompt->tokens : prompt->text;
    size_t n = prompt->tokens ? prompt->n_tokens : prompt->text_bytes;

    if (n == 0)
        return 0;
    if (!is_open(&pack->text))
        ANT_TRY(open_text(pack, err));
    pack->length += (int64_t)n;
    return add(&pack->text, data, n * pack->text.width, PIECE, err);
}

/* Where the next prompt begins. Tokens get the name of theirs in the end. */
static int add_offset(struct ant_pack *pack, struct ant_error *err)
{
    return add_number(pack, &pack->offsets, text_offsets, false, &pack->length, err);
}

int ant_pack_add(struct ant_pack *pack, const struct ant_exchange_row *row, struct ant_error *err)
{
    ANT_TRY(check_row(pack, row, err));
    if (pack->id_kind == ANT_ID_STRING)
        ANT_TRY(add_string(pack, &pack->names, "id", row->id_text, row->id_bytes, err));
    else
        ANT_TRY(add_number(pack, &pack->ids, "id", false,
                           row->id_kind == ANT_ID_INTEGER ? &row->id : NULL, err));
    ANT_TRY(add_numbers(pack, &row->prompt, err));
    if (row->error || is_open(&pack->errors))
        ANT_TRY(add_string(pack, &pack->errors, "error", row->error,
                           row->error ? strlen(row->error) : 0, err));
    ANT_TRY(add_texts(pack, &row->prompt, err));
    ANT_TRY(add_prompt(pack, &row->prompt, err));
    pack->has_prompts |= !row->error;
    pack->rows++;
    return add_offset(pack, err);
}

/* ---- the file -------------------------------------------------------------------------------- */

int ant_pack_open(struct ant_pack **out, const char *path, struct ant_error *err)
{
    struct ant_pack *pack = ant_xcalloc(1, sizeof(*pack));
    int rc = 0;

    ant_h5_start();
    pack->path = ant_xstrdup(path);
    pack->part = ant_xasprintf("%s.part", path);
    pack->group = H5I_INVALID_HID;
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    ant_h5_no_locks(access);
    H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
    H5Pset_libver_bounds(access, H5F_LIBVER_EARLIEST, H5F_LIBVER_V110);
    pack->file = H5Fcreate(pack->part, H5F_ACC_TRUNC, H5P_DEFAULT, access);
    H5Pclose(access);
    if (pack->file < 0) {
        rc = ant_h5_fail(err, ANT_EIO, "cannot create '%s'", pack->part);
    } else {
        pack->group = H5Gcreate2(pack->file, "prompts", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        rc = add_offset(pack, err);
    }
    if (rc < 0) {
        ant_pack_close(pack);
        return rc;
    }
    *out = pack;
    return 0;
}

static int complete(struct ant_pack *pack, struct ant_error *err)
{
    if (!is_open(&pack->text))
        ANT_TRY(open_text(pack, err));
    ANT_TRY(flush(&pack->text, err));
    if (pack->is_tokens && H5Lmove(pack->group, text_offsets, pack->group, "tokens_offsets",
                                   H5P_DEFAULT, H5P_DEFAULT) < 0)
        return ant_h5_fail(err, ANT_EIO, "cannot name the offsets of tokens");
    ANT_TRY(flush(&pack->offsets, err));
    ANT_TRY(flush(&pack->ids, err));
    for (int i = 0; i < ANT_N_NUMBERS; i++)
        ANT_TRY(flush(&pack->numbers[i], err));
    ANT_TRY(flush_strings(&pack->names, err));
    ANT_TRY(flush_strings(&pack->errors, err));
    for (int i = 0; i < ANT_N_TEXTS; i++)
        ANT_TRY(flush_strings(&pack->texts[i], err));
    ANT_TRY(ant_h5_put_text(pack->group, "format", pack->is_chat ? "chat" : "text", err));
    ANT_TRY(ant_h5_put_text(pack->group, "schema", "antiphon-prompts", err));
    return ant_h5_put_int(pack->group, "version", 1, err);
}

static int close_file(struct ant_pack *pack, struct ant_error *err)
{
    close_growing(&pack->text);
    close_growing(&pack->names);
    close_growing(&pack->errors);
    for (int i = 0; i < ANT_N_TEXTS; i++)
        close_growing(&pack->texts[i]);
    close_growing(&pack->offsets);
    close_growing(&pack->ids);
    for (int i = 0; i < ANT_N_NUMBERS; i++)
        close_growing(&pack->numbers[i]);
    ant_h5_close(pack->group);
    int rc = ant_h5_close(pack->file);
    pack->group = pack->file = H5I_INVALID_HID;
    return rc < 0 ? ant_h5_fail(err, ANT_EIO, "cannot write") : 0;
}

static int put_in_place(const struct ant_pack *pack, struct ant_error *err)
{
    int rc = 0;
    int fd = open(pack->part, O_RDWR | O_CLOEXEC);

    if (fd < 0 || fsync(fd) < 0)
        rc = ant_fail(err, ANT_EIO, "cannot sync: %s", strerror(errno));
    if (fd >= 0)
        close(fd);
    if (rc == 0 && rename(pack->part, pack->path) < 0)
        rc = ant_fail(err, ANT_EIO, "cannot rename to '%s': %s", pack->path, strerror(errno));
    return rc;
}

int ant_pack_finish(struct ant_pack *pack, struct ant_error *err)
{
    int rc = complete(pack, err);

    if (rc == 0)
        rc = close_file(pack, err);
    if (rc == 0)
        rc = put_in_place(pack, err);
    if (rc < 0)
        return ant_fail_in(err, rc, "'%s'", pack->part);
    pack->is_finished = true;
    return ant_sync_folder(pack->path, err);
}

int64_t ant_pack_rows(const struct ant_pack *pack)
{
    return pack->rows;
}

int64_t ant_pack_length(const struct ant_pack *pack, const char **unit)
{
    *unit = pack->is_tokens ? "tokens" : "bytes";
    return pack->length;
}

const char *ant_pack_columns(struct ant_pack *pack)
{
    pack->columns.len = 0;
    if (pack->id_kind != ANT_ID_NONE)
        ant_buf_printf(&pack->columns, "id");
    for (int i = 0; i < ANT_N_TEXTS; i++)
        if (pack->texts[i].width)
            ant_buf_printf(&pack->columns, "%s%s", pack->columns.len ? ", " : "",
                           ant_text_columns[i]);
    for (int i = 0; i < ANT_N_NUMBERS; i++)
        if (pack->numbers[i].width)
            ant_buf_printf(&pack->columns, "%s%s", pack->columns.len ? ", " : "",
                           ant_number_columns[i].name);
    return pack->columns.len ? pack->columns.data : "";
}

void ant_pack_close(struct ant_pack *pack)
{
    struct ant_error ignored;

    if (!pack)
        return;
    if (pack->names.pending.len)
        flush_strings(&pack->names, &ignored);
    if (pack->errors.pending.len)
        flush_strings(&pack->errors, &ignored);
    for (int i = 0; i < ANT_N_TEXTS; i++)
        if (pack->texts[i].pending.len)
            flush_strings(&pack->texts[i], &ignored);
    if (!pack->is_finished) {
        close_file(pack, &ignored);
        unlink(pack->part);
    }
    ant_buf_release(&pack->columns);
    free(pack->path);
    free(pack->part);
    free(pack);
}
