/* SPDX-License-Identifier: Apache-2.0 */
/* Templates in a subset of Jinja, as chat models bring them: what a template makes of its variables
 * equals, byte for byte, what jinja2 makes of them in the environment of Hugging Face transformers
 * (sandboxed, immutable, trim_blocks, lstrip_blocks, loop controls, their own tojson).
 *
 * Not there: inheritance, inclusion, imports, call blocks, recursive loops, * and ** in calls,
 * autoescaping. What is unknown is an error that names it and its line: when the template is
 * opened, or, within the branches of an if, when it is reached (as in jinja2). A template is not
 * trusted: work, memory, nesting and output of a rendering are bounded.
 *
 * Hides the language. A template is immutable once open: any number of threads may render it.
 * Errors: ANT_EDATA (malformed, or the template raised one), ANT_EUNSUPP; "line N: ..." */
#ifndef ANT_TEXT_JINJA_H
#define ANT_TEXT_JINJA_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include <jansson.h>

#include "base/error.h"
#include "base/mem.h"

struct ant_jinja;

/* `source` may go away afterwards. */
int ant_jinja_open(struct ant_jinja **out, const char *source, size_t bytes, struct ant_error *err);
void ant_jinja_close(struct ant_jinja *jinja); /* legal on NULL */

/* Whether it goes through what a message's "content" is made of. */
bool ant_jinja_reads_parts(const struct ant_jinja *jinja);

struct ant_jinja_variable {
    const char *name;
    const json_t *value; /* borrowed */
};

/* Append what the template makes of the variables; nothing when it fails. `now`: for strftime_now.
 */
int ant_jinja_render(const struct ant_jinja *jinja, const struct ant_jinja_variable *variables,
                     size_t n, const struct tm *now, struct ant_buf *out, struct ant_error *err);

#endif
