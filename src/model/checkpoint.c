/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "model/checkpoint.h"

#include "base/mem.h"
#include "model/dummy.h"
#include "model/family.h"
#include "model/gguf.h"
#include "model/json.h"
#include "model/role.h"
#include "model/safetensors.h"
#include "text/chat.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_JSON_BYTES = 16 << 20, MAX_STOP_IDS = 64, MAX_NAME = 256, N_EXPERT_ROLES = 3 };

struct ant_checkpoint {
    char *path; /* owned; a folder's without slash at the end */
    char format[16];
    struct ant_gguf *gguf;         /* owned; this one */
    struct ant_safetensors *files; /* or this one */
    struct ant_dummy *dummy;       /* or this one */
    struct ant_arch arch;
    struct ant_tensor *roles;       /* owned (n_layers, ANT_N_ROLES); no name: not there */
    struct ant_tensor *experts;     /* owned (n_layers, n_experts, N_EXPERT_ROLES) */
    bool *is_used;                  /* owned, a tensor */
    int32_t stop_ids[MAX_STOP_IDS]; /* as the files say */
    int n_stop_ids;
    struct ant_digest digest;
};

/* ---- Which tensor plays which role ----------------------------------------------------------- */

/* Tensors without a role that may be there, by the end of their names: they only repeat what the
 * settings say. */
static const char *const harmless_ends[] = {".attn_rot_embd.weight", ".rotary_emb.inv_freq"};

/* "(64, 128)" */
static const char *show_shape(char text[100], const int64_t *shape, int n_dims)
{
    int used = snprintf(text, 100, "(");
    for (int i = 0; i < n_dims; i++)
        used +=
            snprintf(text + used, (size_t)(100 - used), i ? ", %lld" : "%lld", (long long)shape[i]);
    snprintf(text + used, (size_t)(100 - used), ")");
    return text;
}

static int check_tensor(const struct ant_checkpoint *checkpoint, const struct ant_tensor *tensor,
                        const struct ant_role_place *place, struct ant_error *err)
{
    char found[100], expected[100];
    if (tensor->n_dims != place->n_dims ||
        memcmp(tensor->shape, place->shape, (size_t)place->n_dims * sizeof *place->shape) != 0)
        return ant_fail(err, ANT_EDATA, "'%s': tensor '%s' has shape %s, expected %s",
                        checkpoint->path, tensor->name,
                        show_shape(found, tensor->shape, tensor->n_dims),
                        show_shape(expected, place->shape, place->n_dims));
    if (place->role_dims == 1 && ant_types[tensor->type].block != 1)
        return ant_fail(err, ANT_EUNSUPP,
                        "'%s': tensor '%s' is a vector of type %s; F32, F16 and BF16 are supported",
                        checkpoint->path, tensor->name, ant_types[tensor->type].name);
    return 0;
}

static bool is_role_of_layer(enum ant_role role, int layer)
{
    return layer == 0 || !ant_role_is_global(role);
}

/* How many tensors play `role` in a layer that has it. */
static int count_role(const struct ant_arch *arch, enum ant_role role)
{
    return ant_role_is_expert(role) ? arch->moe.n_experts : 1;
}

/* Where what plays a role is kept; `expert` is 0 for roles outside of experts. */
static struct ant_tensor *slot_of(const struct ant_checkpoint *checkpoint, enum ant_role role,
                                  int layer, int expert)
{
    size_t n_experts = (size_t)checkpoint->arch.moe.n_experts;
    if (!ant_role_is_expert(role))
        return &checkpoint->roles[layer * ANT_N_ROLES + (int)role];
    return &checkpoint->experts[((size_t)layer * n_experts + (size_t)expert) * N_EXPERT_ROLES +
                                (role - ANT_W_EXPERT_GATE)];
}

