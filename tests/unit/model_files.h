/* SPDX-License-Identifier: Apache-2.0 */
/* Model files for tests: pieces of GGUF and safetensors to build any file of, good or bad, and
 * whole tiny models with seeded random weights. Each weight depends on seed, role and layer alone,
 * so the same model can be written in both formats. Whatever cannot be written ends the test. */
#ifndef ANT_TESTS_MODEL_FILES_H
#define ANT_TESTS_MODEL_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "fixture.h"
#include "model/arch.h"
#include "model/tensor.h"

/* ---- Pieces, added to the end of a buffer ---------------------------------------------------- */

void put_u32(struct ant_buf *buf, uint32_t value);
void put_u64(struct ant_buf *buf, uint64_t value);
void put_text(struct ant_buf *buf, const char *text); /* length and bytes */

/* GGUF: the preamble, then keys, then tensor descriptions, then padding and data. */
void gguf_begin(struct ant_buf *buf, uint32_t version, uint64_t n_tensors, uint64_t n_keys);
void gguf_key_u32(struct ant_buf *buf, const char *key, uint32_t value);
void gguf_key_f32(struct ant_buf *buf, const char *key, float value);
void gguf_key_bool(struct ant_buf *buf, const char *key, bool value);
void gguf_key_text(struct ant_buf *buf, const char *key, const char *value);
/* Starts an array; its `count` elements of GGUF value type `element` are the caller's to put. */
void gguf_key_array(struct ant_buf *buf, const char *key, uint32_t element, uint64_t count);
/* `shape` slowest first, as in ant_tensor; `type` as the file numbers types. */
void gguf_tensor(struct ant_buf *buf, const char *name, int n_dims, const int64_t *shape,
                 uint32_t type, uint64_t offset);
uint32_t gguf_type(enum ant_type type);
void gguf_pad(struct ant_buf *buf, size_t alignment);

/* A safetensors file of this header and that many zero bytes of data. */
void safetensors_file(struct ant_buf *buf, const char *header, size_t data_bytes);

/* ---- Whole models ---------------------------------------------------------------------------- */

struct tiny_model {
    const char *family; /* "llama" (the default), "qwen2", or, as a folder, "mistral" */
    /* 0: 2 layers of 64 dimensions, 96 feed-forward, 4 heads, 2 kv heads, heads of hidden /
     * n_heads, 384 words, 512 tokens of context */
    int n_layers, hidden, ff, n_heads, n_kv_heads, head_dim, vocab, context;
    double theta; /* 0: 10000 */
    bool tied;
    bool bias;   /* llama: attention_bias; qwen2 has its biases anyway */
    bool llama3; /* scaled rope: factor 8, original context 64 */
    int window;  /* mistral */
    uint64_t seed;
    /* Of the matrices; F32 when left out. Vectors are F32 always. Folders take F32, F16, BF16. */
    enum ant_type types[ANT_N_ROLES];
};

/* All matrices of one type. */
void tiny_set_types(struct tiny_model *model, enum ant_type type);

/* With a byte-level tokenizer: ids 0 to 255 are the bytes, then a few merged pairs, then
 * "<|im_start|>" and "<|im_end|>", the ends of a text, and unused ids up to `vocab`. */
void tiny_write_gguf(const char *path, const struct tiny_model *model);
void tiny_write_folder(const char *folder, const struct tiny_model *model);

/* The weights of one role in Hugging Face's order of rows, as they lie in the file. Caller frees
 * with ant_buf_release. */
void tiny_weights(struct ant_buf *out, const struct tiny_model *model, enum ant_role role,
                  int layer);

#endif
