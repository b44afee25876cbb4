/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "model_files.h"

#include "base/file.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

enum { U32 = 4, I32 = 5, F32 = 6, BOOL = 7, STRING = 8, ARRAY = 9 };

/* ---- Pieces ---------------------------------------------------------------------------------- */

static void put(struct ant_buf *buf, uint64_t value, int bytes)
{
    unsigned char *at = ant_buf_grow(buf, (size_t)bytes);
    for (int i = 0; i < bytes; i++)
        at[i] = (unsigned char)(value >> 8 * i);
}

void put_u32(struct ant_buf *buf, uint32_t value)
{
    put(buf, value, 4);
}

void put_u64(struct ant_buf *buf, uint64_t value)
{
    put(buf, value, 8);
}

void put_text(struct ant_buf *buf, const char *text)
{
    put_u64(buf, strlen(text));
    ant_buf_add(buf, text, strlen(text));
}

static void put_f32(struct ant_buf *buf, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_u32(buf, bits);
}

void gguf_begin(struct ant_buf *buf, uint32_t version, uint64_t n_tensors, uint64_t n_keys)
{
    ant_buf_add(buf, "GGUF", 4);
    put_u32(buf, version);
    put_u64(buf, n_tensors);
    put_u64(buf, n_keys);
}

void gguf_key_u32(struct ant_buf *buf, const char *key, uint32_t value)
{
    put_text(buf, key);
    put_u32(buf, U32);
    put_u32(buf, value);
}

void gguf_key_f32(struct ant_buf *buf, const char *key, float value)
{
    put_text(buf, key);
    put_u32(buf, F32);
    put_f32(buf, value);
}

void gguf_key_bool(struct ant_buf *buf, const char *key, bool value)
{
    put_text(buf, key);
    put_u32(buf, BOOL);
    put(buf, value, 1);
}

void gguf_key_text(struct ant_buf *buf, const char *key, const char *value)
{
    put_text(buf, key);
    put_u32(buf, STRING);
    put_text(buf, value);
}

void gguf_key_array(struct ant_buf *buf, const char *key, uint32_t element, uint64_t count)
{
    put_text(buf, key);
    put_u32(buf, ARRAY);
    put_u32(buf, element);
    put_u64(buf, count);
}

void gguf_tensor(struct ant_buf *buf, const char *name, int n_dims, const int64_t *shape,
                 uint32_t type, uint64_t offset)
{
    put_text(buf, name);
    put_u32(buf, (uint32_t)n_dims);
    for (int i = n_dims - 1; i >= 0; i--)
        put_u64(buf, (uint64_t)shape[i]);
    put_u32(buf, type);
    put_u64(buf, offset);
}

uint32_t gguf_type(enum ant_type type)
{
    static const uint32_t numbers[ANT_N_TYPES] = {
        [ANT_F32] = 0,   [ANT_F16] = 1,   [ANT_BF16] = 30, [ANT_Q8_0] = 8,  [ANT_Q4_0] = 2,
        [ANT_Q4_1] = 3,  [ANT_Q5_0] = 6,  [ANT_Q5_1] = 7,  [ANT_Q2_K] = 10, [ANT_Q3_K] = 11,
        [ANT_Q4_K] = 12, [ANT_Q5_K] = 13, [ANT_Q6_K] = 14,
    };
    return numbers[type];
}

void gguf_pad(struct ant_buf *buf, size_t alignment)
{
    while (buf->len % alignment != 0)
        put(buf, 0, 1);
}

void safetensors_file(struct ant_buf *buf, const char *header, size_t data_bytes)
{
    put_text(buf, header);
    memset(ant_buf_grow(buf, data_bytes), 0, data_bytes);
}

/* ---- Random weights -------------------------------------------------------------------------- */

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

/* Uniform with mean 0 and this standard deviation. */
static float random_value(uint64_t *state, double deviation)
{
    double unit = (double)(next_random(state) >> 11) * 0x1p-53;
    return (float)((unit - 0.5) * sqrt(12) * deviation);
}

/* Where the halves of a quantized block lie, and what they are for elements of deviation 1 when all
 * its other bits are random. */
