/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "model/safetensors.h"

#include "base/file.h"
#include "base/mem.h"
#include "model/json.h"
#include "model/names.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    MAX_HEADER_BYTES = 100 << 20, /* the reference implementation's own limit */
    MAX_INDEX_BYTES = 100 << 20,
    MAX_SHARDS = 4096,
    MAX_TENSORS = 1 << 20,
    MAX_NAME_BYTES = 255,
};

struct shard {
    struct ant_file file;
    size_t header_bytes;     /* with the length before it */
    size_t first, n_tensors; /* its part of the list */
};

struct ant_safetensors {
    struct shard *shards; /* owned */
    size_t n_shards;
    struct ant_tensor *tensors; /* owned, names owned */
    size_t n_tensors;
    struct ant_name *by_name; /* owned (n_tensors) */
    struct ant_digest digest;
};

/* ---- One file -------------------------------------------------------------------------------- */

/* One entry of a header while the file's entries are put in order. */
struct placed {
    struct ant_tensor tensor;
    uint64_t begin, end; /* in the file's data */
};

static int read_type(const struct ant_file *file, struct ant_tensor *tensor, const json_t *entry,
                     struct ant_error *err)
{
    static const enum ant_type known[] = {ANT_F32, ANT_F16, ANT_BF16};
    const char *type = json_string_value(json_object_get(entry, "dtype"));
    if (!type)
        return ant_fail(err, ANT_EDATA, "'%s': tensor '%s' has no dtype", file->path, tensor->name);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(type, ant_types[known[i]].name) == 0) {
            tensor->type = known[i];
            return 0;
        }
    bool is_plain = ant_name_is_plain(type, strlen(type)) && strlen(type) < 16;
    return ant_fail(err, ANT_EUNSUPP,
                    "'%s': tensor '%s' has element type %s; F32, F16 and BF16 are supported",
                    file->path, tensor->name, is_plain ? type : "of an odd name");
}

static int read_shape(const struct ant_file *file, struct ant_tensor *tensor, const json_t *entry,
                      struct ant_error *err)
{
    const json_t *shape = json_object_get(entry, "shape");
    size_t n_dims = json_array_size(shape);
    uint64_t bytes = (uint64_t)ant_types[tensor->type].block_bytes;
    if (!json_is_array(shape) || n_dims > 4)
        return ant_fail(err, ANT_EDATA, "'%s': tensor '%s' has no shape of at most 4 dimensions",
                        file->path, tensor->name);
    for (size_t i = 0; i < n_dims; i++) {
        const json_t *size = json_array_get(shape, i);
        int64_t value = json_integer_value(size);
        if (!json_is_integer(size) || value < 0 ||
            __builtin_mul_overflow(bytes, (uint64_t)value, &bytes) || bytes > INT64_MAX)
            return ant_fail(err, ANT_EDATA, "'%s': tensor '%s' has an impossible shape", file->path,
                            tensor->name);
        tensor->shape[i] = value;
    }
    tensor->n_dims = (int)n_dims;
    tensor->bytes = bytes;
    return 0;
}

static int read_offsets(const struct ant_file *file, struct placed *placed, const json_t *entry,
                        uint64_t data_bytes, struct ant_error *err)
{
    const struct ant_tensor *tensor = &placed->tensor;
    const json_t *offsets = json_object_get(entry, "data_offsets");
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end) ||
        json_integer_value(begin) < 0 || json_integer_value(end) < json_integer_value(begin))
        return ant_fail(err, ANT_EDATA, "'%s': tensor '%s' has no proper data_offsets", file->path,
                        tensor->name);
    placed->begin = (uint64_t)json_integer_value(begin);
    placed->end = (uint64_t)json_integer_value(end);
    if (placed->end > data_bytes)
        return ant_fail(err, ANT_EDATA,
                        "'%s' is cut off or damaged: tensor '%s' ends at byte %llu of %llu bytes "
                        "of data",
                        file->path, tensor->name, (unsigned long long)placed->end,
                        (unsigned long long)data_bytes);
    if (placed->end - placed->begin != tensor->bytes)
        return ant_fail(err, ANT_EDATA, "'%s': tensor '%s' has %llu bytes, its shape says %zu",
                        file->path, tensor->name, (unsigned long long)(placed->end - placed->begin),
                        tensor->bytes);
    return 0;
}

