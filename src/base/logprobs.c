/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/logprobs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void ant_logprobs_reserve(struct ant_logprobs *logprobs, uint32_t n)
{
    size_t n_top = (size_t)logprobs->n_top;

    if (n <= logprobs->cap)
        return;
    logprobs->cap = n > 2 * logprobs->cap ? n : 2 * logprobs->cap;
    logprobs->values = ant_xrealloc(logprobs->values, logprobs->cap, sizeof(float));
    if (n_top == 0)
        return;
    logprobs->top_ids = ant_xrealloc(logprobs->top_ids, logprobs->cap, n_top * sizeof(int32_t));
    logprobs->top = ant_xrealloc(logprobs->top, logprobs->cap, n_top * sizeof(float));
}

void ant_logprobs_add(struct ant_logprobs *logprobs, float value, const int32_t *top_ids,
                      const float *top)
{
    ant_logprobs_reserve(logprobs, logprobs->n + 1);
    for (int32_t i = 0; i < logprobs->n_top; i++) {
        size_t at = (size_t)logprobs->n * (size_t)logprobs->n_top + (size_t)i;
        logprobs->top_ids[at] = top_ids ? top_ids[i] : -1;
        logprobs->top[at] = top ? top[i] : NAN;
    }
    logprobs->values[logprobs->n++] = value;
}

double ant_logprobs_sum(const struct ant_logprobs *logprobs)
{
    double sum = 0;

    for (uint32_t i = 0; i < logprobs->n; i++)
        sum += (double)logprobs->values[i];
    return sum;
}

int ant_logprobs_are_greedy(const struct ant_logprobs *logprobs, const int32_t *tokens)
{
    for (uint32_t i = 0; i < logprobs->n; i++)
        if (logprobs->n_top < 1 || logprobs->top_ids[i * (size_t)logprobs->n_top] != tokens[i])
            return 0;
    return 1;
}

void ant_logprobs_release(struct ant_logprobs *logprobs)
{
    free(logprobs->values);
    free(logprobs->top_ids);
    free(logprobs->top);
    *logprobs = (struct ant_logprobs){.n_top = logprobs->n_top};
}