static const struct {
    int at[2];
    double value[2];
} halves[ANT_N_TYPES] = {
    [ANT_Q8_0] = {{0, -1}, {1 / 74.0}},
    [ANT_Q4_0] = {{0, -1}, {1 / 4.6}},
    [ANT_Q4_1] = {{0, 2}, {1 / 4.6, -7.5 / 4.6}},
    [ANT_Q5_0] = {{0, -1}, {1 / 9.2}},
    [ANT_Q5_1] = {{0, 2}, {1 / 9.2, -15.5 / 9.2}},
    [ANT_Q2_K] = {{80, 82}, {1 / 18.0, 1.5 / 18.0}},
    [ANT_Q3_K] = {{108, -1}, {1 / 42.0}},
    [ANT_Q4_K] = {{0, 2}, {1 / 300.0, 7.5 / 300.0}},
    [ANT_Q5_K] = {{0, 2}, {1 / 600.0, 15.5 / 600.0}},
    [ANT_Q6_K] = {{208, -1}, {1 / 1366.0}},
};

static void random_block(struct ant_buf *out, enum ant_type type, double deviation, uint64_t *state)
{
    int bytes = ant_types[type].block_bytes;
    unsigned char *block = ant_buf_grow(out, (size_t)bytes);
    for (int i = 0; i < bytes; i++)
        block[i] = (unsigned char)(next_random(state) >> 32);
    for (int i = 0; i < 2 && halves[type].at[i] >= 0; i++) {
        uint16_t half = ant_float_to_half((float)(halves[type].value[i] * deviation));
        block[halves[type].at[i]] = (unsigned char)half;
        block[halves[type].at[i] + 1] = (unsigned char)(half >> 8);
    }
}

static void random_elements(struct ant_buf *out, enum ant_type type, int64_t n, double mean,
                            double deviation, uint64_t state)
{
    for (int64_t i = 0; i < n; i += ant_types[type].block) {
        if (ant_types[type].block > 1) {
            random_block(out, type, deviation, &state);
            continue;
        }
        float value = (float)mean + random_value(&state, deviation);
        if (type == ANT_F32)
            put_f32(out, value);
        else
            put(out, type == ANT_F16 ? ant_float_to_half(value) : ant_float_to_bf16(value), 2);
    }
}

/* ---- The model ------------------------------------------------------------------------------- */

static const struct {
    const char *gguf, *hf; /* below the layer's prefix, or whole */
    bool in_layer;
} names[ANT_N_ROLES] = {
    [ANT_W_EMBED] = {"token_embd.weight", "model.embed_tokens.weight", false},
    [ANT_W_FINAL_NORM] = {"output_norm.weight", "model.norm.weight", false},
    [ANT_W_OUTPUT] = {"output.weight", "lm_head.weight", false},
    [ANT_W_ATTN_NORM] = {"attn_norm.weight", "input_layernorm.weight", true},
    [ANT_W_Q] = {"attn_q.weight", "self_attn.q_proj.weight", true},
    [ANT_W_K] = {"attn_k.weight", "self_attn.k_proj.weight", true},
    [ANT_W_V] = {"attn_v.weight", "self_attn.v_proj.weight", true},
    [ANT_W_Q_BIAS] = {"attn_q.bias", "self_attn.q_proj.bias", true},
    [ANT_W_K_BIAS] = {"attn_k.bias", "self_attn.k_proj.bias", true},
    [ANT_W_V_BIAS] = {"attn_v.bias", "self_attn.v_proj.bias", true},
    [ANT_W_O] = {"attn_output.weight", "self_attn.o_proj.weight", true},
    [ANT_W_O_BIAS] = {"attn_output.bias", "self_attn.o_proj.bias", true},
    [ANT_W_MLP_NORM] = {"ffn_norm.weight", "post_attention_layernorm.weight", true},
    [ANT_W_GATE] = {"ffn_gate.weight", "mlp.gate_proj.weight", true},
    [ANT_W_UP] = {"ffn_up.weight", "mlp.up_proj.weight", true},
    [ANT_W_DOWN] = {"ffn_down.weight", "mlp.down_proj.weight", true},
};

/* The model with its defaults filled in. */
static struct tiny_model complete(const struct tiny_model *model)
{
    struct tiny_model full = *model;
    full.family = model->family ? model->family : "llama";
    full.n_layers = model->n_layers ? model->n_layers : 2;
    full.hidden = model->hidden ? model->hidden : 64;
    full.ff = model->ff ? model->ff : 96;
    full.n_heads = model->n_heads ? model->n_heads : 4;
    full.n_kv_heads = model->n_kv_heads ? model->n_kv_heads : 2;
    full.head_dim = model->head_dim ? model->head_dim : full.hidden / full.n_heads;
    full.vocab = model->vocab ? model->vocab : 384;
    full.context = model->context ? model->context : 512;
    full.theta = model->theta > 0 ? model->theta : 10000;
    return full;
}

