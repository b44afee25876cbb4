/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/run.h"
#include "engine/edits.h"

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
        if (end == number || *end || !(fabs(value) <= RUN_MOST_BIAS))
            return ant_fail(err, ANT_EUSAGE, "--logit-bias '%s': not between %g and %g",
                            list->items[i], -RUN_MOST_BIAS, RUN_MOST_BIAS);
        bias[i].value = (float)value;
    }
    return 0;
}

/* A word is other tokens where a space comes before it: up to two lists of ids, behind the `n`. */
int ant_run_add_word(const struct run *run, const char *text, struct ant_ids *words, int *n,
                     struct ant_error *err)
{
    struct ant_buf spaced = {0};
    int rc = 0;

    ant_buf_printf(&spaced, " %s", text);
    for (size_t skip = 0; skip < 2 && rc == 0; skip++) {
        struct ant_ids *word = &words[*n];
        rc = ant_tokenizer_encode(run->tokenizer, spaced.data + skip, spaced.len - skip, false,
                                  word, err);
        *n += word->len > 0;
    }
    ant_buf_release(&spaced);
    return rc;
}

static int collect_bad_words(struct run *run, struct ant_error *err)
{
    const struct ant_option_list *list = &run->settings.bad_words;
    struct ant_ids *words = ant_xcalloc(2 * (size_t)list->count + 1, sizeof(*words));

    run->rules.bad_words = words;
    for (int i = 0; i < list->count; i++) {
        if (!*list->items[i])
            return ant_fail(err, ANT_EUSAGE, "--bad-words is empty: it would forbid everything");
        ANT_TRY(ant_run_add_word(run, list->items[i], words, &run->rules.n_bad_words, err));
    }
    return 0;
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
                        const struct ant_rules *rules, struct ant_error *err)
{
    if (run->facts.edits_logits || !ant_edits_are_wanted(sampling, rules))
        return 0;
    return ant_fail(err, ANT_EUNSUPP,
                    "penalties, biases, allowed and bad words are not possible with the backend "
                    "'%s' of this version: take --backend cpu",
                    run->ops->name);
}

void ant_run_release_rules(struct run *run)
{
    ant_rules_release(&run->rules);
    free((void *)run->stops.ids);
    free(run->settings.logit_bias.items);
    free(run->settings.allowed_ids.items);
    free(run->settings.bad_words.items);
}
