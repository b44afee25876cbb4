/* SPDX-License-Identifier: Apache-2.0 */
/* What a run asks a chat model: the template it takes, and prompts by it. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

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
        int day = out->tm_mday;
        seconds = timegm(out); /* sets the day of the week too, and makes 2 March of 30 February */
        if (!end || *end || out->tm_mday != day)
            return ant_fail(err, ANT_EUSAGE, "--chat-date '%s' is no day like 2026-11-23", date);
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

/* A conversation with the row's own system message before it, unless it has one itself. */
static int render_with_system(const struct run *run, const struct ant_prompt *prompt,
                              struct ant_buf *out, struct ant_error *err)
{
    bool is_list = ant_prompts_are_chat(run->prompts);
    json_t *all = is_list ? json_loadb(prompt->text, prompt->text_bytes, JSON_ALLOW_NUL, NULL)
                          : json_pack("[{s:s, s:s%}]", "role", "user", "content", prompt->text,
                                      prompt->text_bytes);
    json_t *messages = json_is_object(all) ? json_object_get(all, "messages") : all;
    json_t *system =
        json_pack("{s:s, s:s%}", "role", "system", "content", prompt->system, prompt->system_bytes);
    const char *first = json_string_value(json_object_get(json_array_get(messages, 0), "role"));
    bool has_own = first && (strcmp(first, "system") == 0 || strcmp(first, "developer") == 0);
    int rc = 0;

    if (!system || !json_is_array(messages))
        rc = ant_fail(err, ANT_EDATA, "%s",
                      system ? "the prompt is no list of messages" : "'system' is not UTF-8");
    if (rc == 0 && !has_own)
        json_array_insert(messages, 0, system);
    char *text = rc == 0 ? json_dumps(all, JSON_COMPACT) : NULL;
    if (rc == 0)
        rc = ant_chat_render(run->chat, text, strlen(text), out, err);
    free(text);
    json_decref(system);
    json_decref(all);
    return rc;
}

static int render(const struct run *run, const struct ant_prompt *prompt, struct ant_buf *out,
                  struct ant_error *err)
{
    if (prompt->system_bytes > 0)
        return render_with_system(run, prompt, out, err);
    if (ant_prompts_are_chat(run->prompts))
        return ant_chat_render(run->chat, prompt->text, prompt->text_bytes, out, err);
    return ant_chat_render_text(run->chat, prompt->text, prompt->text_bytes, out, err);
}

int ant_run_prompt_ids(const struct run *run, const struct ant_prompt *prompt, struct ant_ids *out,
                       struct ant_error *err)
{
    struct ant_buf text = {0};

    if (prompt->tokens)
        ant_ids_append(out, prompt->tokens, prompt->n_tokens);
    if (prompt->tokens || prompt->text_bytes == 0)
        return 0;
    if (prompt->system_bytes > 0 && !run->chat)
        return ant_fail(err, ANT_EDATA,
                        "a system message, but the prompt is no conversation "
                        "(--chat makes one of it)");
    if (!run->chat)
        return ant_tokenizer_encode(run->tokenizer, prompt->text, prompt->text_bytes, true, out,
                                    err);
    int rc = render(run, prompt, &text, err);
    if (rc == 0)
        rc = ant_tokenizer_encode(run->tokenizer, text.data, text.len, false, out, err);
    ant_buf_release(&text);
    return rc;
}
