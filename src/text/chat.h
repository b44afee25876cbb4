/* SPDX-License-Identifier: Apache-2.0 */
/* From a conversation to the text that a chat model is to go on with, by the model's own template,
 * as apply_chat_template of transformers does it with add_generation_prompt. The text is to be
 * tokenized without special tokens around it: the template writes them, and what a message says in
 * their spelling is one of them too. A message whose content is in parts must have parts of text
 * alone; a template that does not go through them gets their texts, a line each.
 *
 * A struct ant_chat is immutable: any thread may render. Errors: ANT_EDATA, ANT_EUNSUPP. */
#ifndef ANT_TEXT_CHAT_H
#define ANT_TEXT_CHAT_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "base/error.h"
#include "base/mem.h"

struct ant_chat;
struct ant_gguf;
struct ant_tokenizer;

/* The template that comes with a model: of a GGUF file's metadata, or of a folder's
 * chat_template.jinja, tokenizer_config.json ("default" where it has several) or
 * chat_template.json. 1 and a text that the caller frees; 0 when there is none. */
int ant_chat_find_gguf(char **out, const struct ant_gguf *gguf, struct ant_error *err);
int ant_chat_find_folder(char **out, const char *folder, struct ant_error *err);

struct ant_chat_settings {
    const char *name;      /* of the template, for errors */
    const char *system;    /* first message of conversations that have no such one, or NULL */
    const char *variables; /* more variables of the template: a JSON object, or NULL */
    struct tm now;         /* what strftime_now gives */
};
/* Everything given may go away afterwards but the tokenizer's ids. */
int ant_chat_open(struct ant_chat **out, const char *source, const struct ant_tokenizer *tokenizer,
                  const struct ant_chat_settings *settings, struct ant_error *err);
void ant_chat_close(struct ant_chat *chat); /* legal on NULL */

/* Append the prompt of a conversation: a JSON list of messages, or an object with "messages" and,
 * as the template may use them, "tools", "documents", "chat_template_kwargs". */
int ant_chat_render(const struct ant_chat *chat, const char *json, size_t bytes,
                    struct ant_buf *out, struct ant_error *err);
/* The same for one message of a user. */
int ant_chat_render_text(const struct ant_chat *chat, const char *text, size_t bytes,
                         struct ant_buf *out, struct ant_error *err);

#endif