/* Entry `name` of the header. The caller owns the tensor's name, set even on failure. */
static int read_entry(const struct ant_file *file, struct placed *placed, const char *name,
                      const json_t *entry, uint64_t data_bytes, struct ant_error *err)
{
    size_t bytes = strlen(name);
    if (bytes > MAX_NAME_BYTES || !ant_name_is_plain(name, bytes))
        return ant_fail(err, ANT_EDATA,
                        "'%s': a tensor has a name that is empty, too long or not printable",
                        file->path);
    placed->tensor.name = ant_xstrdup(name);
    if (!json_is_object(entry))
        return ant_fail(err, ANT_EDATA, "'%s': tensor '%s' is not described by an object",
                        file->path, name);
    ANT_TRY(read_type(file, &placed->tensor, entry, err));
    ANT_TRY(read_shape(file, &placed->tensor, entry, err));
    return read_offsets(file, placed, entry, data_bytes, err);
}

static int compare_placed(const void *a, const void *b)
{
    const struct placed *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* The rule of the format: the tensors fill the data from its first byte to its last. */
static int check_filled(const struct ant_file *file, const struct placed *placed, size_t n,
                        uint64_t data_bytes, struct ant_error *err)
{
    uint64_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (placed[i].begin != at)
            return ant_fail(
                err, ANT_EDATA, "'%s': tensor '%s' %s", file->path, placed[i].tensor.name,
                placed[i].begin < at ? "overlaps the one before it" : "leaves a gap before it");
        at = placed[i].end;
    }
    if (at != data_bytes)
        return ant_fail(err, ANT_EDATA, "'%s' has %llu bytes after its last tensor", file->path,
                        (unsigned long long)(data_bytes - at));
    return 0;
}

/* Adds a checked header's tensors to the list, in the order of their data. */
static int read_tensors(struct ant_safetensors *files, struct shard *shard, const json_t *header,
                        struct ant_error *err)
{
    const struct ant_file *file = &shard->file;
    const unsigned char *data = file->data + shard->header_bytes;
    uint64_t data_bytes = file->bytes - shard->header_bytes;
    struct placed *placed = ant_xcalloc(json_object_size(header), sizeof *placed);
    const char *name;
    json_t *entry;
    size_t n = 0;
    int result = 0;
    json_object_foreach((json_t *)header, name, entry)
    {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        result = read_entry(file, &placed[n++], name, entry, data_bytes, err);
        if (result < 0)
            break;
    }
    if (result == 0 && n > MAX_TENSORS - files->n_tensors)
        result = ant_fail(err, ANT_EDATA, "'%s': more than %d tensors", file->path, MAX_TENSORS);
    if (result == 0 && n > 0)
        qsort(placed, n, sizeof *placed, compare_placed);
    if (result == 0)
        result = check_filled(file, placed, n, data_bytes, err);
    if (result == 0) {
        files->tensors =
            ant_xrealloc(files->tensors, files->n_tensors + n + 1, sizeof *files->tensors);
        shard->first = files->n_tensors;
        shard->n_tensors = n;
    }
    for (size_t i = 0; i < n; i++) {
        placed[i].tensor.data = data + placed[i].begin;
        if (result == 0)
            files->tensors[files->n_tensors++] = placed[i].tensor;
        else
            free((char *)placed[i].tensor.name);
    }
    free(placed);
    return result;
}

static int read_shard(struct ant_safetensors *files, struct shard *shard, struct ant_error *err)
{
    const struct ant_file *file = &shard->file;
    uint64_t bytes = 0;
    for (size_t i = 0; i < 8 && i < file->bytes; i++)
        bytes |= (uint64_t)file->data[i] << 8 * i;
    if (file->bytes < 8 || bytes > file->bytes - 8)
        return ant_fail(err, ANT_EDATA,
                        "'%s' is not a safetensors file or cut off: %llu bytes of header in a "
                        "file of %zu",
                        file->path, (unsigned long long)bytes, file->bytes);
    if (bytes > MAX_HEADER_BYTES)
        return ant_fail(err, ANT_EDATA, "'%s': a header of %llu bytes; at most %d are possible",
                        file->path, (unsigned long long)bytes, MAX_HEADER_BYTES);
    shard->header_bytes = 8 + (size_t)bytes;
    char *where = ant_xasprintf("the header of '%s'", file->path);
    json_t *header = NULL;
    int result = ant_json_parse(&header, (const char *)file->data + 8, bytes, where, err);
    if (result == 0)
        result = read_tensors(files, shard, header, err);
    json_decref(header);
    free(where);
    return result;
}