/* Finds what plays a role: a tensor, or some rows of one. */
static int bind_role(struct ant_checkpoint *checkpoint, const struct ant_role_place *place,
                     struct ant_tensor *out, struct ant_error *err)
{
    const struct ant_tensor *tensor = ant_checkpoint_find(checkpoint, place->name);
    if (!tensor)
        return ant_fail(err, ANT_EDATA, "'%s' has no tensor '%s'", checkpoint->path, place->name);
    ANT_TRY(check_tensor(checkpoint, tensor, place, err));
    *out = *tensor;
    if (place->role_dims == 2) {
        size_t row_bytes = ant_row_bytes(tensor->type, place->role_shape[1]);
        out->n_dims = 2;
        memcpy(out->shape, place->role_shape, sizeof place->role_shape);
        out->data = (const uint8_t *)tensor->data + (size_t)place->first * row_bytes;
        out->bytes = (size_t)place->role_shape[0] * row_bytes;
    }
    checkpoint->is_used[tensor - ant_checkpoint_tensor(checkpoint, 0)] = true;
    return 0;
}

static int bind_roles(struct ant_checkpoint *checkpoint, struct ant_error *err)
{
    const struct ant_arch *arch = &checkpoint->arch;
    size_t n_layers = (size_t)arch->n_layers;
    checkpoint->roles = ant_xcalloc(n_layers * ANT_N_ROLES, sizeof *checkpoint->roles);
    checkpoint->experts = ant_xcalloc(n_layers * ((size_t)arch->moe.n_experts + 1) * N_EXPERT_ROLES,
                                      sizeof *checkpoint->experts);
    checkpoint->is_used =
        ant_xcalloc(ant_checkpoint_count(checkpoint) + 1, sizeof *checkpoint->is_used);
    for (int layer = 0; layer < arch->n_layers; layer++)
        for (int role = 0; role < ANT_N_ROLES; role++)
            for (int i = 0; is_role_of_layer(role, layer) && i < count_role(arch, role); i++) {
                struct ant_role_place place;
                if (ant_role_find(&place, arch, checkpoint->gguf != NULL, role, layer, i))
                    ANT_TRY(
                        bind_role(checkpoint, &place, slot_of(checkpoint, role, layer, i), err));
            }
    return 0;
}

/* Of a layer behind the last, which some families have for drafting answers. */
static bool is_extra(const struct ant_checkpoint *checkpoint, const char *name)
{
    static const char prefix[] = "model.layers.";
    size_t bytes = sizeof prefix - 1;
    return ant_family_of(&checkpoint->arch)->has_extra_layers &&
           strncmp(name, prefix, bytes) == 0 &&
           strtol(name + bytes, NULL, 10) >= checkpoint->arch.n_layers;
}

static bool is_harmless(const struct ant_checkpoint *checkpoint, const char *name)
{
    size_t bytes = strlen(name);
    for (size_t i = 0; i < sizeof harmless_ends / sizeof harmless_ends[0]; i++) {
        size_t end = strlen(harmless_ends[i]);
        if (bytes > end && strcmp(name + bytes - end, harmless_ends[i]) == 0)
            return true;
    }
    return is_extra(checkpoint, name) ||
           (checkpoint->arch.rope.has_factors && strncmp(name, "rope_f", 6) == 0);
}

/* A file may hold the output matrix although its settings say that it is the embedding. Readers
 * differ in what they make of that; there is no question only if both are the same. */
static int check_tied_copy(const struct ant_checkpoint *checkpoint, const struct ant_tensor *copy,
                           struct ant_error *err)
{
    const struct ant_tensor *embed = &checkpoint->roles[ANT_W_EMBED];
    if (copy->type == embed->type && copy->bytes == embed->bytes &&
        memcmp(copy->data, embed->data, copy->bytes) == 0)
        return 0;
    return ant_fail(err, ANT_EDATA,
                    "'%s' ties the embeddings, but its tensors '%s' and '%s' are not the same",
                    checkpoint->path, copy->name, embed->name);
}

/* A tensor that the family does not know would be left out of the computation in silence. */
static int check_leftovers(const struct ant_checkpoint *checkpoint, struct ant_error *err)
{
    size_t count = ant_checkpoint_count(checkpoint);
    const char *output = checkpoint->gguf ? "output.weight" : "lm_head.weight";
    int result = 0;
    for (size_t i = 0; i < count && result == 0; i++) {
        const struct ant_tensor *tensor = ant_checkpoint_tensor(checkpoint, i);
        if (checkpoint->is_used[i] || is_harmless(checkpoint, tensor->name))
            continue;
        if (strcmp(tensor->name, output) == 0)
            result = check_tied_copy(checkpoint, tensor, err);
        else
            result = ant_fail(err, ANT_EUNSUPP,
                              "'%s': tensor '%s' has no place in a %s model with these settings",
                              checkpoint->path, tensor->name, checkpoint->arch.family);
    }
    return result;
}

