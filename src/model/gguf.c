/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "model/gguf.h"

#include "base/file.h"
#include "base/mem.h"
#include "model/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Far above any real model; they bound what a hostile header can make us allocate. */
enum {
    MAX_KEYS = 1 << 16,
    MAX_TENSORS = 1 << 18,
    MAX_KEY_BYTES = 65535, /* the format's own limit */
    MAX_NAME_BYTES = 255,
    MAX_NESTING = 4, /* arrays of arrays */
    MAX_ALIGNMENT = 1 << 20,
    MIN_ENTRY_BYTES = 8 + 1 + 4 + 1,          /* name, type, value */
    MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8, /* name, shape, type, offset */
};

enum value_type {
    VALUE_U8,
    VALUE_I8,
    VALUE_U16,
    VALUE_I16,
    VALUE_U32,
    VALUE_I32,
    VALUE_F32,
    VALUE_BOOL,
    VALUE_STRING,
    VALUE_ARRAY,
    VALUE_U64,
    VALUE_I64,
    VALUE_F64,
    N_VALUE_TYPES,
};

/* Bytes of one value; 0 where they vary. */
static const uint8_t value_bytes[N_VALUE_TYPES] = {
    [VALUE_U8] = 1,  [VALUE_I8] = 1,  [VALUE_U16] = 2, [VALUE_I16] = 2,
    [VALUE_U32] = 4, [VALUE_I32] = 4, [VALUE_F32] = 4, [VALUE_BOOL] = 1,
    [VALUE_U64] = 8, [VALUE_I64] = 8, [VALUE_F64] = 8,
};

/* Tensor types by their number in the file; those without a type of ours are known by name only,
 * for the error. */
static const struct {
    const char *name;
    int type;
} tensor_types[] = {
    [0] = {"F32", ANT_F32},    [1] = {"F16", ANT_F16},    [2] = {"Q4_0", ANT_Q4_0},
    [3] = {"Q4_1", ANT_Q4_1},  [6] = {"Q5_0", ANT_Q5_0},  [7] = {"Q5_1", ANT_Q5_1},
    [8] = {"Q8_0", ANT_Q8_0},  [9] = {"Q8_1", -1},        [10] = {"Q2_K", ANT_Q2_K},
    [11] = {"Q3_K", ANT_Q3_K}, [12] = {"Q4_K", ANT_Q4_K}, [13] = {"Q5_K", ANT_Q5_K},
    [14] = {"Q6_K", ANT_Q6_K}, [15] = {"Q8_K", -1},       [16] = {"IQ2_XXS", -1},
    [17] = {"IQ2_XS", -1},     [18] = {"IQ3_XXS", -1},    [19] = {"IQ1_S", -1},
    [20] = {"IQ4_NL", -1},     [21] = {"IQ3_S", -1},      [22] = {"IQ2_S", -1},
    [23] = {"IQ4_XS", -1},     [24] = {"I8", -1},         [25] = {"I16", -1},
    [26] = {"I32", -1},        [27] = {"I64", -1},        [28] = {"F64", -1},
    [29] = {"IQ1_M", -1},      [30] = {"BF16", ANT_BF16}, [34] = {"TQ1_0", -1},
    [35] = {"TQ2_0", -1},      [39] = {"MXFP4", -1},      [40] = {"NVFP4", -1},
    [41] = {"Q1_0", -1},
};
enum { N_TENSOR_TYPES = sizeof tensor_types / sizeof tensor_types[0] };

struct entry {
    char *key; /* owned */
    int type;
    const unsigned char *value; /* for an array: its element type */
};

struct ant_gguf {
    struct ant_file file;
    int version;
    size_t n_entries, n_tensors;
    struct entry *entries;      /* owned, file order */
    struct ant_tensor *tensors; /* owned, file order; names owned */
    struct ant_name *by_key;    /* owned (n_entries) */
    struct ant_name *by_name;   /* owned (n_tensors) */
    const unsigned char *data;  /* the tensor section */
    size_t data_bytes;
    struct ant_digest digest;
    struct ant_gguf **parts; /* owned: the files after the first, whose tensors are here as well */
    size_t n_parts;
};

