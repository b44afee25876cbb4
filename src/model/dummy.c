/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "model/dummy.h"

#include "base/mem.h"
#include "model/names.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A uniform number below this and above its negative has a deviation of 0.02. */
#define SPREAD 0.034641f

enum { MAX_THREADS = 16 };

struct ant_dummy {
    struct ant_tensor *tensors; /* owned, with their names */
    struct ant_name *names;     /* owned, sorted */
    size_t n;
    void *pool; /* owned mapping: what matrices are windows of */
    size_t pool_bytes;
    float *ones, *zeros; /* owned: what vectors are windows of */
};

/* ---- well-known shapes: all that decides speed, which scaled rotation does not --------------- */

#define LLAMA(layers, hidden, ff, heads, kv_heads, vocab, context, theta, tied)                    \
    "{\"architectures\": [\"LlamaForCausalLM\"], \"num_hidden_layers\": " #layers                  \
    ", \"hidden_size\": " #hidden ", \"intermediate_size\": " #ff                                  \
    ", \"num_attention_heads\": " #heads ", \"num_key_value_heads\": " #kv_heads                   \
    ", \"vocab_size\": " #vocab ", \"max_position_embeddings\": " #context                         \
    ", \"rope_theta\": " #theta ", \"rms_norm_eps\": 1e-5, \"tie_word_embeddings\": " #tied "}"
#define QWEN2(layers, hidden, ff, heads, kv_heads, vocab, tied)                                    \
    "{\"architectures\": [\"Qwen2ForCausalLM\"], \"num_hidden_layers\": " #layers                  \
    ", \"hidden_size\": " #hidden ", \"intermediate_size\": " #ff                                  \
    ", \"num_attention_heads\": " #heads ", \"num_key_value_heads\": " #kv_heads                   \
    ", \"vocab_size\": " #vocab ", \"max_position_embeddings\": 32768, \"rope_theta\": 1000000"    \
    ", \"rms_norm_eps\": 1e-6, \"tie_word_embeddings\": " #tied "}"

static const struct {
    const char *name, *config;
} shapes[] = {
    {"smollm2-135m", LLAMA(30, 576, 1536, 9, 3, 49152, 8192, 100000, true)},
    {"smollm2-1.7b", LLAMA(24, 2048, 8192, 32, 32, 49152, 8192, 130000, true)},
    {"llama-3.2-1b", LLAMA(16, 2048, 8192, 32, 8, 128256, 131072, 500000, true)},
    {"llama-3.1-8b", LLAMA(32, 4096, 14336, 32, 8, 128256, 131072, 500000, false)},
    {"llama-3.1-70b", LLAMA(80, 8192, 28672, 64, 8, 128256, 131072, 500000, false)},
    {"qwen2.5-0.5b", QWEN2(24, 896, 4864, 14, 2, 151936, true)},
    {"qwen2.5-7b", QWEN2(28, 3584, 18944, 28, 4, 152064, false)},
    {"mixtral-8x7b",
     "{\"architectures\": [\"MixtralForCausalLM\"], \"num_hidden_layers\": 32, "
     "\"hidden_size\": 4096, \"intermediate_size\": 14336, \"num_attention_heads\": 32, "
     "\"num_key_value_heads\": 8, \"num_local_experts\": 8, \"num_experts_per_tok\": 2, "
     "\"vocab_size\": 32000, \"max_position_embeddings\": 32768, \"rope_theta\": 1000000, "
     "\"rms_norm_eps\": 1e-5, \"sliding_window\": null, \"tie_word_embeddings\": false}"},
    {"phi-mini-moe",
     "{\"architectures\": [\"PhiMoEForCausalLM\"], \"num_hidden_layers\": 32, "
     "\"hidden_size\": 4096, \"intermediate_size\": 960, \"num_attention_heads\": 32, "
     "\"num_key_value_heads\": 8, \"head_dim\": 128, \"num_local_experts\": 16, "
     "\"num_experts_per_tok\": 2, \"vocab_size\": 32064, \"max_position_embeddings\": 4096, "
     "\"rope_theta\": 10000, \"rms_norm_eps\": 1e-5, \"sliding_window\": 2047, "
     "\"attention_bias\": true, \"lm_head_bias\": true, \"tie_word_embeddings\": false}"},
};

