/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "expected.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

static void die(const char *path, const char *what)
{
    fprintf(stderr, "Bail out! '%s': %s\n", path, what);
    printf("Bail out! '%s': %s\n", path, what);
    exit(1);
}

static void load_ids(struct ant_ids *out, const json_t *array, const char *path)
{
    size_t i;
    const json_t *value;

    if (!json_is_array(array))
        die(path, "ids are missing");
    json_array_foreach(array, i, value) ant_ids_add(out, (int32_t)json_integer_value(value));
}

static float *load_floats(const json_t *array, size_t n, const char *path)
{
    float *out = ant_xcalloc(n + 1, sizeof(*out));

    if (json_array_size(array) != n)
        die(path, "another count of values than of ids");
    for (size_t i = 0; i < n; i++)
        out[i] = (float)json_number_value(json_array_get(array, i));
    return out;
}

/* A tiny model: the logits of all ids. */
static void load_all(struct expected_prompt *prompt, const json_t *logits, int vocab,
                     const char *path)
{
    double low = INFINITY, high = -INFINITY;

    prompt->logits = load_floats(logits, (size_t)vocab, path);
    for (int i = 0; i < vocab; i++) {
        double value = prompt->logits[i];
        ant_ids_add(&prompt->ids, i);
        low = fmin(low, value);
        high = fmax(high, value);
    }
    prompt->width = high - low;
}

/* A real model: the largest logits, and those of evenly spread ids. */
static void load_some(struct expected_prompt *prompt, const json_t *first, int spread,
                      const char *path)
{
    const json_t *spread_values = json_object_get(first, "spread");
    size_t n_spread = json_array_size(spread_values);

    load_ids(&prompt->ids, json_object_get(first, "ids"), path);
    size_t n_top = prompt->ids.len;
    float *top = load_floats(json_object_get(first, "values"), n_top, path);
    float *evenly = load_floats(spread_values, n_spread, path);

    for (size_t i = 0; i < n_spread; i++)
        ant_ids_add(&prompt->ids, (int32_t)i * spread);
    prompt->logits = ant_xcalloc(n_top + n_spread, sizeof(float));
    memcpy(prompt->logits, top, n_top * sizeof(float));
    memcpy(prompt->logits + n_top, evenly, n_spread * sizeof(float));
    prompt->width = top[0] - json_number_value(json_object_get(first, "min"));
    free(top);
    free(evenly);
}

static void load_prompt(struct expected_prompt *out, const json_t *json, int spread, int vocab,
                        const char *path)
{
    const json_t *text = json_object_get(json, "text"), *first = json_object_get(json, "first");

    if (!json_is_string(text))
        die(path, "a prompt has no text");
    out->text = ant_xstrdup(json_string_value(text));
    load_ids(&out->tokens, json_object_get(json, "tokens"), path);
    load_ids(&out->output, json_object_get(json, "output"), path);
    load_ids(&out->second, json_object_get(json, "second"), path);
    out->gap = load_floats(json_object_get(json, "gap"), out->output.len, path);
    if (first)
        load_some(out, first, spread, path);
    else
        load_all(out, json_object_get(json, "logits"), vocab, path);
}

void expected_load(struct expected *out, const char *path, int vocab)
{
    json_error_t error;
    json_t *root = json_load_file(path, 0, &error);

    if (!root)
        die(path, error.text);
    const json_t *prompts = json_object_get(root, "prompts");
    int spread = (int)json_integer_value(json_object_get(root, "spread"));

    *out = (struct expected){.n_prompts = (int)json_array_size(prompts)};
    if (out->n_prompts == 0)
        die(path, "no prompts");
    out->prompts = ant_xcalloc((size_t)out->n_prompts, sizeof(*out->prompts));
    for (int i = 0; i < out->n_prompts; i++) {
        struct expected_prompt *prompt = &out->prompts[i];
        load_prompt(prompt, json_array_get(prompts, (size_t)i), spread, vocab, path);
        if (prompt->second.len != prompt->output.len || prompt->output.len < 4)
            die(path, "an answer is too short, or without the second best of each position");
        if (prompt->tokens.len + prompt->output.len > out->longest)
            out->longest = prompt->tokens.len + prompt->output.len;
    }
    json_decref(root);
}

void expected_free(struct expected *expected)
{
    for (int i = 0; i < expected->n_prompts; i++) {
        struct expected_prompt *prompt = &expected->prompts[i];
        free(prompt->text);
        free(prompt->gap);
        free(prompt->logits);
        ant_ids_release(&prompt->tokens);
        ant_ids_release(&prompt->output);
        ant_ids_release(&prompt->second);
        ant_ids_release(&prompt->ids);
    }
    free(expected->prompts);
}