static bool is_qwen(const struct tiny_model *full)
{
    return strcmp(full->family, "qwen2") == 0;
}

static bool has_role(const struct tiny_model *full, int role)
{
    switch (role) {
    case ANT_W_OUTPUT:
        return !full->tied;
    case ANT_W_Q_BIAS:
    case ANT_W_K_BIAS:
    case ANT_W_V_BIAS:
        return full->bias || is_qwen(full);
    case ANT_W_O_BIAS:
        return full->bias && !is_qwen(full);
    default:
        return names[role].hf != NULL;
    }
}

/* Returns the number of dimensions. */
static int shape_of(const struct tiny_model *full, int role, int64_t shape[2])
{
    int64_t hidden = full->hidden, q = (int64_t)full->n_heads * full->head_dim;
    int64_t kv = (int64_t)full->n_kv_heads * full->head_dim;
    const int64_t shapes[ANT_N_ROLES][2] = {
        [ANT_W_EMBED] = {full->vocab, hidden},
        [ANT_W_FINAL_NORM] = {0, hidden},
        [ANT_W_OUTPUT] = {full->vocab, hidden},
        [ANT_W_ATTN_NORM] = {0, hidden},
        [ANT_W_Q] = {q, hidden},
        [ANT_W_K] = {kv, hidden},
        [ANT_W_V] = {kv, hidden},
        [ANT_W_Q_BIAS] = {0, q},
        [ANT_W_K_BIAS] = {0, kv},
        [ANT_W_V_BIAS] = {0, kv},
        [ANT_W_O] = {hidden, q},
        [ANT_W_O_BIAS] = {0, hidden},
        [ANT_W_MLP_NORM] = {0, hidden},
        [ANT_W_GATE] = {full->ff, hidden},
        [ANT_W_UP] = {full->ff, hidden},
        [ANT_W_DOWN] = {hidden, full->ff},
    };
    if (shapes[role][0] > 0) {
        shape[0] = shapes[role][0];
        shape[1] = shapes[role][1];
        return 2;
    }
    shape[0] = shapes[role][1];
    return 1;
}

static enum ant_type type_of(const struct tiny_model *full, int role)
{
    int64_t shape[2];
    return shape_of(full, role, shape) == 2 ? full->types[role] : ANT_F32;
}

void tiny_set_types(struct tiny_model *model, enum ant_type type)
{
    for (int role = 0; role < ANT_N_ROLES; role++)
        model->types[role] = type;
}

void tiny_weights(struct ant_buf *out, const struct tiny_model *model, enum ant_role role,
                  int layer)
{
    struct tiny_model full = complete(model);
    int64_t shape[2];
    int n_dims = shape_of(&full, role, shape);
    bool is_norm = role == ANT_W_FINAL_NORM || role == ANT_W_ATTN_NORM || role == ANT_W_MLP_NORM;
    double deviation = n_dims == 1 ? 0.1 : 1 / sqrt((double)shape[1]);
    uint64_t state = full.seed * 1000003 + (uint64_t)role * 1009 + (uint64_t)layer;
    random_elements(out, type_of(&full, role), n_dims == 2 ? shape[0] * shape[1] : shape[0],
                    is_norm ? 1 : 0, role == ANT_W_EMBED ? 1 : deviation, state);
}

/* Rows of q and k as GGUF's llama files have them: row i and row i + half of each head become
 * neighbours. */
static void interleave_rows(struct ant_buf *weights, int n_heads, int head_dim)
{
    size_t row = weights->len / (size_t)(n_heads * head_dim);
    char *old = ant_xmalloc(weights->len);
    memcpy(old, weights->data, weights->len);
    for (int head = 0; head < n_heads; head++)
        for (int i = 0; i < head_dim; i++) {
            int from = i / 2 + i % 2 * (head_dim / 2);
            memcpy(weights->data + (size_t)(head * head_dim + i) * row,
                   old + (size_t)(head * head_dim + from) * row, row);
        }
    free(old);
}

