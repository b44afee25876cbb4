/* SPDX-License-Identifier: Apache-2.0 */
/* Rotation in a config.json: flat keys, rope_scaling as older files have it, rope_parameters as
 * newer ones do, for all layers or by their type. */
#include "config.h"

#include "model/family.h"

#include "base/mem.h"
#include "model/names.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct scaling {
    struct ant_json config, json; /* the file's object, and the one that scales */
    const struct ant_family *family;
    const struct ant_arch *arch;
    struct ant_rope *rope;
    struct ant_error *err;
};

static int check_rope_keys(const struct scaling *s)
{
    static const char *const known[] = {
        "attention_factor",
        "beta_fast",
        "beta_slow",
        "factor",
        "finetuned",
        "high_freq_factor",
        "long_factor",
        "long_mscale",
        "low_freq_factor",
        "mscale",
        "mscale_all_dim",
        "original_max_position_embeddings",
        "partial_rotary_factor",
        "rope_theta",
        "rope_type",
        "short_factor",
        "short_mscale",
        "truncate",
        "type",
    };
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)s->json.object, key, value)
    {
        size_t i = 0, n = sizeof known / sizeof known[0];
        while (i < n && strcmp(key, known[i]) != 0)
            i++;
        if (i == n && !json_is_null(value))
            return ant_fail(s->err, ANT_EUNSUPP, "%s: '%s' is not supported", s->json.where,
                            ant_name_shown(key));
    }
    return 0;
}

static int get_float(const struct scaling *s, const char *key, double *out)
{
    return ant_json_get_float(s->json, key, out, s->err);
}

static int need_float(const struct scaling *s, const char *key, double *out)
{
    int found = get_float(s, key, out);
    if (found == 0)
        return ant_fail(s->err, ANT_EDATA, "%s has no '%s'", s->json.where, key);
    return found;
}

static int read_original(const struct scaling *s)
{
    static const char key[] = "original_max_position_embeddings";
    int64_t value = s->arch->context;
    ANT_TRY(ant_json_get_int(s->json, key, 1, INT_MAX, &value, s->err));
    ANT_TRY(ant_json_get_int(s->config, key, 1, INT_MAX, &value, s->err));
    s->rope->original_context = (int)value;
    return 0;
}

static int read_linear(const struct scaling *s)
{
    s->rope->kind = ANT_ROPE_LINEAR;
    return need_float(s, "factor", &s->rope->factor);
}

static int read_llama3(const struct scaling *s)
{
    s->rope->kind = ANT_ROPE_LLAMA3;
    ANT_TRY(need_float(s, "factor", &s->rope->factor));
    ANT_TRY(need_float(s, "low_freq_factor", &s->rope->low_freq_factor));
    ANT_TRY(need_float(s, "high_freq_factor", &s->rope->high_freq_factor));
    return read_original(s);
}

static double yarn_magnitude(double factor, double scale)
{
    return factor <= 1 ? 1 : 0.1 * scale * log(factor) + 1;
}

static int read_yarn(const struct scaling *s)
{
    struct ant_rope *rope = s->rope;
    double magnitude = 0, scale = 0, scale_all = 0;
    bool truncate = true;
    ANT_TRY(read_original(s));
    rope->kind = ANT_ROPE_YARN;
    rope->factor = (double)s->arch->context / rope->original_context;
    rope->beta_fast = 32;
    rope->beta_slow = 1;
    ANT_TRY(get_float(s, "factor", &rope->factor));
    ANT_TRY(get_float(s, "beta_fast", &rope->beta_fast));
    ANT_TRY(get_float(s, "beta_slow", &rope->beta_slow));
    ANT_TRY(get_float(s, "mscale", &scale));
    ANT_TRY(get_float(s, "mscale_all_dim", &scale_all));
    ANT_TRY(ant_json_get_bool(s->json, "truncate", &truncate, s->err));
    rope->is_exact = !truncate;
    magnitude = scale != 0 && scale_all != 0
                    ? yarn_magnitude(rope->factor, scale) / yarn_magnitude(rope->factor, scale_all)
                    : yarn_magnitude(rope->factor, 1);
    ANT_TRY(get_float(s, "attention_factor", &magnitude));
    rope->magnitude[0] = rope->magnitude[1] = magnitude;
    return 0;
}

static int read_factors(const struct scaling *s, const char *key, float *out)
{
    const json_t *list = json_object_get(s->json.object, key);
    size_t n = (size_t)s->rope->dim / 2;
    if (json_array_size(list) != n)
        return ant_fail(s->err, ANT_EDATA, "%s: '%s' is no list of %zu numbers", s->json.where, key,
                        n);
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_array_get(list, i);
        if (!json_is_number(value))
            return ant_fail(s->err, ANT_EDATA, "%s: '%s' holds something that is no number",
                            s->json.where, key);
        out[i] = (float)json_number_value(value);
    }
    return 0;
}