/* ---- Opening --------------------------------------------------------------------------------- */

static void add_stop_id(struct ant_checkpoint *checkpoint, int64_t id)
{
    if (checkpoint->n_stop_ids < MAX_STOP_IDS)
        checkpoint->stop_ids[checkpoint->n_stop_ids++] = (int32_t)id;
}

static int open_gguf(struct ant_checkpoint *checkpoint, struct ant_error *err)
{
    static const char *const stop_keys[] = {"tokenizer.ggml.eos_token_id",
                                            "tokenizer.ggml.eot_token_id",
                                            "tokenizer.ggml.eom_token_id"};
    ANT_TRY(ant_gguf_open(&checkpoint->gguf, checkpoint->path, err));
    snprintf(checkpoint->format, sizeof checkpoint->format, "GGUF v%d",
             ant_gguf_version(checkpoint->gguf));
    checkpoint->digest = ant_gguf_digest(checkpoint->gguf);
    ANT_TRY(ant_arch_read_gguf(&checkpoint->arch, checkpoint->gguf, err));
    for (size_t i = 0; i < sizeof stop_keys / sizeof stop_keys[0]; i++) {
        int64_t id;
        int found = ant_gguf_get_int(checkpoint->gguf, stop_keys[i], 0, UINT32_MAX, &id, err);
        ANT_TRY(found);
        if (found > 0 && id <= INT32_MAX) /* 2^32 - 1 stands for none */
            add_stop_id(checkpoint, id);
    }
    return 0;
}

/* eos_token_id: a number, a list of numbers, or null. */
static int read_stop_ids(struct ant_checkpoint *checkpoint, struct ant_json json,
                         struct ant_error *err)
{
    const json_t *value = json_object_get(json.object, "eos_token_id");
    size_t n = json_is_array(value) ? json_array_size(value) : value && !json_is_null(value);
    if (n > MAX_STOP_IDS / 2) /* half for each of the two files */
        return ant_fail(err, ANT_EDATA, "%s: %zu ids in 'eos_token_id', more than %d", json.where,
                        n, MAX_STOP_IDS / 2);
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_is_array(value) ? json_array_get(value, i) : value;
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) > INT32_MAX)
            return ant_fail(err, ANT_EDATA, "%s: 'eos_token_id' holds something that is no id",
                            json.where);
        add_stop_id(checkpoint, json_integer_value(id));
    }
    return 0;
}

/* Reads `name` in the folder with `read`. */
static int read_json(struct ant_checkpoint *checkpoint, const char *name, struct ant_digest *digest,
                     int (*read)(struct ant_checkpoint *, struct ant_json, struct ant_error *),
                     struct ant_error *err)
{
    char *path = ant_xasprintf("%s/%s", checkpoint->path, name);
    char *where = ant_xasprintf("'%s'", path);
    json_t *root = NULL;
    int result = ant_json_load(&root, path, MAX_JSON_BYTES, digest, err);
    if (result == 0)
        result = read(checkpoint, (struct ant_json){root, where}, err);
    json_decref(root);
    free(where);
    free(path);
    return result;
}

static int read_settings(struct ant_checkpoint *checkpoint, struct ant_json json,
                         struct ant_error *err)
{
    ANT_TRY(ant_arch_read_config(&checkpoint->arch, json, err));
    return read_stop_ids(checkpoint, json, err);
}

/* A folder without config.json: say what the user may have meant. */
static int fail_no_config(const char *folder, struct ant_error *err)
{
    DIR *dir = opendir(folder);
    char name[MAX_NAME] = "";
    int n_gguf = 0;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        size_t bytes = strlen(entry->d_name);
        if (bytes > 5 && strcmp(entry->d_name + bytes - 5, ".gguf") == 0) {
            snprintf(name, sizeof name, "%s", entry->d_name);
            n_gguf++;
        }
    }
    if (dir)
        closedir(dir);
    if (n_gguf == 1)
        return ant_fail(err, ANT_ENOENT,
                        "'%s' has no config.json; to use its GGUF file name '%s/%s'", folder,
                        folder, name);
    return ant_fail(err, ANT_ENOENT, "'%s' has no config.json%s", folder,
                    n_gguf ? "; to use one of its GGUF files name that file"
                           : ": it is not the folder of a Hugging Face model");
}