/* Maps `name` in `folder` and adds its tensors. */
static int add_shard(struct ant_safetensors *files, const char *folder, const char *name,
                     struct ant_error *err)
{
    struct shard *shard = &files->shards[files->n_shards];
    char *path = ant_xasprintf("%s/%s", folder, name);
    int result = ant_file_map(&shard->file, path, err);
    free(path);
    ANT_TRY(result);
    files->n_shards++;
    return read_shard(files, shard, err);
}

/* ---- The index of a sharded model ------------------------------------------------------------ */

/* A file beside the index, never elsewhere. */
static bool is_shard_name(const char *name)
{
    static const char end[] = ".safetensors";
    size_t bytes = strlen(name), end_bytes = sizeof end - 1;
    return bytes > end_bytes && bytes <= 255 && name[0] != '.' &&
           strcmp(name + bytes - end_bytes, end) == 0 && ant_name_is_plain(name, bytes) &&
           !strchr(name, '/');
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The different file names in `map`, sorted, into `names` (one slot an entry). */
static int list_shards(const char *path, const json_t *map, const char **names, size_t *n_names,
                       struct ant_error *err)
{
    const char *tensor;
    json_t *value;
    size_t n = 0, n_different = 0;
    json_object_foreach((json_t *)map, tensor, value)
    {
        const char *name = json_string_value(value);
        if (!name || !is_shard_name(name))
            return ant_fail(err, ANT_EDATA,
                            "'%s': an entry of weight_map names no .safetensors file of the folder",
                            path);
        names[n++] = name;
    }
    if (n > 0)
        qsort(names, n, sizeof *names, compare_texts);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || strcmp(names[i], names[n_different - 1]) != 0)
            names[n_different++] = names[i];
    if (n_different == 0 || n_different > MAX_SHARDS)
        return ant_fail(err, ANT_EDATA, "'%s' names %zu files; 1 to %d are possible", path,
                        n_different, MAX_SHARDS);
    *n_names = n_different;
    return 0;
}