static int read_long(const struct scaling *s)
{
    struct ant_rope *rope = s->rope;
    ANT_TRY(read_original(s));
    double factor = (double)s->arch->context / rope->original_context;
    rope->has_factors = true;
    ANT_TRY(read_factors(s, "short_factor", rope->factors[0]));
    ANT_TRY(read_factors(s, "long_factor", rope->factors[1]));
    ANT_TRY(get_float(s, "factor", &factor));
    double magnitude = factor <= 1 ? 1 : sqrt(1 + log(factor) / log(rope->original_context));
    ANT_TRY(get_float(s, "attention_factor", &magnitude));
    rope->magnitude[0] = rope->magnitude[1] = magnitude;
    ANT_TRY(get_float(s, "short_mscale", &rope->magnitude[0]));
    return get_float(s, "long_mscale", &rope->magnitude[1]);
}

static int read_partial(const struct scaling *s)
{
    double part = s->family->default_partial > 0 ? s->family->default_partial : 1;
    ANT_TRY(ant_json_get_float(s->config, "partial_rotary_factor", &part, s->err));
    if (s->json.object)
        ANT_TRY(get_float(s, "partial_rotary_factor", &part));
    if (part != 1 && !(s->family->keys & ANT_KEYS_PARTIAL))
        return ant_fail(s->err, ANT_EUNSUPP,
                        "%s: 'partial_rotary_factor' other than 1 is not supported", s->json.where);
    if (!(part > 0) || !(part <= 1))
        return ant_fail(s->err, ANT_EDATA, "%s: a 'partial_rotary_factor' of %g", s->config.where,
                        part);
    s->rope->dim = (int)(s->arch->head_dim * part);
    return 0;
}

/* What an object says of scaling. */
static int read_scaling(const struct scaling *s)
{
    static const struct {
        const char *name;
        int (*read)(const struct scaling *);
        bool is_long;
    } types[] = {
        {"linear", read_linear, false}, {"llama3", read_llama3, false}, {"yarn", read_yarn, false},
        {"longrope", read_long, true},  {"su", read_long, true},
    };
    const char *type = "default";
    bool is_long = s->family->keys & ANT_KEYS_LONG_ROPE;
    ANT_TRY(check_rope_keys(s));
    ANT_TRY(ant_json_get_string(s->json, "type", &type, s->err)); /* the old name */
    ANT_TRY(ant_json_get_string(s->json, "rope_type", &type, s->err));
    ANT_TRY(get_float(s, "rope_theta", &s->rope->theta));
    if (strcmp(type, "default") == 0)
        return 0;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (strcmp(type, types[i].name) == 0 && types[i].is_long == is_long)
            return types[i].read(s);
    return ant_fail(s->err, ANT_EUNSUPP, "%s: type '%s' is not supported (known: default, %s)",
                    s->json.where, ant_name_shown(type),
                    is_long ? "longrope" : "linear, llama3, yarn");
}

/* One rotation from the object in `parent` called `name`, which may be absent. */
static int read_object(struct scaling s, struct ant_json parent, const char *name)
{
    const json_t *object = json_object_get(parent.object, name);
    if (object && !json_is_null(object) && !json_is_object(object))
        return ant_fail(s.err, ANT_EDATA, "%s: '%s' is not an object", parent.where, name);
    char *where = ant_xasprintf("%s: %s", parent.where, name);
    s.json = (struct ant_json){object, where};
    int result = read_partial(&s);
    if (result == 0 && json_object_size(object) > 0)
        result = read_scaling(&s);
    free(where);
    return result < 0 ? result : 0;
}

/* rope_parameters with an object for each type of layers. */
static bool is_nested(const json_t *object)
{
    return json_object_get(object, "full_attention") ||
           json_object_get(object, "sliding_attention");
}

int ant_config_read_rope(struct ant_json config, const struct ant_family *family,
                         struct ant_arch *arch, struct ant_error *err)
{
    struct scaling global = {config, config, family, arch, &arch->rope, err}, local = global;
    const json_t *parameters = json_object_get(config.object, "rope_parameters");
    const json_t *scaling = json_object_get(config.object, "rope_scaling");
    local.rope = &arch->local_rope;
    arch->rope.dim = arch->local_rope.dim = arch->head_dim;
    arch->rope.theta = family->default_theta > 0 ? family->default_theta : 10000;
    ANT_TRY(ant_json_get_float(config, "rope_theta", &arch->rope.theta, err));
    arch->local_rope.theta = family->default_local_theta;
    if (!family->has_local_rope)
        arch->local_rope = (struct ant_rope){0};
    else if (family->default_local_theta == family->default_theta)
        arch->local_rope.theta = arch->rope.theta; /* one key for both */
    else
        ANT_TRY(ant_json_get_float(config, "rope_local_base_freq", &arch->local_rope.theta, err));
    if (family->has_local_rope && is_nested(parameters)) {
        char *where = ant_xasprintf("%s: rope_parameters", config.where);
        struct ant_json parent = {parameters, where};
        int result = read_object(global, parent, "full_attention");
        if (result == 0)
            result = read_object(local, parent, "sliding_attention");
        free(where);
        return result;
    }
    /* The first that says anything counts, as in transformers. */
    bool is_old = scaling && !json_is_null(scaling) &&
                  !(json_is_object(scaling) && json_object_size(scaling) == 0);
    return read_object(global, config, is_old ? "rope_scaling" : "rope_parameters");
}