static void gguf_weights(struct ant_buf *out, const struct tiny_model *full, int role, int layer)
{
    tiny_weights(out, full, (enum ant_role)role, layer);
    if (is_qwen(full))
        return;
    if (role == ANT_W_Q || role == ANT_W_Q_BIAS)
        interleave_rows(out, full->n_heads, full->head_dim);
    if (role == ANT_W_K || role == ANT_W_K_BIAS)
        interleave_rows(out, full->n_kv_heads, full->head_dim);
}

/* ---- The tokenizer --------------------------------------------------------------------------- */

static const char *const merges[][2] = {{"t", "h"}, {"th", "e"},       {"i", "n"},
                                        {"a", "n"}, {"\xc4\xa0", "t"}, {"\xc4\xa0", "a"}};
enum { N_MERGES = sizeof merges / sizeof merges[0], IM_START = 256 + N_MERGES, IM_END, TEXT_END };

/* The text of token `id`, GPT-2's way: a printable character for each byte. */
static const char *token_text(int id, char text[64])
{
    if (id >= 256 && id < 256 + N_MERGES) {
        snprintf(text, 64, "%s%s", merges[id - 256][0], merges[id - 256][1]);
    } else if (id >= 256) {
        const char *ends[] = {"<|im_start|>", "<|im_end|>", "<|endoftext|>"};
        if (id <= TEXT_END)
            snprintf(text, 64, "%s", ends[id - IM_START]);
        else
            snprintf(text, 64, "<|unused_%d|>", id);
    } else {
        int code = id, n_odd = 0;
        for (int byte = 0; byte <= id; byte++) {
            bool is_plain = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
            code = is_plain ? byte : 256 + n_odd;
            n_odd += !is_plain;
        }
        if (code < 128)
            snprintf(text, 64, "%c", code);
        else
            snprintf(text, 64, "%c%c", 0xc0 | code >> 6, 0x80 | (code & 0x3f));
    }
    return text;
}

static void gguf_tokenizer(struct ant_buf *buf, const struct tiny_model *full)
{
    char text[64];
    gguf_key_text(buf, "tokenizer.ggml.model", "gpt2");
    gguf_key_text(buf, "tokenizer.ggml.pre", "gpt-2");
    gguf_key_array(buf, "tokenizer.ggml.tokens", STRING, (uint64_t)full->vocab);
    for (int id = 0; id < full->vocab; id++)
        put_text(buf, token_text(id, text));
    gguf_key_array(buf, "tokenizer.ggml.token_type", I32, (uint64_t)full->vocab);
    for (int id = 0; id < full->vocab; id++)
        put_u32(buf, id < IM_START ? 1 : id <= TEXT_END ? 3 : 5);
    gguf_key_array(buf, "tokenizer.ggml.merges", STRING, N_MERGES);
    for (int i = 0; i < N_MERGES; i++) {
        snprintf(text, sizeof text, "%s %s", merges[i][0], merges[i][1]);
        put_text(buf, text);
    }
    gguf_key_u32(buf, "tokenizer.ggml.eos_token_id", IM_END);
    gguf_key_bool(buf, "tokenizer.ggml.add_bos_token", false);
}
enum { N_TOKENIZER_KEYS = 7 };

