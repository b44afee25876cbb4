/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/mem.h"
#include "cli/run.h"
#include "engine/edits.h"

/* What adding to a logit may come to, as in the OpenAI interface. */
#define MOST_BIAS 100.0

/* The id at the beginning of an option's value, which `end` must follow. */
static int read_id(const struct run *run, const char *option, const char *text, char end,
                   int32_t *out, struct ant_error *err)
{
    int vocab = ant_checkpoint_arch(run->checkpoint)->vocab;
    char *rest;

    errno = 0;
    long id = strtol(text, &rest, 10);
    if (errno || rest == text || *rest != end || id < 0 || id >= vocab)
        return ant_fail(err, ANT_EUSAGE, "--%s '%s' is no token of the model (0 to %d)%s", option,
                        text, vocab - 1, end ? " and a number" : "");
    *out = (int32_t)id;
    return 0;
}

static int read_ids(const struct run *run, const char *option, const struct ant_option_list *list,
                    int32_t *out, struct ant_error *err)
{
    for (int i = 0; i < list->count; i++)
        ANT_TRY(read_id(run, option, list->items[i], '\0', &out[i], err));
    return 0;
}

static int collect_stops(struct run *run, struct ant_error *err)
{
    enum { MAX_EOS = 16 };
    const struct run_settings *settings = &run->settings;
    struct ant_stops *stops = &run->stops;
    int32_t *ids = ant_xcalloc((size_t)(MAX_EOS + settings->stop_ids.count), sizeof(*ids));

    stops->ids = ids;
    stops->n_eos = ant_checkpoint_stop_ids(run->checkpoint, run->tokenizer, ids, MAX_EOS);
    stops->n_ids = stops->n_eos + settings->stop_ids.count;
    ANT_TRY(read_ids(run, "stop-token-id", &settings->stop_ids, ids + stops->n_eos, err));
    for (int i = 0; i < settings->stop.count; i++)
        if (!*settings->stop.items[i])
            return ant_fail(err, ANT_EUSAGE, "--stop is empty: it would end every answer at once");
    stops->strings = settings->stop.items;
    stops->n_strings = settings->stop.count;
    return 0;
}

/* A text, or a JSON list of texts, as the end of an array of a request. */
static int add_stops(struct ant_stops *stops, const char **strings, const char *text,
                     struct ant_error *err)
{
    json_t *list = *text == '[' ? json_loads(text, 0, NULL) : json_pack("[s]", text), *item;
    int rc = 0;
    size_t i;

    if (!json_is_array(list) || json_array_size(list) > ANT_MOST_STOPS)
        rc = ant_fail(err, ANT_EDATA, "stop '%.60s' is no list of at most %d texts", text,
                      ANT_MOST_STOPS);
    json_array_foreach(list, i, item)
    {
        if (rc == 0 && json_string_length(item) == 0)
            rc = ant_fail(err, ANT_EDATA, "stop '%.60s' has something else than texts in it", text);
        if (rc == 0)
            strings[stops->n_strings++] = ant_xstrdup(json_string_value(item));
    }
    json_decref(list);
    return rc;
}

int ant_run_row_stops(const struct ant_prompt *prompt, struct ant_request *request,
                      struct ant_error *err)
{
    struct ant_stops *stops;
    const char **strings;

    if (prompt->stop_bytes == 0)
        return 0;
    char *text = ant_xstrndup(prompt->stop, prompt->stop_bytes);
    stops = ant_xcalloc(1, sizeof(*stops));
    strings = ant_xcalloc(ANT_MOST_STOPS, sizeof(*strings));
    *stops = *request->stops;
    stops->strings = strings;
    stops->n_strings = 0;
    request->stops = request->own_stops = stops;
    int rc = add_stops(stops, strings, text, err);
    free(text);
    return rc;
}

