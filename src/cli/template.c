/* SPDX-License-Identifier: Apache-2.0 */
/* antiphon template: a job template with what is known filled in. Templates hold lines of known
 * form, which are replaced: '#SBATCH --key=value', 'model=...', 'input=...', 'output=...',
 * 'options=(...)'. All else is printed as it is. */
#include "config.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/option.h"
#include "cli/cli.h"
#include "cli/template.h"

struct template_settings {
    const char *model, *input, *output;
    int gpus, gpus_per_node, nodes, ranks_per_node, cpus_per_rank, parts;
    int tp, pp;
    const char *time, *partition, *account, *module;
};

#define AT(member) offsetof(struct template_settings, member)

static const struct ant_option options[] = {
    {ANT_OPTION_HEADING, .name = "What to answer"},
    {ANT_OPTION_TEXT, 'm', "model", "PATH", AT(model), .help = "Default: $MODEL of the job."},
    {ANT_OPTION_TEXT, 'i', "input", "FILE[:/PATH]", AT(input), .help = "Default: $INPUT."},
    {ANT_OPTION_TEXT, 'o', "output", "FILE", AT(output),
     .help = "Default: $OUTPUT, or answers.h5."},

    {ANT_OPTION_HEADING, .name = "On what"},
    {ANT_OPTION_INT, 'g', "gpus", "N", AT(gpus), 1, 1 << 20,
     .help = "GPUs in all, a rank on each."},
    {ANT_OPTION_INT, 0, "gpus-per-node", "N", AT(gpus_per_node), 1, 1024,
     .help = "GPUs of a node. Default 8, or all if they are fewer."},
    {ANT_OPTION_INT, 'N', "nodes", "N", AT(nodes), 1, 1 << 16, .help = "Nodes, on CPUs."},
    {ANT_OPTION_INT, 0, "ranks-per-node", "N", AT(ranks_per_node), 1, 4096,
     .help = "Ranks of a node, on CPUs."},
    {ANT_OPTION_INT, 0, "cpus-per-rank", "N", AT(cpus_per_rank), 1, 4096,
     .help = "Cores of a rank."},
    {ANT_OPTION_INT, 0, "parts", "N", AT(parts), 1, 1 << 20, .help = "Tasks of the array."},
    {ANT_OPTION_TEXT, 't', "time", "LIMIT", AT(time), .help = "Time limit, as sbatch takes it."},
    {ANT_OPTION_TEXT, 'p', "partition", "NAME", AT(partition), .help = "Partition."},
    {ANT_OPTION_TEXT, 'A', "account", "NAME", AT(account), .help = "Account."},
    {ANT_OPTION_TEXT, 0, "module", "NAME", AT(module),
     .help = "Load this module before antiphon is started."},

    {ANT_OPTION_HEADING, .name = "How"},
    {ANT_OPTION_INT, 0, "tp-size", "N", AT(tp), 1, 1024, .help = "Ranks that share each layer."},
    {ANT_OPTION_INT, 0, "pp-size", "N", AT(pp), 1, 1024, .help = "Stages of a replica."},
    {0},
};

static const struct ant_command_help help = {
    .name = "template",
    .summary = "print a job template, filled in",
    .synopsis = "[NAME [options] [-- OPTIONS OF ANTIPHON RUN]]",
    .purpose = "Print the job template NAME with what the options say filled in, ready for sbatch. "
               "Without NAME: which there are.",
    .epilog = "Example: antiphon template gpu --gpus 8 --model Llama-3.1-8B --input prompts.h5 "
              "--time 2:00:00 -- --max-tokens 512 | sbatch",
};

/* ---- the lines to be replaced ---------------------------------------------------------------- */

enum { MOST_KEYS = 12 };

/* '#SBATCH --key=value' */
struct directive {
    const char *key;
    char *value; /* owned */
    bool is_used;
};

struct filler {
    const struct template_settings *settings;
    struct directive directives[MOST_KEYS];
    int n_directives;
    char *const *more; /* options of antiphon run */
    int n_more;
    bool is_past_directives;
};