static int open_folder(struct ant_checkpoint *checkpoint, struct ant_error *err)
{
    struct ant_digest digests[3] = {{0, 0}}; /* config, generation config, tensor headers */
    char *config = ant_xasprintf("%s/config.json", checkpoint->path);
    bool has_config = access(config, F_OK) == 0;
    free(config);
    if (!has_config)
        return fail_no_config(checkpoint->path, err);
    snprintf(checkpoint->format, sizeof checkpoint->format, "safetensors");
    ANT_TRY(read_json(checkpoint, "config.json", &digests[0], read_settings, err));
    int result = read_json(checkpoint, "generation_config.json", &digests[1], read_stop_ids, err);
    if (result != ANT_ENOENT) /* it need not be there */
        ANT_TRY(result);
    ANT_TRY(ant_safetensors_open(&checkpoint->files, checkpoint->path, err));
    digests[2] = ant_safetensors_digest(checkpoint->files);
    checkpoint->digest = ant_digest(digests, sizeof digests);
    return 0;
}

static int open_path(struct ant_checkpoint *checkpoint, struct ant_error *err)
{
    static const char end[] = ".safetensors";
    size_t bytes = strlen(checkpoint->path), end_bytes = sizeof end - 1;
    struct stat status;
    if (stat(checkpoint->path, &status) != 0)
        return ant_fail(err, errno == ENOENT ? ANT_ENOENT : ANT_EIO,
                        "cannot open '%s': %s (a model is a GGUF file or a folder of this machine: "
                        "nothing is downloaded)",
                        checkpoint->path, strerror(errno));
    if (bytes > end_bytes && strcmp(checkpoint->path + bytes - end_bytes, end) == 0)
        return ant_fail(err, ANT_EUSAGE,
                        "'%s' holds only tensors; name the folder that it is in, with its "
                        "config.json and tokenizer.json",
                        checkpoint->path);
    if (S_ISDIR(status.st_mode))
        ANT_TRY(open_folder(checkpoint, err));
    else
        ANT_TRY(open_gguf(checkpoint, err));
    ANT_TRY(bind_roles(checkpoint, err));
    return check_leftovers(checkpoint, err);
}

static struct ant_checkpoint *new_checkpoint(const char *path)
{
    struct ant_checkpoint *checkpoint = ant_xcalloc(1, sizeof *checkpoint);
    size_t bytes = strlen(path);
    while (bytes > 1 && path[bytes - 1] == '/')
        bytes--;
    checkpoint->path = ant_xstrndup(path, bytes);
    return checkpoint;
}

static int finish_open(struct ant_checkpoint **out, struct ant_checkpoint *checkpoint, int result)
{
    if (result < 0)
        ant_checkpoint_close(checkpoint);
    else
        *out = checkpoint;
    return result;
}

int ant_checkpoint_open(struct ant_checkpoint **out, const char *path, struct ant_error *err)
{
    struct ant_checkpoint *checkpoint = new_checkpoint(path);
    return finish_open(out, checkpoint, open_path(checkpoint, err));
}

/* ---- A model of random weights --------------------------------------------------------------- */

/* A shape by its name, or a config.json, or the folder of one. */
static int load_shape(json_t **out, const char *shape, struct ant_digest *digest,
                      struct ant_error *err)
{
    char known[256];
    struct stat status;
    const char *config = ant_dummy_config(shape, known, sizeof known);
    if (config) {
        *digest = ant_digest(config, strlen(config));
        return ant_json_parse(out, config, strlen(config), shape, err);
    }
    if (stat(shape, &status) != 0)
        return ant_fail(err, ANT_ENOENT,
                        "'%s' is neither a config.json nor a known shape (known: %s)", shape,
                        known);
    char *path =
        S_ISDIR(status.st_mode) ? ant_xasprintf("%s/config.json", shape) : ant_xstrdup(shape);
    int result = ant_json_load(out, path, MAX_JSON_BYTES, digest, err);
    free(path);
    return result;
}

