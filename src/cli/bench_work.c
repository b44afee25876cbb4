/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <math.h>
#include <string.h>

#include "base/checksum.h"
#include "base/mem.h"
#include "cli/bench.h"

static const struct bench_work works[] = {
    {"batch", 256, 0, 128, 128, BENCH_EVEN, 0, 1},
    {"mix", 256, 0, 470, 506, BENCH_MIX, 0, 1},
    {"prefill", 1, 0, 512, 1, BENCH_EVEN, 0, 1},
    {"single", 1, 0, 128, 128, BENCH_EVEN, 0, 1},
    {"prefix", 200, 1000, 32, 32, BENCH_EVEN, 0, 1},
    {"topp", 256, 0, 128, 128, BENCH_EVEN, 0.8f, 0.95f},
    {"uneven", 7, 0, 16, 400, BENCH_ONE_LONG, 0, 1},
    {"W1", 1000, 0, 1024, 128, BENCH_EVEN, 0, 1},
    {"W2", 2000, 0, 128, 128, BENCH_EVEN, 0, 1},
    {"W3", 512, 0, 128, 1024, BENCH_EVEN, 0, 1},
    {"W4", 1, 0, 128, 256, BENCH_EVEN, 0, 1},
    {"W5", 2000, 0, 128, 128, BENCH_EVEN, 0.8f, 0.95f},
    {"W6", 1000, 1024, 64, 64, BENCH_EVEN, 0, 1},
};

const struct bench_work *ant_bench_works(int *n)
{
    *n = (int)(sizeof works / sizeof works[0]);
    return works;
}

/* Lengths that so many of 256 first turns of ShareGPT do not exceed, in tokens of SmolLM2's
 * tokenizer, of those with 4 to 512 tokens on either side (mean 76 in, 230 out). Between them the
 * share grows evenly. */
struct quantile {
    float share, length;
};
static const struct quantile mix_in[] = {
    {0, 4},    {.05f, 6},  {.1f, 8},    {.2f, 11},  {.3f, 14},   {.4f, 18},    {.5f, 25}, {.6f, 40},
    {.7f, 61}, {.8f, 106}, {.85f, 165}, {.9f, 276}, {.95f, 343}, {.975f, 399}, {1, 470},
};
static const struct quantile mix_out[] = {
    {0, 6},      {.05f, 31}, {.1f, 71},   {.2f, 111},   {.3f, 144},
    {.4f, 185},  {.5f, 230}, {.6f, 262},  {.7f, 294},   {.8f, 342},
    {.85f, 381}, {.9f, 410}, {.95f, 445}, {.975f, 489}, {1, 506},
};

static int length_at(const struct quantile *quantiles, double share, int longest)
{
    const struct quantile *q = quantiles + 1;

    while ((double)q->share < share)
        q++;
    double part = (share - (double)q[-1].share) / (double)(q->share - q[-1].share);
    double length = (double)q[-1].length + part * (double)(q->length - q[-1].length);
    /* `longest` is the table's last unless the user has asked for other lengths. */
    length *= (double)longest / (double)quantiles[sizeof mix_in / sizeof *mix_in - 1].length;
    return length < 1 ? 1 : (int)lround(length);
}

/* Shares by multiples of irrational numbers: any stretch of prompts has nearly the whole
 * distribution's mean, and prompt and answer do not go together. */
void ant_bench_lengths(const struct bench_work *work, int i, int *n_prompt, int *n_output)
{
    *n_prompt = work->shared + work->in;
    *n_output = work->out;
    if (work->lengths == BENCH_ONE_LONG && i != work->n / 2)
        *n_output = work->out >= 100 ? work->out / 100 : 1;
    if (work->lengths == BENCH_MIX) {
        *n_prompt =
            work->shared + length_at(mix_in, fmod((i + 0.5) * 0.7548776662466927, 1), work->in);
        *n_output = length_at(mix_out, fmod((i + 0.5) * 0.5698402909980532, 1), work->out);
    }
}

int32_t *ant_bench_prompt(const struct bench_work *work, int vocab, int repetition, int i)
{
    int n, n_output;

    ant_bench_lengths(work, i, &n, &n_output);
    int32_t *tokens = ant_xcalloc((size_t)n, sizeof *tokens);
    /* The key of the beginning that all prompts share, and of this prompt's own tokens. */
    int32_t shared_id[2] = {repetition, -1}, own_id[2] = {repetition, i};
    uint64_t seed = ant_digest(work->name, strlen(work->name)).low;
    uint64_t shared_key = ant_draw_key(seed, shared_id, 2, 0);
    uint64_t key = ant_draw_key(seed, own_id, 2, 0);
    int32_t first = vocab > 512 ? 256 : 0; /* special tokens and single bytes mostly come first */
    for (int t = 0; t < n; t++) {
        float u = ant_draw_uniform(t < work->shared ? shared_key : key, (uint64_t)t);
        tokens[t] = first + (int32_t)((double)u * (vocab - first));
    }
    return tokens;
}
