/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "engine/lookup.h"

/* So many last tokens must have occurred before: with fewer most guesses are wrong. */
enum { GRAM = 3 };

static int32_t token_at(const struct ant_request *request, int i)
{
    return i < request->n_prompt ? request->prompt[i] : request->output.data[i - request->n_prompt];
}

static bool is_gram_at(const struct ant_request *request, int i, const int32_t gram[GRAM])
{
    for (int k = GRAM - 1; k >= 0; k--)
        if (token_at(request, i + k) != gram[k])
            return false;
    return true;
}

/* Of several occurrences the newest. */
int ant_lookup(const struct ant_request *request, int32_t *out, int most)
{
    int n = request->n_prompt + (int)request->output.len, found = 0;
    int32_t gram[GRAM];

    if (n <= GRAM || most < 1)
        return 0;
    for (int k = 0; k < GRAM; k++)
        gram[k] = token_at(request, n - GRAM + k);
    for (int i = n - GRAM - 1; i >= 0; i--) {
        if (!is_gram_at(request, i, gram))
            continue;
        for (int t = i + GRAM; t < n && found < most; t++)
            out[found++] = token_at(request, t);
        break;
    }
    return found;
}
