/* SPDX-License-Identifier: Apache-2.0 */
/* What one row says, in its columns, of where its answer ends and what may be drawn. A row's list
 * takes the place of the option's. */
#include "config.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/mem.h"
#include "cli/run.h"

enum { MOST_LISTED = 65536 };

/* The value that the row has for this, owned by the caller; NULL where it says nothing. */
static int read_rule(const struct ant_prompt *prompt, enum ant_prompt_rule rule, json_t **out,
                     struct ant_error *err)
{
    const struct ant_prompt_text *text = &prompt->rules[rule];
    bool is_map = rule == ANT_RULE_LOGIT_BIAS;

    *out = NULL;
    if (text->bytes == 0)
        return 0;
    *out = json_loadb(text->text, text->bytes, JSON_REJECT_DUPLICATES, NULL);
    size_t n = is_map ? json_object_size(*out) : json_array_size(*out);
    if ((is_map ? json_is_object(*out) : json_is_array(*out)) && n <= MOST_LISTED)
        return 0;
    json_decref(*out);
    *out = NULL;
    return ant_fail(err, ANT_EDATA, "%s '%.*s' is no JSON %s of at most %d",
                    ant_prompt_rule_name(rule), (int)(text->bytes < 60 ? text->bytes : 60),
                    text->text, is_map ? "object" : "list", MOST_LISTED);
}

static int fail_id(const struct run *run, enum ant_prompt_rule rule, struct ant_error *err)
{
    return ant_fail(err, ANT_EDATA, "%s names something else than tokens of the model (0 to %d)",
                    ant_prompt_rule_name(rule), ant_checkpoint_arch(run->checkpoint)->vocab - 1);
}

static bool is_id(const struct run *run, json_int_t id)
{
    return id >= 0 && id < ant_checkpoint_arch(run->checkpoint)->vocab;
}

/* A list of ids to the end of an array that has room for them. */
static int add_ids(const struct run *run, enum ant_prompt_rule rule, const json_t *list,
                   int32_t *to, int *n, struct ant_error *err)
{
    size_t i;
    json_t *item;

    json_array_foreach(list, i, item)
    {
        if (!json_is_integer(item) || !is_id(run, json_integer_value(item)))
            return fail_id(run, rule, err);
        to[(*n)++] = (int32_t)json_integer_value(item);
    }
    return 0;
}

/* ---- where it ends --------------------------------------------------------------------------- */

/* A text, or a JSON list of texts. */
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

static int row_stop_texts(const struct ant_prompt *prompt, const struct ant_stops *from,
                          struct ant_stops *to, struct ant_error *err)
{
    int most = from->n_strings > ANT_MOST_STOPS ? from->n_strings : ANT_MOST_STOPS;
    const char **strings = ant_xcalloc((size_t)most, sizeof(*strings));

    to->strings = strings;
    if (prompt->stop_bytes == 0) {
        for (; to->n_strings < from->n_strings; to->n_strings++)
            strings[to->n_strings] = ant_xstrdup(from->strings[to->n_strings]);
        return 0;
    }
    char *text = ant_xstrndup(prompt->stop, prompt->stop_bytes);
    int rc = add_stops(to, strings, text, err);
    free(text);
    return rc;
}

/* The model's own stay. */
static int row_stop_ids(const struct run *run, const struct ant_prompt *prompt,
                        const struct ant_stops *from, struct ant_stops *to, struct ant_error *err)
{
    json_t *list;
    ANT_TRY(read_rule(prompt, ANT_RULE_STOP_IDS, &list, err));
    int kept = list ? from->n_eos : from->n_ids;
    int32_t *ids = ant_xcalloc((size_t)kept + json_array_size(list) + 1, sizeof(*ids));

    memcpy(ids, from->ids, (size_t)kept * sizeof(*ids));
    to->ids = ids;
    to->n_eos = from->n_eos;
    to->n_ids = kept;
    int rc = add_ids(run, ANT_RULE_STOP_IDS, list, ids, &to->n_ids, err);
    json_decref(list);
    return rc;
}

static int row_stops(const struct run *run, const struct ant_prompt *prompt,
                     struct ant_request *request, struct ant_error *err)
{
    const struct ant_stops *from = request->stops;

    if (prompt->stop_bytes == 0 && prompt->rules[ANT_RULE_STOP_IDS].bytes == 0)
        return 0;
    struct ant_stops *to = ant_xcalloc(1, sizeof(*to));
    request->stops = request->own_stops = to;
    ANT_TRY(row_stop_texts(prompt, from, to, err));
    return row_stop_ids(run, prompt, from, to, err);
}

/* ---- what is drawn --------------------------------------------------------------------------- */