/* ---- Reading the header, front to back, never beyond its end --------------------------------- */

struct reader {
    const unsigned char *at, *end;
    const struct ant_file *file;
    struct ant_error *err;
};

static int need(struct reader *r, uint64_t bytes)
{
    if (bytes > (uint64_t)(r->end - r->at))
        return ant_fail(r->err, ANT_EDATA,
                        "'%s' is cut off or damaged: the header at byte %zu wants %llu more bytes "
                        "than the file's %zu",
                        r->file->path, (size_t)(r->at - r->file->data),
                        (unsigned long long)(bytes - (uint64_t)(r->end - r->at)), r->file->bytes);
    return 0;
}

static uint64_t load(const unsigned char *p, int bytes)
{
    uint64_t value = 0;
    for (int i = bytes - 1; i >= 0; i--)
        value = value << 8 | p[i];
    return value;
}

static int take_u32(struct reader *r, uint32_t *out)
{
    ANT_TRY(need(r, 4));
    *out = (uint32_t)load(r->at, 4);
    r->at += 4;
    return 0;
}

static int take_u64(struct reader *r, uint64_t *out)
{
    ANT_TRY(need(r, 8));
    *out = load(r->at, 8);
    r->at += 8;
    return 0;
}

static int take_string(struct reader *r, const char **text, uint64_t *bytes)
{
    ANT_TRY(take_u64(r, bytes));
    ANT_TRY(need(r, *bytes));
    *text = (const char *)r->at;
    r->at += *bytes;
    return 0;
}

/* A key or tensor name, copied. */
static int take_name(struct reader *r, const char *what, uint64_t number, uint64_t max, char **out)
{
    const char *text;
    uint64_t bytes;
    ANT_TRY(take_string(r, &text, &bytes));
    if (bytes > max || !ant_name_is_plain(text, bytes))
        return ant_fail(r->err, ANT_EDATA,
                        "'%s': %s %llu has a name that is empty, too long or not printable",
                        r->file->path, what, (unsigned long long)number);
    *out = ant_xstrndup(text, bytes);
    return 0;
}

/* Step over a value and so prove that all of it is there. */
static int skip_value(struct reader *r, const char *key, uint32_t type, int nesting)
{
    const char *text;
    uint64_t count;
    uint32_t element;
    if (type >= N_VALUE_TYPES)
        return ant_fail(r->err, ANT_EDATA, "'%s': key '%.200s' has the unknown value type %u",
                        r->file->path, key, type);
    if (type == VALUE_STRING)
        return take_string(r, &text, &count);
    if (type != VALUE_ARRAY) {
        ANT_TRY(need(r, value_bytes[type]));
        if (type == VALUE_BOOL && *r->at > 1)
            return ant_fail(r->err, ANT_EDATA, "'%s': key '%.200s' is a boolean of value %u",
                            r->file->path, key, *r->at);
        r->at += value_bytes[type];
        return 0;
    }
    if (nesting == MAX_NESTING)
        return ant_fail(r->err, ANT_EDATA, "'%s': key '%.200s' nests arrays more than %d deep",
                        r->file->path, key, MAX_NESTING);
    ANT_TRY(take_u32(r, &element));
    ANT_TRY(take_u64(r, &count));
    if (element >= N_VALUE_TYPES)
        return ant_fail(r->err, ANT_EDATA, "'%s': key '%.200s' is an array of the unknown type %u",
                        r->file->path, key, element);
    if (value_bytes[element]) {
        uint64_t bytes;
        if (__builtin_mul_overflow(count, (uint64_t)value_bytes[element], &bytes))
            bytes = UINT64_MAX;
        ANT_TRY(need(r, bytes));
        r->at += bytes;
        return 0;
    }
    for (uint64_t i = 0; i < count; i++)
        ANT_TRY(skip_value(r, key, element, nesting + 1));
    return 0;
}

