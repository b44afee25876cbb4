/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "engine/stop.h"

#include <string.h>

#include "engine/guide.h"

/* How the answer ends by its newest id: at the model's end of answer, at an id of the user's, or
 * not. */
static enum ant_finish finish_by_id(const struct ant_request *request)
{
    const struct ant_stops *stops = request->stops;
    int32_t id = request->output.data[request->output.len - 1];

    for (int i = request->sampling.ignore_eos ? stops->n_eos : 0; i < stops->n_ids; i++)
        if (stops->ids[i] == id)
            return i < stops->n_eos ? ANT_FINISH_EOS : ANT_FINISH_STOP;
    return ANT_FINISH_NONE;
}

/* The last bytes of the answer's text: the whole piece of the newest token and at least `before`
 * bytes of what comes before it, if there are as many. Returns where in `tail` the newest piece
 * begins. */
static size_t read_tail(const struct ant_request *request, const struct ant_tokenizer *tokenizer,
                        size_t before, struct ant_buf *tail)
{
    const struct ant_ids *output = &request->output;
    size_t first = output->len - 1, have = 0, bytes = 0;

    while (first > 0 && have < before) {
        int32_t id = output->data[--first];
        if (ant_tokenizer_is_special(tokenizer, id))
            continue;
        ant_tokenizer_piece(tokenizer, id, &bytes);
        have += bytes;
    }
    for (size_t i = first; i < output->len; i++) {
        const char *piece = ant_tokenizer_piece(tokenizer, output->data[i], &bytes);
        if (!ant_tokenizer_is_special(tokenizer, output->data[i]))
            ant_buf_add(tail, piece, bytes);
        else
            bytes = 0;
    }
    return tail->len - bytes;
}

/* The stop string that the newest token completes, or -1: of several, the one that ends first. */
static int find_stop_string(const struct ant_request *request,
                            const struct ant_tokenizer *tokenizer)
{
    const struct ant_stops *stops = request->stops;
    struct ant_buf tail = {0};
    const char *first_end = NULL;
    size_t longest = 0;
    int found = -1;

    for (int i = 0; i < stops->n_strings; i++)
        if (strlen(stops->strings[i]) > longest)
            longest = strlen(stops->strings[i]);
    size_t newest = read_tail(request, tokenizer, longest, &tail);
    for (int i = 0; i < stops->n_strings; i++) {
        size_t n = strlen(stops->strings[i]);
        size_t from =
            newest + 1 > n ? newest + 1 - n : 0; /* a match must reach into the newest piece */
        const char *at = tail.len > from
                             ? memmem(tail.data + from, tail.len - from, stops->strings[i], n)
                             : NULL;
        if (at && (!first_end || at + n < first_end)) {
            first_end = at + n;
            found = i;
        }
    }
    ant_buf_release(&tail);
    return found;
}

/* Are the answer's last tokens the same `period` tokens so many times over? */
static bool repeats(const struct ant_ids *output, size_t period, size_t times)
{
    const int32_t *end = output->data + output->len;

    if (output->len < period * times)
        return false;
    for (size_t i = 1; i <= period * (times - 1); i++)
        if (*(end - i) != *(end - i - period))
            return false;
    return true;
}

/* A loop goes round in few tokens, or it is none to speak of. */
static bool is_loop(const struct ant_request *request)
{
    enum { LONGEST_PERIOD = 64 };
    int32_t times = request->sampling.max_repeats;

    for (size_t period = 1; times > 1 && period <= LONGEST_PERIOD; period++)
        if (repeats(&request->output, period, (size_t)times))
            return true;
    return false;
}

bool ant_stop_is_longest(const struct ant_request *request, int n, int max_context)
{
    return n >= request->sampling.max_tokens || request->n_prompt + n >= max_context;
}

void ant_stop_check(struct ant_request *request, const struct ant_tokenizer *tokenizer,
                    int max_context)
{
    const struct ant_sampling *sampling = &request->sampling;
    int n = (int)request->output.len;

    request->stop_string = -1;
    if (request->constraint)
        ant_guide_follow(request);
    if (request->finish == ANT_FINISH_ERROR) /* also where it is an end: it was not allowed */
        return;
    if (n >= sampling->min_tokens) {
        enum ant_finish by_id = finish_by_id(request);
        if (by_id != ANT_FINISH_NONE)
            request->finish = by_id;
        else if (request->stops->n_strings > 0)
            request->stop_string = find_stop_string(request, tokenizer);
        if (request->stop_string >= 0)
            request->finish = ANT_FINISH_STOP;
    }
    if (request->finish == ANT_FINISH_NONE && n >= sampling->min_tokens && is_loop(request))
        request->finish = ANT_FINISH_LOOP;
    if (request->finish == ANT_FINISH_NONE && ant_stop_is_longest(request, n, max_context))
        request->finish = ANT_FINISH_LENGTH;
}

/* Bytes that both begin with. */
static size_t count_shared(const struct ant_buf *a, const char *text, size_t bytes)
{
    size_t n = 0;

    while (n < a->len && n < bytes && a->data[n] == text[n])
        n++;
    return n;
}

/* The answer's text up to the string that its newest token completed: of the places where it
 * stands, the first that reaches into what this token added. */
static size_t length_before(const struct ant_request *request,
                            const struct ant_tokenizer *tokenizer, const char *text, size_t bytes)
{
    const char *string = request->stops->strings[request->stop_string];
    size_t n = strlen(string);
    struct ant_buf before = {0};

    ant_tokenizer_decode(tokenizer, request->output.data, request->output.len - 1, true, &before);
    size_t newest = count_shared(&before, text, bytes);
    size_t from = newest + 1 > n ? newest + 1 - n : 0;
    const char *found = memmem(text + from, bytes - from, string, n);
    ant_buf_release(&before);
    return found ? (size_t)(found - text) : bytes;
}

void ant_stop_text(const struct ant_request *request, const struct ant_tokenizer *tokenizer,
                   struct ant_buf *out)
{
    size_t start = out->len, n = request->output.len;

    if ((request->finish == ANT_FINISH_EOS || request->finish == ANT_FINISH_STOP) &&
        request->stop_string < 0 && n > 0 && finish_by_id(request) == request->finish)
        n--;
    ant_tokenizer_decode(tokenizer, request->output.data, n, true, out);
    if (request->finish == ANT_FINISH_STOP && request->stop_string >= 0 && out->len > start)
        out->len = start + length_before(request, tokenizer, out->data + start, out->len - start);
}