const char *ant_dummy_config(const char *name, char *known, size_t bytes)
{
    size_t used = 0;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        if (strcmp(shapes[i].name, name) == 0)
            return shapes[i].config;
        if (used < bytes)
            used += (size_t)snprintf(known + used, bytes - used, "%s%s", used ? ", " : "",
                                     shapes[i].name);
    }
    return NULL;
}

/* ---- random blocks --------------------------------------------------------------------------- */

/* 64 random bits of a counter (the output function of SplitMix64). */
static uint64_t bits_of(uint64_t counter)
{
    uint64_t z = (counter + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static float value_of(uint64_t index)
{
    return SPREAD * ((float)(bits_of(index) >> 40) * 0x1p-23f - 1);
}

/* A scale that makes integers up to `max` span the spread, then `bytes` random ones. */
static void fill_quants(uint8_t *out, uint64_t index, float max, int bytes)
{
    uint16_t scale = ant_float_to_half(SPREAD / max);
    memcpy(out, &scale, sizeof scale);
    for (int i = 0; i < bytes; i += 8) {
        uint64_t bits = bits_of(index * 4 + (uint64_t)i / 8);
        memcpy(out + sizeof scale + i, &bits, sizeof bits);
    }
}

static void fill_block(enum ant_type type, uint64_t index, uint8_t *out)
{
    if (type == ANT_Q8_0) {
        fill_quants(out, index, 127, 32);
    } else if (type == ANT_Q4_0) {
        fill_quants(out, index, 8, 16);
    } else {
        float value = value_of(index);
        uint16_t half = type == ANT_F16 ? ant_float_to_half(value) : ant_float_to_bf16(value);
        memcpy(out, type == ANT_F32 ? (void *)&value : &half, type == ANT_F32 ? 4 : 2);
    }
}

struct filler {
    struct ant_dummy *dummy;
    enum ant_type type;
    size_t first, end; /* blocks */
    pthread_t thread;
    bool is_started;
};

static void *filler_main(void *argument)
{
    const struct filler *filler = argument;
    size_t bytes = (size_t)ant_types[filler->type].block_bytes;
    uint8_t *pool = filler->dummy->pool;

    for (size_t i = filler->first; i < filler->end; i++)
        fill_block(filler->type, i, pool + i * bytes);
    return NULL;
}

/* The pool in equal parts by as many threads as the process has cores. */
static void fill_pool(struct ant_dummy *dummy, enum ant_type type)
{
    struct filler fillers[MAX_THREADS];
    size_t n_blocks = dummy->pool_bytes / (size_t)ant_types[type].block_bytes;
    cpu_set_t cpus;
    size_t n = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? (size_t)CPU_COUNT(&cpus) : 1;

    n = n < MAX_THREADS ? n : MAX_THREADS;
    for (size_t i = 0; i < n; i++) {
        struct filler *filler = &fillers[i];
        *filler = (struct filler){dummy, type, n_blocks * i / n, n_blocks * (i + 1) / n, 0, false};
        filler->is_started =
            i + 1 < n && pthread_create(&filler->thread, NULL, filler_main, filler) == 0;
        if (!filler->is_started)
            filler_main(filler);
    }
    for (size_t i = 0; i < n; i++)
        if (fillers[i].is_started)
            pthread_join(fillers[i].thread, NULL);
}

/* ---- tensors --------------------------------------------------------------------------------- */

static bool is_vector(const struct ant_tensor *tensor)
{
    return tensor->n_dims == 1;
}

/* Types and sizes, and how long the pool and the vectors must be. */
static int measure(struct ant_dummy *dummy, enum ant_type type, size_t *longest_vector,
                   struct ant_error *err)
{
    const struct ant_type_facts *facts = &ant_types[type];
    for (size_t i = 0; i < dummy->n; i++) {
        struct ant_tensor *tensor = &dummy->tensors[i];
        int64_t n = ant_tensor_elements(tensor), cols = tensor->shape[tensor->n_dims - 1];
        tensor->type = is_vector(tensor) ? ANT_F32 : type;
        if (!is_vector(tensor) && cols % facts->block != 0)
            return ant_fail(err, ANT_EUSAGE,
                            "'%s' has rows of %lld, which %s cannot hold: it has blocks of %d",
                            tensor->name, (long long)cols, facts->name, facts->block);
        tensor->bytes = ant_row_bytes(tensor->type, n);
        size_t *longest = is_vector(tensor) ? longest_vector : &dummy->pool_bytes;
        if (*longest < tensor->bytes)
            *longest = tensor->bytes;
    }
    return 0;
}

static bool ends_in(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

static void place(struct ant_dummy *dummy, enum ant_type type)
{
    size_t block = (size_t)ant_types[type].block_bytes;
    for (size_t i = 0; i < dummy->n; i++) {
        struct ant_tensor *tensor = &dummy->tensors[i];
        size_t room = (dummy->pool_bytes - tensor->bytes) / block + 1;
        if (is_vector(tensor))
            tensor->data = ends_in(tensor->name, ".bias") ? dummy->zeros : dummy->ones;
        else
            tensor->data = (uint8_t *)dummy->pool + bits_of(i) % room * block;
    }
}

static int fill(struct ant_dummy *dummy, enum ant_type type, bool has_data, struct ant_error *err)
{
    size_t longest_vector = 0;
    ANT_TRY(measure(dummy, type, &longest_vector, err));
    if (!has_data) {
        dummy->pool_bytes = 0;
        return 0;
    }
    ANT_TRY(ant_map_memory(&dummy->pool, dummy->pool_bytes, "random weights", err));
    fill_pool(dummy, type);
    dummy->zeros = ant_xcalloc(longest_vector, 1);
    dummy->ones = ant_xcalloc(longest_vector, 1);
    for (size_t i = 0; i < longest_vector / sizeof *dummy->ones; i++)
        dummy->ones[i] = 1;
    place(dummy, type);
    return 0;
}

int ant_dummy_open(struct ant_dummy **out, struct ant_tensor *tensors, size_t n, enum ant_type type,
                   bool has_data, struct ant_error *err)
{
    struct ant_dummy *dummy = ant_xcalloc(1, sizeof *dummy);
    *dummy = (struct ant_dummy){.tensors = tensors, .n = n};
    dummy->names = ant_xcalloc(n, sizeof *dummy->names);
    for (size_t i = 0; i < n; i++)
        dummy->names[i] = (struct ant_name){tensors[i].name, i};
    ant_names_sort(dummy->names, n);
    int rc = fill(dummy, type, has_data, err);
    if (rc < 0) {
        ant_dummy_close(dummy);
        return rc;
    }
    *out = dummy;
    return 0;
}

void ant_dummy_close(struct ant_dummy *dummy)
{
    if (!dummy)
        return;
    for (size_t i = 0; i < dummy->n; i++)
        free((char *)dummy->tensors[i].name);
    free(dummy->tensors);
    free(dummy->names);
    free(dummy->ones);
    free(dummy->zeros);
    ant_unmap(dummy->pool, dummy->pool_bytes);
    free(dummy);
}

size_t ant_dummy_count(const struct ant_dummy *dummy)
{
    return dummy->n;
}

const struct ant_tensor *ant_dummy_tensor(const struct ant_dummy *dummy, size_t index)
{
    return &dummy->tensors[index];
}

const struct ant_tensor *ant_dummy_find(const struct ant_dummy *dummy, const char *name)
{
    const struct ant_name *found = ant_names_find(dummy->names, dummy->n, name);
    return found ? &dummy->tensors[found->index] : NULL;
}

void ant_dummy_data(const struct ant_dummy *dummy, const void **data, size_t *bytes)
{
    *data = dummy->pool;
    *bytes = dummy->pool_bytes;
}