/* Every tensor that the model's roles are in. */
static struct ant_tensor *list_roles(const struct ant_checkpoint *checkpoint, size_t *n)
{
    const struct ant_arch *arch = &checkpoint->arch;
    size_t a_layer = ANT_N_ROLES + (size_t)arch->moe.n_experts * N_EXPERT_ROLES;
    struct ant_tensor *list = ant_xcalloc((size_t)arch->n_layers * a_layer, sizeof *list);
    *n = 0;
    for (int layer = 0; layer < arch->n_layers; layer++)
        for (int role = 0; role < ANT_N_ROLES; role++)
            for (int i = 0; is_role_of_layer(role, layer) && i < count_role(arch, role); i++) {
                struct ant_role_place place;
                if (!ant_role_find(&place, arch, false, role, layer, i) || place.first > 0)
                    continue;
                list[*n].name = ant_xstrdup(place.name);
                list[*n].n_dims = place.n_dims;
                memcpy(list[*n].shape, place.shape, sizeof place.shape);
                ++*n;
            }
    return list;
}

static int open_dummy(struct ant_checkpoint *checkpoint, enum ant_type type, bool has_data,
                      struct ant_error *err)
{
    json_t *root;
    size_t n;
    ANT_TRY(load_shape(&root, checkpoint->path, &checkpoint->digest, err));
    char *where = ant_xasprintf("'%s'", checkpoint->path);
    int result = ant_arch_read_config(&checkpoint->arch, (struct ant_json){root, where}, err);
    free(where);
    json_decref(root);
    ANT_TRY(result);
    snprintf(checkpoint->format, sizeof checkpoint->format, "random %s", ant_types[type].name);
    checkpoint->digest.low ^= (uint64_t)type + 1;
    struct ant_tensor *tensors = list_roles(checkpoint, &n);
    ANT_TRY(ant_dummy_open(&checkpoint->dummy, tensors, n, type, has_data, err));
    return bind_roles(checkpoint, err);
}

int ant_checkpoint_open_dummy(struct ant_checkpoint **out, const char *shape, enum ant_type type,
                              struct ant_error *err)
{
    struct ant_checkpoint *checkpoint = new_checkpoint(shape);
    return finish_open(out, checkpoint, open_dummy(checkpoint, type, true, err));
}

int ant_checkpoint_open_shape(struct ant_checkpoint **out, const char *shape, enum ant_type type,
                              struct ant_error *err)
{
    struct ant_checkpoint *checkpoint = new_checkpoint(shape);
    return finish_open(out, checkpoint, open_dummy(checkpoint, type, false, err));
}

void ant_checkpoint_close(struct ant_checkpoint *checkpoint)
{
    if (!checkpoint)
        return;
    ant_gguf_close(checkpoint->gguf);
    ant_safetensors_close(checkpoint->files);
    ant_dummy_close(checkpoint->dummy);
    free(checkpoint->roles);
    free(checkpoint->experts);
    free(checkpoint->is_used);
    free(checkpoint->path);
    free(checkpoint);
}

/* ---- What was opened ------------------------------------------------------------------------- */

const char *ant_checkpoint_path(const struct ant_checkpoint *checkpoint)
{
    return checkpoint->path;
}

const char *ant_checkpoint_format(const struct ant_checkpoint *checkpoint)
{
    return checkpoint->format;
}

const struct ant_arch *ant_checkpoint_arch(const struct ant_checkpoint *checkpoint)
{
    return &checkpoint->arch;
}

size_t ant_checkpoint_count(const struct ant_checkpoint *checkpoint)
{
    if (checkpoint->dummy)
        return ant_dummy_count(checkpoint->dummy);
    return checkpoint->gguf ? ant_gguf_count(checkpoint->gguf)
                            : ant_safetensors_count(checkpoint->files);
}

const struct ant_tensor *ant_checkpoint_tensor(const struct ant_checkpoint *checkpoint,
                                               size_t index)
{
    if (checkpoint->dummy)
        return ant_dummy_tensor(checkpoint->dummy, index);
    return checkpoint->gguf ? ant_gguf_tensor(checkpoint->gguf, index)
                            : ant_safetensors_tensor(checkpoint->files, index);
}

const struct ant_tensor *ant_checkpoint_find(const struct ant_checkpoint *checkpoint,
                                             const char *name)
{
    if (checkpoint->dummy)
        return ant_dummy_find(checkpoint->dummy, name);
    return checkpoint->gguf ? ant_gguf_find(checkpoint->gguf, name)
                            : ant_safetensors_find(checkpoint->files, name);
}