static void set_text(struct filler *filler, const char *key, const char *value)
{
    if (value)
        filler->directives[filler->n_directives++] =
            (struct directive){.key = key, .value = ant_xstrdup(value)};
}

static void set_number(struct filler *filler, const char *key, int value)
{
    if (value > 0)
        filler->directives[filler->n_directives++] =
            (struct directive){.key = key, .value = ant_xasprintf("%d", value)};
}

/* GPUs in all are nodes times those of a node. */
static int set_gpus(struct filler *filler, struct ant_error *err)
{
    const struct template_settings *settings = filler->settings;
    int each = settings->gpus_per_node ? settings->gpus_per_node : 8;

    if (each > settings->gpus)
        each = settings->gpus;
    if (settings->nodes || settings->ranks_per_node)
        return ant_fail(err, ANT_EUSAGE,
                        "--nodes and --ranks-per-node follow from --gpus and "
                        "--gpus-per-node");
    if (settings->gpus % each != 0)
        return ant_fail(err, ANT_EUSAGE,
                        "%d GPUs are no whole number of nodes of %d: --gpus-per-node says how "
                        "many a node has",
                        settings->gpus, each);
    set_number(filler, "nodes", settings->gpus / each);
    set_number(filler, "ntasks-per-node", each);
    set_number(filler, "gpus-per-node", each);
    return 0;
}

static int set_directives(struct filler *filler, struct ant_error *err)
{
    const struct template_settings *settings = filler->settings;

    if (settings->gpus) {
        ANT_TRY(set_gpus(filler, err));
    } else if (settings->gpus_per_node) {
        return ant_fail(err, ANT_EUSAGE, "--gpus-per-node needs --gpus, how many in all");
    } else {
        set_number(filler, "nodes", settings->nodes);
        set_number(filler, "ntasks-per-node", settings->ranks_per_node);
    }
    set_number(filler, "cpus-per-task", settings->cpus_per_rank);
    if (settings->parts)
        filler->directives[filler->n_directives++] =
            (struct directive){.key = "array", .value = ant_xasprintf("0-%d", settings->parts - 1)};
    set_text(filler, "time", settings->time);
    set_text(filler, "partition", settings->partition);
    set_text(filler, "account", settings->account);
    return 0;
}

/* What follows `start` in the line; NULL: it begins otherwise. */
static const char *behind(const char *line, const char *start)
{
    size_t n = strlen(start);

    return strncmp(line, start, n) == 0 ? line + n : NULL;
}

static bool fill_directive(struct filler *filler, const char *line, struct ant_buf *out)
{
    const char *key = behind(line, "#SBATCH --");
    size_t n = key ? strcspn(key, "=") : 0;

    for (int i = 0; key && i < filler->n_directives; i++) {
        struct directive *directive = &filler->directives[i];
        if (strlen(directive->key) != n || strncmp(directive->key, key, n) != 0)
            continue;
        ant_buf_printf(out, "#SBATCH --%s=%s\n", directive->key, directive->value);
        directive->is_used = true;
        return true;
    }
    return false;
}

/* Behind the last of the template's own: those that it has no line for. */
static void end_directives(struct filler *filler, struct ant_buf *out)
{
    for (int i = 0; i < filler->n_directives; i++)
        if (!filler->directives[i].is_used)
            ant_buf_printf(out, "#SBATCH --%s=%s\n", filler->directives[i].key,
                           filler->directives[i].value);
    if (filler->settings->module) {
        ant_buf_printf(out, "\nmodule load ");
        ant_cli_quote(out, filler->settings->module);
        ant_buf_printf(out, "\n");
    }
    filler->is_past_directives = true;
}

static bool fill_variable(const char *line, const char *start, const char *value,
                          struct ant_buf *out)
{
    if (!value || !behind(line, start))
        return false;
    ant_buf_printf(out, "%s", start);
    ant_cli_quote(out, value);
    ant_buf_printf(out, "\n");
    return true;
}