static int collect_biases(struct run *run, struct ant_error *err)
{
    const struct ant_option_list *list = &run->settings.logit_bias;
    struct ant_bias *bias = ant_xcalloc((size_t)list->count + 1, sizeof(*bias));

    run->rules.bias = bias;
    run->rules.n_bias = list->count;
    for (int i = 0; i < list->count; i++) {
        char *end = NULL;
        ANT_TRY(read_id(run, "logit-bias", list->items[i], '=', &bias[i].id, err));
        const char *number = strchr(list->items[i], '=') + 1;
        double value = strtod(number, &end);
        if (end == number || *end || !(fabs(value) <= MOST_BIAS))
            return ant_fail(err, ANT_EUSAGE, "--logit-bias '%s': not between %g and %g",
                            list->items[i], -MOST_BIAS, MOST_BIAS);
        bias[i].value = (float)value;
    }
    return 0;
}

/* A word is other tokens where a space comes before it. */
static int collect_bad_words(struct run *run, struct ant_error *err)
{
    const struct ant_option_list *list = &run->settings.bad_words;
    struct ant_ids *words = ant_xcalloc(2 * (size_t)list->count + 1, sizeof(*words));
    struct ant_buf spaced = {0};
    int rc = 0;

    run->rules.bad_words = words;
    for (int i = 0; i < list->count && rc == 0; i++) {
        if (!*list->items[i]) {
            rc = ant_fail(err, ANT_EUSAGE, "--bad-words is empty: it would forbid everything");
            break;
        }
        spaced.len = 0;
        ant_buf_printf(&spaced, " %s", list->items[i]);
        for (size_t skip = 0; skip < 2 && rc == 0; skip++) {
            struct ant_ids *word = &words[run->rules.n_bad_words];
            rc = ant_tokenizer_encode(run->tokenizer, spaced.data + skip, spaced.len - skip, false,
                                      word, err);
            run->rules.n_bad_words += word->len > 0;
        }
    }
    ant_buf_release(&spaced);
    return rc;
}

static int collect_sampling(struct run *run, struct ant_error *err)
{
    const struct run_settings *settings = &run->settings;

    run->sampling = (struct ant_sampling){
        .max_tokens = settings->max_tokens,
        .min_tokens = settings->min_tokens,
        .temperature = (float)settings->temperature,
        .top_p = (float)settings->top_p,
        .min_p = (float)settings->min_p,
        .typical_p = (float)settings->typical_p,
        .top_k = settings->top_k,
        .seed = settings->seed,
        .repetition_penalty = (float)settings->repetition_penalty,
        .presence_penalty = (float)settings->presence_penalty,
        .frequency_penalty = (float)settings->frequency_penalty,
        .ignore_eos = settings->ignore_eos,
        .max_repeats = settings->max_repeats,
    };
    return ant_sampling_check(&run->sampling, err);
}

int ant_run_collect_rules(struct run *run, struct ant_error *err)
{
    const struct ant_option_list *allowed = &run->settings.allowed_ids;
    int32_t *ids = ant_xcalloc((size_t)allowed->count + 1, sizeof(*ids));

    run->rules.allowed = ids;
    run->rules.n_allowed = allowed->count;
    ANT_TRY(collect_sampling(run, err));
    ANT_TRY(read_ids(run, "allowed-token-id", allowed, ids, err));
    ANT_TRY(collect_stops(run, err));
    ANT_TRY(collect_biases(run, err));
    return collect_bad_words(run, err);
}

int ant_run_check_edits(const struct run *run, const struct ant_sampling *sampling,
                        struct ant_error *err)
{
    if (run->facts.edits_logits || !ant_edits_are_wanted(sampling, &run->rules))
        return 0;
    return ant_fail(err, ANT_EUNSUPP,
                    "penalties, biases, allowed and bad words are not possible with the backend "
                    "'%s' of this version: take --backend cpu",
                    run->ops->name);
}

void ant_run_release_rules(struct run *run)
{
    for (int i = 0; i < 2 * run->settings.bad_words.count && run->rules.bad_words; i++)
        ant_ids_release((struct ant_ids *)&run->rules.bad_words[i]);
    free((void *)run->rules.bad_words);
    free((void *)run->rules.bias);
    free((void *)run->rules.allowed);
    free((void *)run->stops.ids);
    free(run->settings.logit_bias.items);
    free(run->settings.allowed_ids.items);
    free(run->settings.bad_words.items);
}
