/* SPDX-License-Identifier: Apache-2.0 */
/* A regular expression, a JSON schema or a list of choices (by the first byte), compiled and walked
 * at random: it ends, with texts that are UTF-8, and JSON where a schema asks for it, or with a
 * reason in one line. */
#include "config.h"

#include "fuzz.h"
#include "text/automaton.h"
#include "text/constraint.h"
#include "text/grammar_read.h"
#include "text/unicode.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { WALKS = 8, MOST = 300 };

/* Go on with some byte that is possible, as `seed` says, until the text is whole. */
static bool walk(struct ant_automaton *automaton, uint32_t seed, struct ant_buf *out)
{
    uint32_t state = ant_automaton_start(automaton);

    for (out->len = 0; out->len < MOST && !ant_automaton_is_full(automaton);) {
        uint8_t byte = (uint8_t)(seed >> 16);
        int tried = 0;
        if (ant_automaton_accepts(automaton, state) && (out->len > 20 || seed % 5 == 0))
            return true;
        while (tried < 256 && ant_automaton_next(automaton, state, byte) == ANT_DEAD) {
            byte++;
            tried++;
        }
        if (tried == 256)
            return ant_automaton_accepts(automaton, state);
        ant_buf_add(out, &byte, 1);
        state = ant_automaton_next(automaton, state, byte);
        seed = seed * 1664525u + 1013904223u;
    }
    return false;
}

static void check_text(const struct ant_buf *text, bool is_json)
{
    if (text->len > 0 && ant_utf8_check(text->data, text->len) != text->len)
        abort();
    if (!is_json)
        return;
    json_t *value = json_loadb(text->data, text->len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (!value)
        abort();
    json_decref(value);
}

static void run(const struct ant_program *program, bool is_json)
{
    struct ant_automaton *automaton = ant_automaton_open(program);
    struct ant_buf text = {0};

    for (uint32_t i = 0; i < WALKS; i++)
        if (walk(automaton, i * 7919u + 1, &text))
            check_text(&text, is_json);
    ant_automaton_outline(automaton, ant_automaton_start(automaton));
    ant_buf_release(&text);
    ant_automaton_close(automaton);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const char *text = (const char *)data + 1;
    struct ant_error err = {{0}};
    struct ant_program program;
    uint32_t root = ANT_NO_NODE;
    int rc;

    if (bytes == 0)
        return 0;
    if (data[0] == 'c') {
        struct ant_constraint *constraint = NULL;
        rc = ant_constraint_open(&constraint, ANT_CONSTRAINT_CHOICE, text, bytes - 1, NULL, &err);
        ant_constraint_release(constraint);
    } else {
        struct ant_grammar *grammar = ant_grammar_open();
        rc = data[0] == 's'
                 ? ant_grammar_read_schema(grammar, text, bytes - 1, &root, &err)
                 : ant_grammar_read_regex(grammar, text, bytes - 1, ANT_REGEX_TEXT, &root, &err);
        if (rc == 0)
            rc = ant_grammar_compile(grammar, root, &program, &err);
        ant_grammar_close(grammar);
        if (rc == 0) {
            run(&program, data[0] == 's');
            ant_program_release(&program);
        }
    }
    if (rc < 0 && (!*err.text || strchr(err.text, '\n')))
        abort();
    return 0;
}