static void json_text(struct ant_buf *out, const char *text)
{
    ant_buf_printf(out, "\"");
    for (; *text; text++)
        ant_buf_printf(out, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
    ant_buf_printf(out, "\"");
}

static void folder_tokenizer(const char *folder, const struct tiny_model *full)
{
    struct ant_buf out = {0};
    char text[64];
    ant_buf_printf(&out, "{\"version\": \"1.0\", \"truncation\": null, \"padding\": null,\n"
                         "\"added_tokens\": [");
    for (int id = IM_START; id < full->vocab; id++) {
        ant_buf_printf(&out, "%s\n{\"id\": %d, \"content\": ", id == IM_START ? "" : ",", id);
        json_text(&out, token_text(id, text));
        ant_buf_printf(&out, ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, "
                             "\"normalized\": false, \"special\": true}");
    }
    ant_buf_printf(&out,
                   "],\n\"normalizer\": null,\n"
                   "\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, "
                   "\"trim_offsets\": true, \"use_regex\": true},\n\"post_processor\": null,\n"
                   "\"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, "
                   "\"trim_offsets\": true, \"use_regex\": true},\n"
                   "\"model\": {\"type\": \"BPE\", \"dropout\": null, \"unk_token\": null, "
                   "\"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, "
                   "\"fuse_unk\": false, \"byte_fallback\": false,\n\"vocab\": {");
    for (int id = 0; id < IM_START; id++) {
        ant_buf_printf(&out, id ? ",\n" : "\n");
        json_text(&out, token_text(id, text));
        ant_buf_printf(&out, ": %d", id);
    }
    ant_buf_printf(&out, "},\n\"merges\": [");
    for (int i = 0; i < N_MERGES; i++)
        ant_buf_printf(&out, "%s\"%s %s\"", i ? ", " : "", merges[i][0], merges[i][1]);
    ant_buf_printf(&out, "]}}\n");
    write_in(folder, "tokenizer.json", out.data, out.len);
    ant_buf_release(&out);
}

/* ---- Whole files ----------------------------------------------------------------------------- */

/* Calls `visit` for every tensor of the model in the usual order of files. */
static void each_tensor(const struct tiny_model *full, void *context,
                        void (*visit)(void *context, const struct tiny_model *full, int role,
                                      int layer))
{
    for (int layer = 0; layer < full->n_layers; layer++)
        for (int role = 0; role < ANT_N_ROLES; role++)
            if (has_role(full, role) && (layer == 0 || names[role].in_layer))
                visit(context, full, role, layer);
}

struct gguf_writer {
    struct ant_buf infos, data;
    uint64_t n_tensors;
};

static void add_gguf(void *context, const struct tiny_model *full, int role, int layer)
{
    struct gguf_writer *writer = context;
    int64_t shape[2];
    int n_dims = shape_of(full, role, shape);
    char name[128] = "";
    if (names[role].in_layer)
        snprintf(name, sizeof name, "blk.%d.", layer);
    size_t prefix = strlen(name);
    snprintf(name + prefix, sizeof name - prefix, "%s", names[role].gguf);
    gguf_pad(&writer->data, 32);
    gguf_tensor(&writer->infos, name, n_dims, shape, gguf_type(type_of(full, role)),
                writer->data.len);
    struct ant_buf weights = {0};
    gguf_weights(&weights, full, role, layer);
    ant_buf_add(&writer->data, weights.data, weights.len);
    ant_buf_release(&weights);
    writer->n_tensors++;
}

/* Divisors of the frequencies with llama3 scaling (factor 8, between 1 and 4 turns within 64
 * positions). */
static void add_factors(struct gguf_writer *writer, const struct tiny_model *full)
{
    int64_t shape[1] = {full->head_dim / 2};
    gguf_pad(&writer->data, 32);
    gguf_tensor(&writer->infos, "rope_freqs.weight", 1, shape, 0, writer->data.len);
    for (int i = 0; i < full->head_dim / 2; i++) {
        double turns = 64 * pow(full->theta, -2.0 * i / full->head_dim) / (2 * M_PI);
        double mix = fmin(fmax((turns - 1) / 3, 0), 1);
        put_f32(&writer->data, (float)(1 / ((1 - mix) / 8 + mix)));
    }
    writer->n_tensors++;
}

void tiny_write_gguf(const char *path, const struct tiny_model *model)
{
    struct tiny_model full = complete(model);
    struct gguf_writer writer = {.n_tensors = 0};
    struct ant_buf out = {0};
    const struct {
        const char *key;
        uint32_t value;
    } sizes[] = {
        {"block_count", (uint32_t)full.n_layers},
        {"embedding_length", (uint32_t)full.hidden},
        {"feed_forward_length", (uint32_t)full.ff},
        {"context_length", (uint32_t)full.context},
        {"attention.head_count", (uint32_t)full.n_heads},
        {"attention.head_count_kv", (uint32_t)full.n_kv_heads},
        {"attention.key_length", (uint32_t)full.head_dim},
        {"attention.value_length", (uint32_t)full.head_dim},
    };
    enum { N_SIZES = sizeof sizes / sizeof sizes[0] };
    char key[64];
    each_tensor(&full, &writer, add_gguf);
    if (full.llama3)
        add_factors(&writer, &full);
    gguf_begin(&out, 3, writer.n_tensors, 1 + N_SIZES + 2 + N_TOKENIZER_KEYS);
    gguf_key_text(&out, "general.architecture", full.family);
    for (int i = 0; i < N_SIZES; i++) {
        snprintf(key, sizeof key, "%s.%s", full.family, sizes[i].key);
        gguf_key_u32(&out, key, sizes[i].value);
    }
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", full.family);
    gguf_key_f32(&out, key, 1e-5f);
    snprintf(key, sizeof key, "%s.rope.freq_base", full.family);
    gguf_key_f32(&out, key, (float)full.theta);
    gguf_tokenizer(&out, &full);
    ant_buf_add(&out, writer.infos.data, writer.infos.len);
    gguf_pad(&out, 32);
    ant_buf_add(&out, writer.data.data, writer.data.len);
    write_file(path, out.data, out.len);
    ant_buf_release(&writer.infos);
    ant_buf_release(&writer.data);
    ant_buf_release(&out);
}

struct folder_writer {
    struct ant_buf header, data;
};

static void add_safetensors(void *context, const struct tiny_model *full, int role, int layer)
{
    struct folder_writer *writer = context;
    int64_t shape[2];
    int n_dims = shape_of(full, role, shape);
    size_t begin = writer->data.len;
    tiny_weights(&writer->data, full, (enum ant_role)role, layer);
    ant_buf_printf(&writer->header, "%s\"", writer->header.len ? ",\n" : "{");
    if (names[role].in_layer)
        ant_buf_printf(&writer->header, "model.layers.%d.", layer);
    ant_buf_printf(&writer->header, "%s\": {\"dtype\": \"%s\", \"shape\": [%lld", names[role].hf,
                   ant_types[type_of(full, role)].name, (long long)shape[0]);
    if (n_dims == 2)
        ant_buf_printf(&writer->header, ", %lld", (long long)shape[1]);
    ant_buf_printf(&writer->header, "], \"data_offsets\": [%zu, %zu]}", begin, writer->data.len);
}

static void folder_config(const char *folder, const struct tiny_model *full)
{
    const char *class = is_qwen(full)                          ? "Qwen2ForCausalLM"
                        : strcmp(full->family, "mistral") == 0 ? "MistralForCausalLM"
                                                               : "LlamaForCausalLM";
    struct ant_buf out = {0};
    ant_buf_printf(&out,
                   "{\"architectures\": [\"%s\"], \"num_hidden_layers\": %d, \"hidden_size\": %d, "
                   "\"intermediate_size\": %d, \"num_attention_heads\": %d, "
                   "\"num_key_value_heads\": %d, \"head_dim\": %d, \"vocab_size\": %d, "
                   "\"max_position_embeddings\": %d, \"rope_theta\": %.17g, "
                   "\"tie_word_embeddings\": %s, \"attention_bias\": %s, \"rms_norm_eps\": 1e-05, "
                   "\"hidden_act\": \"silu\", \"eos_token_id\": %d, ",
                   class, full->n_layers, full->hidden, full->ff, full->n_heads, full->n_kv_heads,
                   full->head_dim, full->vocab, full->context, full->theta,
                   full->tied ? "true" : "false", full->bias ? "true" : "false", IM_END);
    if (full->window)
        ant_buf_printf(&out, "\"sliding_window\": %d, ", full->window);
    else
        ant_buf_printf(&out, "\"sliding_window\": null, ");
    ant_buf_printf(&out, full->llama3
                             ? "\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8.0, "
                               "\"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, "
                               "\"original_max_position_embeddings\": 64}}\n"
                             : "\"rope_scaling\": null}\n");
    write_in(folder, "config.json", out.data, out.len);
    ant_buf_release(&out);
}

void tiny_write_folder(const char *folder, const struct tiny_model *model)
{
    struct tiny_model full = complete(model);
    struct folder_writer writer = {{0}, {0}};
    struct ant_buf out = {0};
    mkdir(folder, 0777); /* may be there */
    each_tensor(&full, &writer, add_safetensors);
    ant_buf_printf(&writer.header, "}");
    while (writer.header.len % 8 != 0)
        ant_buf_printf(&writer.header, " ");
    put_u64(&out, writer.header.len);
    ant_buf_add(&out, writer.header.data, writer.header.len);
    ant_buf_add(&out, writer.data.data, writer.data.len);
    write_in(folder, "model.safetensors", out.data, out.len);
    folder_config(folder, &full);
    folder_tokenizer(folder, &full);
    ant_buf_release(&writer.header);
    ant_buf_release(&writer.data);
    ant_buf_release(&out);
}