/* Sorts the index and refuses a name that is there twice. */
static int sort_names(struct reader *r, struct ant_name *names, size_t n, const char *what)
{
    const struct ant_name *twice = ant_names_sort(names, n);
    if (twice)
        return ant_fail(r->err, ANT_EDATA, "'%s': %s '%.200s' is there twice", r->file->path, what,
                        twice->name);
    return 0;
}

static int read_entries(struct ant_gguf *gguf, struct reader *r, uint64_t n)
{
    ANT_TRY(need(r, n * MIN_ENTRY_BYTES));
    gguf->entries = ant_xcalloc(n, sizeof *gguf->entries);
    gguf->by_key = ant_xcalloc(n, sizeof *gguf->by_key);
    for (uint64_t i = 0; i < n; i++) {
        struct entry *entry = &gguf->entries[i];
        uint32_t type;
        ANT_TRY(take_name(r, "key", i, MAX_KEY_BYTES, &entry->key));
        gguf->n_entries = i + 1;
        gguf->by_key[i] = (struct ant_name){entry->key, i};
        ANT_TRY(take_u32(r, &type));
        entry->type = (int)type;
        entry->value = r->at;
        ANT_TRY(skip_value(r, entry->key, type, 0));
    }
    return sort_names(r, gguf->by_key, n, "key");
}

/* The shape, checked so that all later arithmetic on it fits: elements and bytes of the tensor. */
static int read_shape(struct reader *r, struct ant_tensor *tensor, uint64_t *elements)
{
    uint32_t n_dims;
    ANT_TRY(take_u32(r, &n_dims));
    if (n_dims < 1 || n_dims > 4)
        return ant_fail(r->err, ANT_EDATA, "'%s': tensor '%s' has %u dimensions, not 1 to 4",
                        r->file->path, tensor->name, n_dims);
    tensor->n_dims = (int)n_dims;
    *elements = 1;
    for (int i = tensor->n_dims - 1; i >= 0; i--) { /* the file has the fastest first */
        uint64_t size;
        ANT_TRY(take_u64(r, &size));
        if (size < 1 || size > INT64_MAX || __builtin_mul_overflow(*elements, size, elements) ||
            *elements > INT64_MAX / 8)
            return ant_fail(r->err, ANT_EDATA,
                            "'%s': tensor '%s' has an impossible dimension of %llu", r->file->path,
                            tensor->name, (unsigned long long)size);
        tensor->shape[i] = (int64_t)size;
    }
    return 0;
}

static int read_type(struct reader *r, struct ant_tensor *tensor, uint64_t elements)
{
    uint32_t number;
    ANT_TRY(take_u32(r, &number));
    if (number >= N_TENSOR_TYPES || !tensor_types[number].name)
        return ant_fail(r->err, ANT_EUNSUPP, "'%s': tensor '%s' has the unknown type %u",
                        r->file->path, tensor->name, number);
    if (tensor_types[number].type < 0)
        return ant_fail(r->err, ANT_EUNSUPP,
                        "'%s': tensor '%s' has type %s, which is not supported", r->file->path,
                        tensor->name, tensor_types[number].name);
    tensor->type = (enum ant_type)tensor_types[number].type;
    const struct ant_type_facts *facts = &ant_types[tensor->type];
    if (tensor->shape[tensor->n_dims - 1] % facts->block != 0)
        return ant_fail(
            r->err, ANT_EDATA,
            "'%s': tensor '%s' has rows of %lld elements, which %s blocks of %d do not divide",
            r->file->path, tensor->name, (long long)tensor->shape[tensor->n_dims - 1], facts->name,
            facts->block);
    tensor->bytes = (size_t)(elements / (uint64_t)facts->block) * (size_t)facts->block_bytes;
    return 0;
}

