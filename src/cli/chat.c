/* SPDX-License-Identifier: Apache-2.0 */
/* What a run asks a chat model: the template it takes, and prompts by it. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/mem.h"
#include "cli/run.h"

enum { LARGEST_TEMPLATE = 16 << 20 };

/* The day of --chat-date, else that on which the prompts were written: one that every rank and
 * every restart finds again. */
static int find_day(const struct run *run, struct tm *out, struct ant_error *err)
{
    const char *date = run->settings.chat_date;
    time_t seconds = ant_prompts_written(run->prompts);

    *out = (struct tm){0};
    if (date) {
        const char *end = strptime(date, "%Y-%m-%d", out);
        if (!end || *end)
            return ant_fail(err, ANT_EUSAGE, "--chat-date '%s' is no day like 2026-11-23", date);
        seconds = timegm(out); /* sets the day of the week too */
    }
    gmtime_r(&seconds, out);
    return 0;
}

/* The text of --chat-template, else the model's own. */
static int find_template(const struct run *run, char **source, char **name, struct ant_error *err)
{
    const char *path = run->settings.chat_template;
    int found;

    if (path) {
        ANT_TRY(ant_file_read(source, NULL, path, LARGEST_TEMPLATE, err));
        *name = ant_xasprintf("chat template '%s'", path);
        return 0;
    }
    ANT_TRY(found = ant_checkpoint_chat_template(run->checkpoint, source, err));
    if (!found)
        return ant_fail(err, ANT_EUSAGE,
                        "'%s' has no chat template, which messages need: give one with "
                        "--chat-template",
                        run->settings.model);
    *name = ant_xasprintf("chat template of '%s'", run->settings.model);
    return 0;
}

/* What a file holds can change while its name stays: the job is one of these very words. */
static void note_template(struct run *run, const char *source)
{
    char digest[ANT_DIGEST_TEXT];
    struct ant_buf lines = {0};

    ant_digest_text(digest, ant_digest(source, strlen(source)));
    ant_buf_printf(&lines, "%schat-template-digest=%s\n", run->answers, digest);
    free(run->answers);
    run->answers = lines.data;
}

static int check_use(const struct run *run, struct ant_error *err)
{
    const struct run_settings *settings = &run->settings;
    bool has_setting = settings->system || settings->chat_template || settings->chat_date ||
                       settings->chat_variables;

    if (settings->chat && ant_prompts_are_tokens(run->prompts))
        return ant_fail(err, ANT_EUSAGE, "--chat: '%s' holds tokens, which are no messages",
                        settings->input);
    if (has_setting && !settings->chat && !ant_prompts_are_chat(run->prompts))
        return ant_fail(err, ANT_EUSAGE,
                        "'%s' holds texts, not messages: --chat makes a user's message of each, "
                        "without it %s means nothing",
                        settings->input,
                        settings->system          ? "--system"
                        : settings->chat_template ? "--chat-template"
                        : settings->chat_date     ? "--chat-date"
                                                  : "--chat-template-kwargs");
    return 0;
}

int ant_run_open_chat(struct run *run, struct ant_error *err)
{
    struct ant_chat_settings chat = {.system = run->settings.system,
                                     .variables = run->settings.chat_variables};
    char *source = NULL, *name = NULL;

    ANT_TRY(check_use(run, err));
    if (!run->settings.chat && !ant_prompts_are_chat(run->prompts))
        return 0;
    int rc = find_day(run, &chat.now, err);
    if (rc == 0)
        rc = find_template(run, &source, &name, err);
    chat.name = name;
    if (rc == 0)
        rc = ant_chat_open(&run->chat, source, run->tokenizer, &chat, err);
    if (rc == 0)
        note_template(run, source);
    free(source);
    free(name);
    return rc;
}

int ant_run_prompt_ids(const struct run *run, const struct ant_prompt *prompt, struct ant_ids *out,
                       struct ant_error *err)
{
    struct ant_buf text = {0};

    if (prompt->tokens)
        ant_ids_append(out, prompt->tokens, prompt->n_tokens);
    if (prompt->tokens || prompt->text_bytes == 0)
        return 0;
    if (!run->chat)
        return ant_tokenizer_encode(run->tokenizer, prompt->text, prompt->text_bytes, true, out,
                                    err);
    int rc = ant_prompts_are_chat(run->prompts)
                 ? ant_chat_render(run->chat, prompt->text, prompt->text_bytes, &text, err)
                 : ant_chat_render_text(run->chat, prompt->text, prompt->text_bytes, &text, err);
    if (rc == 0)
        rc = ant_tokenizer_encode(run->tokenizer, text.data, text.len, false, out, err);
    ant_buf_release(&text);
    return rc;
}