const struct ant_tensor *ant_checkpoint_role(const struct ant_checkpoint *checkpoint,
                                             enum ant_role role, int layer)
{
    return ant_checkpoint_expert(checkpoint, role, layer, 0);
}

const struct ant_tensor *ant_checkpoint_expert(const struct ant_checkpoint *checkpoint,
                                               enum ant_role role, int layer, int expert)
{
    if (role == ANT_W_OUTPUT && checkpoint->arch.tied)
        role = ANT_W_EMBED;
    const struct ant_tensor *tensor = slot_of(checkpoint, role, layer, expert);
    return tensor->name ? tensor : NULL;
}

struct ant_digest ant_checkpoint_digest(const struct ant_checkpoint *checkpoint)
{
    return checkpoint->digest;
}

int ant_checkpoint_tokenizer(const struct ant_checkpoint *checkpoint, struct ant_tokenizer **out,
                             struct ant_error *err)
{
    if (checkpoint->dummy)
        return ant_fail(err, ANT_EUNSUPP, "'%s' has random weights and no tokenizer",
                        checkpoint->path);
    if (checkpoint->gguf)
        return ant_tokenizer_open_gguf(out, checkpoint->gguf, err);
    char *path = ant_xasprintf("%s/tokenizer.json", checkpoint->path);
    char *model = ant_xasprintf("%s/tokenizer.model", checkpoint->path);
    int result;
    if (access(path, F_OK) == 0)
        result = ant_tokenizer_open_json(out, path, err);
    else if (access(model, F_OK) == 0)
        result = ant_tokenizer_open_model(out, model, err);
    else
        result = ant_fail(err, ANT_ENOENT,
                          "'%s' has neither tokenizer.json nor tokenizer.model: put the one that "
                          "the model came with beside its config.json",
                          checkpoint->path);
    free(path);
    free(model);
    return result;
}

int ant_checkpoint_chat_template(const struct ant_checkpoint *checkpoint, char **out,
                                 struct ant_error *err)
{
    if (checkpoint->dummy)
        return 0;
    if (checkpoint->gguf)
        return ant_chat_find_gguf(out, checkpoint->gguf, err);
    return ant_chat_find_folder(out, checkpoint->path, err);
}

/* Adds `id` to `out` unless it is there; returns the new count. */
static int add_id(int32_t *out, int n, int max, int32_t id)
{
    for (int i = 0; i < n; i++)
        if (out[i] == id)
            return n;
    if (id >= 0 && n < max)
        out[n++] = id;
    return n;
}

int ant_checkpoint_stop_ids(const struct ant_checkpoint *checkpoint,
                            const struct ant_tokenizer *tokenizer, int32_t *out, int max)
{
    /* Texts that chat models end a turn or a text with, whatever the files call them. */
    static const char *const ends[] = {
        "<|im_end|>",    "<|eot_id|>",      "<|eom_id|>",      "<|end|>",
        "<|endoftext|>", "<|end_of_text|>", "<|end_of_turn|>", "<end_of_turn>",
    };
    int n = 0;
    for (int i = 0; i < checkpoint->n_stop_ids; i++)
        n = add_id(out, n, max, checkpoint->stop_ids[i]);
    n = add_id(out, n, max, ant_tokenizer_eos(tokenizer));
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        int id = ant_tokenizer_find(tokenizer, ends[i]);
        if (id >= 0 && ant_tokenizer_is_special(tokenizer, id))
            n = add_id(out, n, max, id);
    }
    return n;
}

static void drop(const void *data, size_t bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t start = (uintptr_t)data / page * page;
    if (bytes > 0) /* only advice: a refusal changes nothing */
        madvise((void *)start, (uintptr_t)data - start + bytes, MADV_DONTNEED);
}

void ant_checkpoint_drop_pages(const struct ant_checkpoint *checkpoint)
{
    const void *data;
    size_t bytes;
    if (checkpoint->dummy) {
        ant_dummy_data(checkpoint->dummy, &data, &bytes);
        drop(data, bytes);
        return;
    }
    for (size_t i = 0; checkpoint->gguf ? ant_gguf_data(checkpoint->gguf, i, &data, &bytes)
                                        : ant_safetensors_data(checkpoint->files, i, &data, &bytes);
         i++)
        drop(data, bytes);
}