static const struct shard *shard_of(const struct ant_safetensors *files, size_t tensor)
{
    for (size_t i = 0; i < files->n_shards; i++)
        if (tensor - files->shards[i].first < files->shards[i].n_tensors)
            return &files->shards[i];
    return NULL;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int index_tensors(struct ant_safetensors *files, struct ant_error *err)
{
    files->by_name = ant_xcalloc(files->n_tensors, sizeof *files->by_name);
    for (size_t i = 0; i < files->n_tensors; i++)
        files->by_name[i] = (struct ant_name){files->tensors[i].name, i};
    const struct ant_name *twice = ant_names_sort(files->by_name, files->n_tensors);
    if (twice)
        return ant_fail(err, ANT_EDATA, "tensor '%s' is in '%s' and again in '%s'", twice->name,
                        shard_of(files, twice[0].index)->file.path,
                        base_name(shard_of(files, twice[1].index)->file.path));
    return 0;
}

/* Every tensor is where the index says. */
static int check_index(const struct ant_safetensors *files, const char *path, const json_t *map,
                       struct ant_error *err)
{
    const char *tensor;
    json_t *value;
    json_object_foreach((json_t *)map, tensor, value)
    {
        const struct ant_name *found = ant_names_find(files->by_name, files->n_tensors, tensor);
        if (!found && !ant_name_is_plain(tensor, strlen(tensor)))
            return ant_fail(err, ANT_EDATA, "'%s': a tensor's name is not printable", path);
        if (!found || strcmp(base_name(shard_of(files, found->index)->file.path),
                             json_string_value(value)) != 0)
            return ant_fail(err, ANT_EDATA, "'%s' says that tensor '%.255s' is in '%s'; it is not",
                            path, tensor, json_string_value(value));
    }
    return 0;
}

static int open_sharded(struct ant_safetensors *files, const char *folder, const char *path,
                        struct ant_error *err)
{
    json_t *root = NULL;
    const char **names = NULL;
    size_t n_names = 0;
    int result = ant_json_load(&root, path, MAX_INDEX_BYTES, NULL, err);
    if (result < 0)
        return result;
    const json_t *map = json_object_get(root, "weight_map");
    if (!json_is_object(map)) {
        result = ant_fail(err, ANT_EDATA, "'%s' has no weight_map", path);
    } else {
        names = ant_xcalloc(json_object_size(map), sizeof *names);
        result = list_shards(path, map, names, &n_names, err);
    }
    if (result == 0)
        files->shards = ant_xcalloc(n_names, sizeof *files->shards);
    for (size_t i = 0; i < n_names && result == 0; i++)
        result = add_shard(files, folder, names[i], err);
    if (result == ANT_ENOENT)
        ant_fail_in(err, result, "the model is not whole");
    if (result == 0)
        result = index_tensors(files, err);
    if (result == 0)
        result = check_index(files, path, map, err);
    free(names);
    json_decref(root);
    return result;
}

/* ---- The folder ------------------------------------------------------------------------------ */

static int open_folder(struct ant_safetensors *files, const char *folder, struct ant_error *err)
{
    char *single = ant_xasprintf("%s/model.safetensors", folder);
    char *index = ant_xasprintf("%s/model.safetensors.index.json", folder);
    int result;
    if (access(single, F_OK) == 0) {
        files->shards = ant_xcalloc(1, sizeof *files->shards);
        result = add_shard(files, folder, "model.safetensors", err);
        if (result == 0)
            result = index_tensors(files, err);
    } else if (access(index, F_OK) == 0) {
        result = open_sharded(files, folder, index, err);
    } else {
        result =
            ant_fail(err, ANT_ENOENT,
                     "'%s' holds no model.safetensors and no model.safetensors.index.json (weights "
                     "of other formats, such as pytorch_model.bin, are not read)",
                     folder);
    }
    free(single);
    free(index);
    return result;
}

static struct ant_digest digest_headers(const struct ant_safetensors *files)
{
    struct ant_digest *parts = ant_xcalloc(2 * files->n_shards, sizeof *parts);
    for (size_t i = 0; i < files->n_shards; i++) {
        const struct shard *shard = &files->shards[i];
        parts[2 * i] = ant_digest(shard->file.data, shard->header_bytes);
        parts[2 * i + 1].low = shard->file.bytes;
    }
    struct ant_digest digest = ant_digest(parts, 2 * files->n_shards * sizeof *parts);
    free(parts);
    return digest;
}

int ant_safetensors_open(struct ant_safetensors **out, const char *folder, struct ant_error *err)
{
    struct ant_safetensors *files = ant_xcalloc(1, sizeof *files);
    int result = open_folder(files, folder, err);
    if (result < 0) {
        ant_safetensors_close(files);
        return result;
    }
    files->digest = digest_headers(files);
    *out = files;
    return 0;
}

void ant_safetensors_close(struct ant_safetensors *files)
{
    if (!files)
        return;
    for (size_t i = 0; i < files->n_tensors; i++)
        free((char *)files->tensors[i].name);
    for (size_t i = 0; i < files->n_shards; i++)
        ant_file_unmap(&files->shards[i].file);
    free(files->tensors);
    free(files->by_name);
    free(files->shards);
    free(files);
}

struct ant_digest ant_safetensors_digest(const struct ant_safetensors *files)
{
    return files->digest;
}

size_t ant_safetensors_count(const struct ant_safetensors *files)
{
    return files->n_tensors;
}

const struct ant_tensor *ant_safetensors_tensor(const struct ant_safetensors *files, size_t index)
{
    return &files->tensors[index];
}

const struct ant_tensor *ant_safetensors_find(const struct ant_safetensors *files, const char *name)
{
    const struct ant_name *found = ant_names_find(files->by_name, files->n_tensors, name);
    return found ? &files->tensors[found->index] : NULL;
}

bool ant_safetensors_data(const struct ant_safetensors *files, size_t index, const void **data,
                          size_t *bytes)
{
    if (index >= files->n_shards)
        return false;
    const struct shard *shard = &files->shards[index];
    *data = shard->file.data + shard->header_bytes;
    *bytes = shard->file.bytes - shard->header_bytes;
    return true;
}