/* The option's list, where the row has none of its own. */
static void *copy_list(const void *from, int n, size_t width)
{
    void *to = ant_xcalloc((size_t)n + 1, width);

    if (n > 0)
        memcpy(to, from, (size_t)n * width);
    return to;
}

/* "5": 1.5 as a bias. */
static int read_bias(const struct run *run, const char *name, const json_t *value,
                     struct ant_bias *out, struct ant_error *err)
{
    char *end;

    errno = 0;
    long id = strtol(name, &end, 10);
    if (errno || end == name || *end || !is_id(run, id))
        return fail_id(run, ANT_RULE_LOGIT_BIAS, err);
    if (!json_is_number(value) || !(fabs(json_number_value(value)) <= RUN_MOST_BIAS))
        return ant_fail(err, ANT_EDATA, "logit_bias of %ld is no number between %g and %g", id,
                        -RUN_MOST_BIAS, RUN_MOST_BIAS);
    *out = (struct ant_bias){(int32_t)id, (float)json_number_value(value)};
    return 0;
}

static int row_bias(const struct run *run, const struct ant_prompt *prompt,
                    const struct ant_rules *from, struct ant_rules *to, struct ant_error *err)
{
    const char *name;
    json_t *map, *value;
    ANT_TRY(read_rule(prompt, ANT_RULE_LOGIT_BIAS, &map, err));
    if (!map) {
        to->bias = copy_list(from->bias, from->n_bias, sizeof(*to->bias));
        to->n_bias = from->n_bias;
        return 0;
    }
    struct ant_bias *bias = ant_xcalloc(json_object_size(map) + 1, sizeof(*bias));
    int rc = 0;

    to->bias = bias;
    json_object_foreach(map, name, value)
    {
        if (rc == 0)
            rc = read_bias(run, name, value, &bias[to->n_bias], err);
        to->n_bias += rc == 0;
    }
    json_decref(map);
    return rc;
}

static int row_allowed(const struct run *run, const struct ant_prompt *prompt,
                       const struct ant_rules *from, struct ant_rules *to, struct ant_error *err)
{
    json_t *list;
    ANT_TRY(read_rule(prompt, ANT_RULE_ALLOWED, &list, err));
    if (!list) {
        to->allowed = copy_list(from->allowed, from->n_allowed, sizeof(*to->allowed));
        to->n_allowed = from->n_allowed;
        return 0;
    }
    int32_t *ids = ant_xcalloc(json_array_size(list) + 1, sizeof(*ids));

    to->allowed = ids;
    int rc = add_ids(run, ANT_RULE_ALLOWED, list, ids, &to->n_allowed, err);
    json_decref(list);
    return rc;
}

static int row_bad_words(const struct run *run, const struct ant_prompt *prompt,
                         const struct ant_rules *from, struct ant_rules *to, struct ant_error *err)
{
    json_t *list, *item;
    size_t i;
    ANT_TRY(read_rule(prompt, ANT_RULE_BAD_WORDS, &list, err));
    size_t n = list ? 2 * json_array_size(list) : (size_t)from->n_bad_words;
    struct ant_ids *words = ant_xcalloc(n + 1, sizeof(*words));
    int rc = 0;

    to->bad_words = words;
    for (; !list && to->n_bad_words < from->n_bad_words; to->n_bad_words++) {
        const struct ant_ids *word = &from->bad_words[to->n_bad_words];
        ant_ids_append(&words[to->n_bad_words], word->data, word->len);
    }
    json_array_foreach(list, i, item)
    {
        if (rc == 0 && json_string_length(item) == 0)
            rc = ant_fail(err, ANT_EDATA, "bad_words: item %zu is no text", i + 1);
        if (rc == 0)
            rc = ant_run_add_word(run, json_string_value(item), words, &to->n_bad_words, err);
    }
    json_decref(list);
    return rc;
}

int ant_run_row_rules(const struct run *run, const struct ant_prompt *prompt,
                      struct ant_request *request, struct ant_error *err)
{
    const struct ant_rules *from = request->rules;

    if (run->is_scored) /* nothing is drawn */
        return 0;
    ANT_TRY(row_stops(run, prompt, request, err));
    if (prompt->rules[ANT_RULE_LOGIT_BIAS].bytes + prompt->rules[ANT_RULE_ALLOWED].bytes +
            prompt->rules[ANT_RULE_BAD_WORDS].bytes ==
        0)
        return 0;
    struct ant_rules *to = ant_xcalloc(1, sizeof(*to));
    request->rules = request->own_rules = to;
    ANT_TRY(row_bias(run, prompt, from, to, err));
    ANT_TRY(row_allowed(run, prompt, from, to, err));
    return row_bad_words(run, prompt, from, to, err);
}