/* Tensor descriptions; `data` is left as the offset in the tensor section until that is known. */
static int read_tensors(struct ant_gguf *gguf, struct reader *r, uint64_t n, uint64_t *offsets)
{
    ANT_TRY(need(r, n * MIN_TENSOR_BYTES));
    gguf->tensors = ant_xcalloc(n, sizeof *gguf->tensors);
    gguf->by_name = ant_xcalloc(n, sizeof *gguf->by_name);
    for (uint64_t i = 0; i < n; i++) {
        struct ant_tensor *tensor = &gguf->tensors[i];
        uint64_t elements = 0;
        char *name;
        ANT_TRY(take_name(r, "tensor", i, MAX_NAME_BYTES, &name));
        tensor->name = name;
        gguf->n_tensors = i + 1;
        gguf->by_name[i] = (struct ant_name){name, i};
        ANT_TRY(read_shape(r, tensor, &elements));
        ANT_TRY(read_type(r, tensor, elements));
        ANT_TRY(take_u64(r, &offsets[i]));
    }
    return sort_names(r, gguf->by_name, n, "tensor");
}

struct span {
    uint64_t offset;
    const struct ant_tensor *tensor;
};

static int compare_spans(const void *a, const void *b)
{
    const struct span *x = a, *y = b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Every tensor aligned, inside the file, and none over another. */
static int place_tensors(struct ant_gguf *gguf, const uint64_t *offsets, uint64_t alignment,
                         struct ant_error *err)
{
    const char *path = gguf->file.path;
    struct span *spans = ant_xcalloc(gguf->n_tensors, sizeof *spans);
    int result = 0;
    for (size_t i = 0; i < gguf->n_tensors && result == 0; i++) {
        struct ant_tensor *tensor = &gguf->tensors[i];
        if (offsets[i] % alignment != 0)
            result = ant_fail(
                err, ANT_EDATA, "'%s': tensor '%s' at offset %llu is not aligned to %llu bytes",
                path, tensor->name, (unsigned long long)offsets[i], (unsigned long long)alignment);
        else if (offsets[i] > gguf->data_bytes || tensor->bytes > gguf->data_bytes - offsets[i])
            result = ant_fail(err, ANT_EDATA,
                              "'%s' is cut off or damaged: tensor '%s' (offset %llu, %zu bytes) "
                              "ends beyond the %zu bytes of data",
                              path, tensor->name, (unsigned long long)offsets[i], tensor->bytes,
                              gguf->data_bytes);
        else
            tensor->data = gguf->data + offsets[i];
        spans[i] = (struct span){offsets[i], tensor};
    }
    if (result == 0 && gguf->n_tensors > 0)
        qsort(spans, gguf->n_tensors, sizeof *spans, compare_spans);
    for (size_t i = 1; i < gguf->n_tensors && result == 0; i++)
        if (spans[i].offset - spans[i - 1].offset < spans[i - 1].tensor->bytes)
            result = ant_fail(err, ANT_EDATA, "'%s': tensors '%s' and '%s' overlap", path,
                              spans[i - 1].tensor->name, spans[i].tensor->name);
    free(spans);
    return result;
}

static int read_preamble(struct ant_gguf *gguf, struct reader *r, uint64_t *n_tensors,
                         uint64_t *n_keys)
{
    const char *path = gguf->file.path;
    uint32_t version;
    if (gguf->file.bytes < 4 || memcmp(gguf->file.data, "GGUF", 4) != 0)
        return ant_fail(r->err, ANT_EDATA, "'%s' is not a GGUF file", path);
    r->at += 4;
    ANT_TRY(take_u32(r, &version));
    if (version != 0 && (version & 0xffff) == 0)
        return ant_fail(r->err, ANT_EUNSUPP,
                        "'%s' is a big-endian GGUF file, which is not supported", path);
    if (version != 2 && version != 3)
        return ant_fail(r->err, ANT_EUNSUPP,
                        "'%s' is GGUF version %u; versions 2 and 3 are supported", path, version);
    gguf->version = (int)version;
    ANT_TRY(take_u64(r, n_tensors));
    ANT_TRY(take_u64(r, n_keys));
    if (*n_tensors > MAX_TENSORS || *n_keys > MAX_KEYS)
        return ant_fail(r->err, ANT_EDATA,
                        "'%s' claims %llu tensors and %llu keys; at most %d and %d are possible",
                        path, (unsigned long long)*n_tensors, (unsigned long long)*n_keys,
                        MAX_TENSORS, MAX_KEYS);
    return 0;
}

static int read_header(struct ant_gguf *gguf, struct reader *r)
{
    uint64_t n_tensors = 0, n_keys = 0;
    int64_t alignment = 32;
    ANT_TRY(read_preamble(gguf, r, &n_tensors, &n_keys));
    ANT_TRY(read_entries(gguf, r, n_keys));
    ANT_TRY(ant_gguf_get_int(gguf, "general.alignment", 1, MAX_ALIGNMENT, &alignment, r->err));
    if (alignment % 8 != 0 || (alignment & (alignment - 1)) != 0)
        return ant_fail(r->err, ANT_EDATA,
                        "'%s': key 'general.alignment' is %lld, not a power of two from 8 up",
                        gguf->file.path, (long long)alignment);

    uint64_t *offsets = ant_xcalloc(n_tensors, sizeof *offsets);
    int result = read_tensors(gguf, r, n_tensors, offsets);
    if (result == 0) {
        size_t header = (size_t)(r->at - gguf->file.data);
        size_t start = (header + (size_t)alignment - 1) / (size_t)alignment * (size_t)alignment;
        if (start > gguf->file.bytes) /* only without tensors can the padding be missing */
            start = gguf->file.bytes;
        gguf->data = gguf->file.data + start;
        gguf->data_bytes = gguf->file.bytes - start;
        struct ant_digest parts[2] = {ant_digest(gguf->file.data, header), {gguf->file.bytes, 0}};
        gguf->digest = ant_digest(parts, sizeof parts);
        result = place_tensors(gguf, offsets, (uint64_t)alignment, r->err);
    }
    free(offsets);
    return result;
}

static int open_file(struct ant_gguf **out, const char *path, struct ant_error *err)
{
    struct ant_gguf *gguf = ant_xcalloc(1, sizeof *gguf);
    int result = ant_file_map(&gguf->file, path, err);
    if (result == 0) {
        struct reader reader = {gguf->file.data, gguf->file.data + gguf->file.bytes, &gguf->file,
                                err};
        result = read_header(gguf, &reader);
    }
    if (result < 0) {
        ant_gguf_close(gguf);
        return result;
    }
    *out = gguf;
    return 0;
}

/* ---- Models in several files: NAME-00001-of-0000N.gguf and so on, all metadata in the first -- */

/* Which part a file says it is, of how many: 0 of 1 if it says nothing. */
static int read_split(const struct ant_gguf *gguf, int64_t *part, int64_t *count,
                      struct ant_error *err)
{
    *part = 0;
    *count = 1;
    ANT_TRY(ant_gguf_get_int(gguf, "split.no", 0, UINT16_MAX, part, err));
    ANT_TRY(ant_gguf_get_int(gguf, "split.count", 0, UINT16_MAX, count, err));
    return 0;
}

/* The path of part `i`, of which the first is `path`; the caller frees it. NULL: `path` is no first
 * part's. */
static char *part_path(const char *path, int i, int count)
{
    char end[32];
    int bytes = snprintf(end, sizeof end, "-%05d-of-%05d.gguf", 1, count);
    size_t stem = strlen(path);
    if (stem < (size_t)bytes || strcmp(path + stem - (size_t)bytes, end) != 0)
        return NULL;
    return ant_xasprintf("%.*s-%05d-of-%05d.gguf", (int)(stem - (size_t)bytes), path, i + 1, count);
}

static int open_part(struct ant_gguf *gguf, int i, int count, struct ant_error *err)
{
    int64_t its_part, its_count;
    char *path = part_path(gguf->file.path, i, count);
    if (!path)
        return ant_fail(err, ANT_EDATA,
                        "'%s' is the first of %d parts, but is not called "
                        "NAME-00001-of-%05d.gguf",
                        gguf->file.path, count, count);
    struct ant_gguf **part = &gguf->parts[gguf->n_parts];
    int result = open_file(part, path, err);
    free(path);
    ANT_TRY(result);
    gguf->n_parts++;
    ANT_TRY(read_split(*part, &its_part, &its_count, err));
    if (its_part != i || its_count != count)
        return ant_fail(err, ANT_EDATA, "'%s' says that it is part %lld of %lld",
                        (*part)->file.path, (long long)its_part + 1, (long long)its_count);
    return 0;
}

/* All parts' tensors in one list; their names go over to it. */
static int join_tensors(struct ant_gguf *gguf, struct ant_error *err)
{
    size_t n = gguf->n_tensors;
    int64_t wanted;
    for (size_t i = 0; i < gguf->n_parts; i++)
        n += gguf->parts[i]->n_tensors;
    wanted = (int64_t)n;
    ANT_TRY(ant_gguf_get_int(gguf, "split.tensors.count", 0, INT64_MAX, &wanted, err));
    if (wanted != (int64_t)n)
        return ant_fail(err, ANT_EDATA, "'%s' announces %lld tensors, its parts hold %zu",
                        gguf->file.path, (long long)wanted, n);
    gguf->tensors = ant_xrealloc(gguf->tensors, n + 1, sizeof *gguf->tensors);
    gguf->by_name = ant_xrealloc(gguf->by_name, n + 1, sizeof *gguf->by_name);
    for (size_t i = 0; i < gguf->n_parts; i++) {
        struct ant_gguf *part = gguf->parts[i];
        struct ant_digest both[2] = {gguf->digest, part->digest};
        if (part->n_tensors > 0)
            memcpy(gguf->tensors + gguf->n_tensors, part->tensors,
                   part->n_tensors * sizeof *part->tensors);
        gguf->n_tensors += part->n_tensors;
        part->n_tensors = 0;
        gguf->digest = ant_digest(both, sizeof both);
    }
    for (size_t i = 0; i < n; i++)
        gguf->by_name[i] = (struct ant_name){gguf->tensors[i].name, i};
    const struct ant_name *twice = ant_names_sort(gguf->by_name, n);
    if (twice)
        return ant_fail(err, ANT_EDATA, "'%s': two of its parts hold tensor '%s'", gguf->file.path,
                        twice->name);
    return 0;
}

static int open_parts(struct ant_gguf *gguf, struct ant_error *err)
{
    int64_t part, count;
    ANT_TRY(read_split(gguf, &part, &count, err));
    if (count <= 1)
        return 0;
    if (part != 0)
        return ant_fail(err, ANT_EUSAGE, "'%s' is part %lld of %lld; name the first",
                        gguf->file.path, (long long)part + 1, (long long)count);
    gguf->parts = ant_xcalloc((size_t)count, sizeof(struct ant_gguf *));
    for (int i = 1; i < count; i++)
        ANT_TRY(open_part(gguf, i, (int)count, err));
    return join_tensors(gguf, err);
}

int ant_gguf_open(struct ant_gguf **out, const char *path, struct ant_error *err)
{
    struct ant_gguf *gguf;
    ANT_TRY(open_file(&gguf, path, err));
    int result = open_parts(gguf, err);
    if (result < 0) {
        ant_gguf_close(gguf);
        return result;
    }
    *out = gguf;
    return 0;
}

void ant_gguf_close(struct ant_gguf *gguf)
{
    if (!gguf)
        return;
    for (size_t i = 0; i < gguf->n_parts; i++)
        ant_gguf_close(gguf->parts[i]);
    free(gguf->parts);
    for (size_t i = 0; i < gguf->n_entries; i++)
        free(gguf->entries[i].key);
    for (size_t i = 0; i < gguf->n_tensors; i++)
        free((char *)gguf->tensors[i].name);
    free(gguf->entries);
    free(gguf->tensors);
    free(gguf->by_key);
    free(gguf->by_name);
    ant_file_unmap(&gguf->file);
    free(gguf);
}

/* ---- What was read --------------------------------------------------------------------------- */

const char *ant_gguf_path(const struct ant_gguf *gguf)
{
    return gguf->file.path;
}

int ant_gguf_version(const struct ant_gguf *gguf)
{
    return gguf->version;
}

struct ant_digest ant_gguf_digest(const struct ant_gguf *gguf)
{
    return gguf->digest;
}

size_t ant_gguf_count(const struct ant_gguf *gguf)
{
    return gguf->n_tensors;
}

const struct ant_tensor *ant_gguf_tensor(const struct ant_gguf *gguf, size_t index)
{
    return &gguf->tensors[index];
}

const struct ant_tensor *ant_gguf_find(const struct ant_gguf *gguf, const char *name)
{
    const struct ant_name *found = ant_names_find(gguf->by_name, gguf->n_tensors, name);
    return found ? &gguf->tensors[found->index] : NULL;
}

bool ant_gguf_data(const struct ant_gguf *gguf, size_t index, const void **data, size_t *bytes)
{
    if (index > gguf->n_parts)
        return false;
    const struct ant_gguf *part = index > 0 ? gguf->parts[index - 1] : gguf;
    *data = part->data;
    *bytes = part->data_bytes;
    return true;
}

const char *ant_gguf_key(const struct ant_gguf *gguf, size_t index)
{
    return index < gguf->n_entries ? gguf->entries[index].key : NULL;
}

static const struct entry *find_entry(const struct ant_gguf *gguf, const char *key)
{
    const struct ant_name *found = ant_names_find(gguf->by_key, gguf->n_entries, key);
    return found ? &gguf->entries[found->index] : NULL;
}

bool ant_gguf_has(const struct ant_gguf *gguf, const char *key)
{
    return find_entry(gguf, key) != NULL;
}

static bool is_int(int type)
{
    return type <= VALUE_I32 || type == VALUE_U64 || type == VALUE_I64;
}

static bool is_float(int type)
{
    return type == VALUE_F32 || type == VALUE_F64;
}

/* False when the value does not fit. */
static bool load_int(const unsigned char *p, int type, int64_t *out)
{
    uint64_t bits = load(p, value_bytes[type]);
    switch (type) {
    case VALUE_I8:
        *out = (int8_t)bits;
        return true;
    case VALUE_I16:
        *out = (int16_t)bits;
        return true;
    case VALUE_I32:
        *out = (int32_t)bits;
        return true;
    default:
        *out = (int64_t)bits;
        return type != VALUE_U64 || bits <= INT64_MAX;
    }
}

static double load_float(const unsigned char *p, int type)
{
    uint64_t bits = load(p, value_bytes[type]);
    if (type == VALUE_F32) {
        uint32_t bits32 = (uint32_t)bits;
        float value;
        memcpy(&value, &bits32, sizeof value);
        return (double)value;
    }
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static int wrong_type(const struct ant_gguf *gguf, const char *key, const char *wanted,
                      struct ant_error *err)
{
    return ant_fail(err, ANT_EDATA, "'%s': key '%.200s' is not %s", gguf->file.path, key, wanted);
}

int ant_gguf_get_int(const struct ant_gguf *gguf, const char *key, int64_t min, int64_t max,
                     int64_t *out, struct ant_error *err)
{
    const struct entry *entry = find_entry(gguf, key);
    int64_t value;
    if (!entry)
        return 0;
    if (!is_int(entry->type))
        return wrong_type(gguf, key, "an integer", err);
    if (!load_int(entry->value, entry->type, &value))
        return ant_fail(err, ANT_EDATA, "'%s': key '%.200s' is 2^63 or more", gguf->file.path, key);
    if (value < min || value > max)
        return ant_fail(err, ANT_EDATA, "'%s': key '%.200s' is %lld, not between %lld and %lld",
                        gguf->file.path, key, (long long)value, (long long)min, (long long)max);
    *out = value;
    return 1;
}

int ant_gguf_get_float(const struct ant_gguf *gguf, const char *key, double *out,
                       struct ant_error *err)
{
    const struct entry *entry = find_entry(gguf, key);
    int64_t value;
    if (!entry)
        return 0;
    if (is_float(entry->type))
        *out = load_float(entry->value, entry->type);
    else if (is_int(entry->type) && load_int(entry->value, entry->type, &value))
        *out = (double)value;
    else
        return wrong_type(gguf, key, "a number", err);
    return 1;
}

int ant_gguf_get_bool(const struct ant_gguf *gguf, const char *key, bool *out,
                      struct ant_error *err)
{
    const struct entry *entry = find_entry(gguf, key);
    if (!entry)
        return 0;
    if (entry->type != VALUE_BOOL)
        return wrong_type(gguf, key, "a boolean", err);
    *out = *entry->value != 0;
    return 1;
}

int ant_gguf_get_string(const struct ant_gguf *gguf, const char *key, const char **text,
                        size_t *bytes, struct ant_error *err)
{
    const struct entry *entry = find_entry(gguf, key);
    if (!entry)
        return 0;
    if (entry->type != VALUE_STRING)
        return wrong_type(gguf, key, "a string", err);
    *bytes = load(entry->value, 8);
    *text = (const char *)entry->value + 8;
    return 1;
}

static bool is_kind(int element, enum ant_gguf_kind kind)
{
    switch (kind) {
    case ANT_GGUF_INTS:
        return is_int(element);
    case ANT_GGUF_FLOATS:
        return is_float(element);
    case ANT_GGUF_BOOLS:
        return element == VALUE_BOOL;
    case ANT_GGUF_STRINGS:
        return element == VALUE_STRING;
    }
    return false;
}

int ant_gguf_get_array(const struct ant_gguf *gguf, const char *key, enum ant_gguf_kind kind,
                       struct ant_gguf_array *out, struct ant_error *err)
{
    static const char *const wanted[] = {"an array of integers", "an array of floats",
                                         "an array of booleans", "an array of strings"};
    const struct entry *entry = find_entry(gguf, key);
    if (!entry)
        return 0;
    if (entry->type != VALUE_ARRAY || !is_kind((int)load(entry->value, 4), kind))
        return wrong_type(gguf, key, wanted[kind], err);
    out->element = (int)load(entry->value, 4);
    out->count = load(entry->value + 4, 8);
    out->data = entry->value + 12;
    return 1;
}

bool ant_gguf_next_int(struct ant_gguf_array *array, int64_t *out)
{
    if (array->count == 0)
        return false;
    load_int(array->data, array->element, out);
    array->data += value_bytes[array->element];
    array->count--;
    return true;
}

bool ant_gguf_next_float(struct ant_gguf_array *array, float *out)
{
    if (array->count == 0)
        return false;
    *out = (float)load_float(array->data, array->element);
    array->data += value_bytes[array->element];
    array->count--;
    return true;
}

bool ant_gguf_next_string(struct ant_gguf_array *array, const char **text, size_t *bytes)
{
    if (array->count == 0)
        return false;
    *bytes = load(array->data, 8);
    *text = (const char *)array->data + 8;
    array->data += 8 + *bytes;
    array->count--;
    return true;
}
