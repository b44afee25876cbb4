/* SPDX-License-Identifier: Apache-2.0 */
/* Templates: opened, rendered, closed. */
#include "config.h"

#include "text/jinja.h"
#include "text/jinja_value.h"
#include "base/mem.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

enum {
    LONGEST = 1 << 20,    /* bytes of a template; the longest known have 50 kB */
    MOST_WORK = 50 << 20, /* a second or two */
};

int ant_jinja_name(struct ant_jnames *names, struct ant_arena *arena, const char *text,
                   size_t bytes)
{
    for (int i = 0; i < names->n; i++)
        if (strlen(names->items[i]) == bytes && memcmp(names->items[i], text, bytes) == 0)
            return i;
    if (names->n == names->cap) {
        names->cap = names->cap ? 2 * names->cap : 64;
        names->items = ant_xrealloc(names->items, (size_t)names->cap, sizeof(*names->items));
    }
    char *copy = ant_arena_take(arena, bytes + 1);
    memcpy(copy, text, bytes);
    copy[bytes] = '\0';
    names->items[names->n] = copy;
    return names->n++;
}

int ant_jinja_open(struct ant_jinja **out, const char *source, size_t bytes, struct ant_error *err)
{
    struct ant_jinja *jinja = ant_xcalloc(1, sizeof(*jinja));
    struct ant_jtokens tokens = {0};
    size_t good = ant_utf8_check(source, bytes);
    int rc = 0;

    if (bytes > LONGEST)
        rc = ant_fail(err, ANT_EUNSUPP, "longer than %d bytes", LONGEST);
    else if (good != bytes)
        rc = ant_fail(err, ANT_EDATA, "not UTF-8 at byte %zu", good);
    ant_jinja_name(&jinja->names, &jinja->arena, "loop", 4);
    if (rc == 0)
        rc = ant_jinja_lex(&tokens, &jinja->arena, source, bytes, err);
    if (rc == 0)
        rc = ant_jinja_parse(jinja, &tokens, err);
    free(tokens.items);
    if (rc < 0) {
        ant_jinja_close(jinja);
        return rc;
    }
    *out = jinja;
    return 0;
}

void ant_jinja_close(struct ant_jinja *jinja)
{
    if (!jinja)
        return;
    ant_arena_release(&jinja->arena);
    free(jinja->names.items);
    free(jinja);
}

bool ant_jinja_reads_parts(const struct ant_jinja *jinja)
{
    return jinja->reads_parts;
}

int ant_jinja_render(const struct ant_jinja *jinja, const struct ant_jinja_variable *variables,
                     size_t n, const struct tm *now, struct ant_buf *out, struct ant_error *err)
{
    struct ant_jtext text = {0};
    struct ant_jrun run = {
        .jinja = jinja, .now = now, .out = &text, .work_left = MOST_WORK, .err = err};
    int rc = ant_jinja_evaluate(&run, variables, n);

    if (rc == 0)
        ant_buf_add(out, text.data, text.n);
    ant_arena_release(&run.arena);
    return rc;
}
