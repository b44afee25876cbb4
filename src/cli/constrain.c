/* SPDX-License-Identifier: Apache-2.0 */
/* What the options and the rows say about which answers are possible at all. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/file.h"
#include "base/mem.h"
#include "cli/run.h"

enum { LARGEST_SCHEMA = 4 << 20 };

enum { N_KEPT = 64 };

/* What a rank's constraints may take together: far more than usual ones need, as many as are in
 * flight at once. */
#define MOST_BYTES ((size_t)2 << 30)

struct run_constraints {
    struct ant_token_tree *tree;       /* owned; NULL: not needed yet */
    struct ant_constraint *of_options; /* owned; NULL: none */
    struct kept {                      /* of rows, the newest: others will have the same */
        struct ant_digest digest;
        struct ant_constraint *constraint; /* owned */
    } kept[N_KEPT];
    int newest;
    struct ant_constraint_room room;
};

/* --choice as a list in JSON. */
static int list_choices(const struct ant_option_list *list, char **out, struct ant_error *err)
{
    json_t *choices = json_array();
    int rc = 0;

    for (int i = 0; i < list->count && rc == 0; i++) {
        json_t *choice = json_string(list->items[i]);
        if (!choice)
            rc = ant_fail(err, ANT_EUSAGE, "--choice '%s' is not UTF-8", list->items[i]);
        else
            json_array_append_new(choices, choice);
    }
    if (rc == 0)
        *out = json_dumps(choices, JSON_COMPACT);
    json_decref(choices);
    return rc;
}

/* A file can change while its name stays: the job is one of this very schema. */
static void note_schema(struct run *run, const char *text)
{
    char digest[ANT_DIGEST_TEXT];
    struct ant_buf lines = {0};

    ant_digest_text(digest, ant_digest(text, strlen(text)));
    ant_buf_printf(&lines, "%sjson-schema-digest=%s\n", run->answers ? run->answers : "", digest);
    free(run->answers);
    run->answers = lines.data;
}

/* The constraint of the options as kind and text, which the caller frees; at most one is given. */
static int find_option(struct run *run, enum ant_constraint_kind *kind, char **text,
                       const char **name, struct ant_error *err)
{
    const struct run_settings *settings = &run->settings;
    int n = (settings->choices.count > 0) + (settings->regex != NULL) +
            (settings->json_schema != NULL) + settings->json;

    *kind = ANT_CONSTRAINT_NONE;
    if (n > 1)
        return ant_fail(err, ANT_EUSAGE,
                        "only one of --choice, --regex, --json-schema and --json can be met");
    if (settings->choices.count > 0) {
        *kind = ANT_CONSTRAINT_CHOICE;
        *name = "--choice";
        return list_choices(&settings->choices, text, err);
    }
    if (settings->regex) {
        *kind = ANT_CONSTRAINT_REGEX;
        *name = "--regex";
        *text = ant_xstrdup(settings->regex);
    } else if (settings->json) {
        *kind = ANT_CONSTRAINT_SCHEMA;
        *name = "--json";
        *text = ant_xstrdup("{\"type\": \"object\"}");
    } else if (settings->json_schema) {
        *kind = ANT_CONSTRAINT_SCHEMA;
        *name = settings->json_schema;
        ANT_TRY(ant_file_read(text, NULL, settings->json_schema, LARGEST_SCHEMA, err));
        note_schema(run, *text);
    }
    return 0;
}

static const struct ant_token_tree *tree_of(const struct run *run)
{
    struct run_constraints *own = run->constraints;

    if (!own->tree)
        own->tree = ant_token_tree_open(run->tokenizer, ant_checkpoint_arch(run->checkpoint)->vocab,
                                        run->stops.ids, run->stops.n_eos);
    return own->tree;
}

int ant_run_collect_constraint(struct run *run, struct ant_error *err)
{
    enum ant_constraint_kind kind;
    const char *name = NULL;
    char *text = NULL;
    int rc = find_option(run, &kind, &text, &name, err);

    run->constraints = ant_xcalloc(1, sizeof(*run->constraints));
    run->constraints->room.most = MOST_BYTES;
    if (rc == 0 && kind != ANT_CONSTRAINT_NONE) {
        rc = ant_constraint_open(&run->constraints->of_options, kind, text, strlen(text),
                                 tree_of(run), err);
        if (rc < 0)
            ant_fail_in(err, rc, "'%s'", name);
        else
            ant_constraint_join(run->constraints->of_options, &run->constraints->room);
    }
    free(text);
    return rc;
}

static int check_backend(const struct run *run, struct ant_error *err)
{
    if (run->facts.masks_logits)
        return 0;
    return ant_fail(err, ANT_EUNSUPP,
                    "choices, regular expressions and JSON schemas are not possible with the "
                    "backend '%s' of this version: take --backend cpu",
                    run->ops->name);
}

int ant_run_check_constraint(const struct run *run, struct ant_error *err)
{
    bool has_any = run->constraints && run->constraints->of_options;

    if (run->prompts && !run->is_scored)
        has_any |= ant_prompts_have_constraints(run->prompts);
    return has_any ? check_backend(run, err) : 0;
}

/* The constraint of a row, which is kept for others. */
static int find_kept(const struct run *run, const struct ant_prompt *prompt,
                     struct ant_constraint **out, struct ant_error *err)
{
    struct run_constraints *own = run->constraints;
    struct ant_digest digest = ant_digest(prompt->constraint, prompt->constraint_bytes);

    digest.low ^= (uint64_t)prompt->constraint_kind;
    for (int i = 0; i < N_KEPT; i++) {
        const struct kept *kept = &own->kept[i];
        *out = kept->constraint;
        if (*out && kept->digest.low == digest.low && kept->digest.high == digest.high)
            return 0;
    }
    ANT_TRY(ant_constraint_open(out, prompt->constraint_kind, prompt->constraint,
                                prompt->constraint_bytes, tree_of(run), err));
    ant_constraint_join(*out, &own->room);
    own->newest = (own->newest + 1) % N_KEPT;
    ant_constraint_release(own->kept[own->newest].constraint);
    own->kept[own->newest] = (struct kept){digest, *out};
    return 0;
}

int ant_run_hold_constraint(const struct run *run, const struct ant_prompt *prompt,
                            struct ant_constraint **out, struct ant_error *err)
{
    struct ant_constraint *constraint = run->constraints ? run->constraints->of_options : NULL;

    *out = NULL;
    if (run->is_scored)
        return 0;
    if (prompt->constraint_kind != ANT_CONSTRAINT_NONE)
        ANT_TRY(find_kept(run, prompt, &constraint, err));
    if (constraint)
        *out = ant_constraint_hold(constraint);
    return 0;
}

void ant_run_release_constraints(struct run *run)
{
    if (!run->constraints)
        return;
    ant_constraint_release(run->constraints->of_options);
    for (int i = 0; i < N_KEPT; i++)
        ant_constraint_release(run->constraints->kept[i].constraint);
    ant_token_tree_close(run->constraints->tree);
    free(run->constraints);
    free(run->settings.choices.items);
}