/* The template's own options stay, but for how a model is shared, if that is asked for. */
static void add_own(const struct filler *filler, const char *own, size_t n, struct ant_buf *out)
{
    bool is_shared = filler->settings->tp > 0 || filler->settings->pp > 0;
    char *words = ant_xstrndup(own, n), *rest = words;

    for (char *word; (word = strtok_r(NULL, " ", &rest));) {
        if (is_shared && strcmp(word, "--tp-size") == 0)
            strtok_r(NULL, " ", &rest);
        else
            ant_buf_printf(out, "%s%s", out->len ? " " : "", word);
    }
    free(words);
}

static bool fill_options(const struct filler *filler, const char *line, struct ant_buf *out)
{
    const struct template_settings *settings = filler->settings;
    const char *own = behind(line, "options=(");
    struct ant_buf words = {0};

    if (!own)
        return false;
    size_t n = strcspn(own, ")");
    add_own(filler, own, n, &words);
    if (settings->tp > 0)
        ant_buf_printf(&words, "%s--tp-size %d", words.len ? " " : "", settings->tp);
    if (settings->pp > 0)
        ant_buf_printf(&words, "%s--pp-size %d", words.len ? " " : "", settings->pp);
    for (int i = 0; i < filler->n_more; i++) {
        ant_buf_printf(&words, "%s", words.len ? " " : "");
        ant_cli_quote(&words, filler->more[i]);
    }
    ant_buf_printf(out, "options=(%s)%s\n", words.len ? words.data : "", own + n + (own[n] == ')'));
    ant_buf_release(&words);
    return true;
}

static void fill_line(struct filler *filler, const char *line, struct ant_buf *out)
{
    const struct template_settings *settings = filler->settings;

    if (*line == '\0' && !filler->is_past_directives)
        end_directives(filler, out);
    if (fill_directive(filler, line, out) || fill_variable(line, "model=", settings->model, out) ||
        fill_variable(line, "input=", settings->input, out) ||
        fill_variable(line, "output=", settings->output, out) || fill_options(filler, line, out))
        return;
    ant_buf_printf(out, "%s\n", line);
}

static void fill(struct filler *filler, const char *text, struct ant_buf *out)
{
    while (*text) {
        size_t n = strcspn(text, "\n");
        char *line = ant_xstrndup(text, n);
        fill_line(filler, line, out);
        free(line);
        text += n + (text[n] == '\n');
    }
}

/* ---- the command ----------------------------------------------------------------------------- */

/* The first sentence of its comment. */
static void print_names(void)
{
    for (const struct ant_template *template = ant_templates; template->name; template ++) {
        const char *line = strstr(template->text, "\n# ");
        int n = 0;

        printf("%-11s", template->name);
        for (line += line ? 3 : 0; line && line[n] && line[n] != '.' && line[n] != ':';) {
            if (strncmp(line + n, "\n# ", 3) == 0) {
                printf("%.*s ", n, line);
                line += n + 3;
                n = 0;
            } else {
                n++;
            }
        }
        printf("%.*s\n", n, line ? line : "");
    }
}

/* Without a name the list of them. */
static int print_template(void *settings, char **operands, int n, struct ant_error *err)
{
    struct filler filler = {.settings = settings, .more = operands + 1, .n_more = n - 1};
    const struct ant_template *template = ant_templates;
    struct ant_buf out = {0};

    if (n == 0) {
        print_names();
        return 0;
    }
    while (template->name && strcmp(template->name, operands[0]) != 0)
        template ++;
    int rc = template->name ? set_directives(&filler, err)
                            : ant_fail(err, ANT_EUSAGE,
                                       "there is no template '%s': 'antiphon template' lists them",
                                       operands[0]);
    if (rc == 0) {
        fill(&filler, template->text, &out);
        fwrite(out.data, 1, out.len, stdout);
    }
    for (int i = 0; i < filler.n_directives; i++)
        free(filler.directives[i].value);
    ant_buf_release(&out);
    return rc;
}

static int template_main(int argc, char **argv)
{
    struct template_settings settings = {0};

    return ant_cli_main(&ant_command_template, &settings, print_template, argc, argv);
}

const struct ant_command ant_command_template = {template_main, options, &help, {0, INT_MAX, NULL}};
