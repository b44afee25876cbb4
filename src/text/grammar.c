/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "text/grammar_tree.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { MOST_HELD = 1 << 24 }; /* elements of all pools */

struct ant_grammar *ant_grammar_open(void)
{
    struct ant_grammar *grammar = ant_xcalloc(1, sizeof(*grammar));

    ANT_GROW(grammar->nodes, 0, grammar->cap_nodes, 1);
    grammar->nodes[grammar->n_nodes++] = (struct ant_node){.kind = ANT_NODE_SEQUENCE};
    return grammar;
}

void ant_grammar_close(struct ant_grammar *grammar)
{
    if (!grammar)
        return;
    free(grammar->nodes);
    free(grammar->lists);
    free(grammar->ranges);
    free(grammar->words);
    free(grammar->rules);
    ant_buf_release(&grammar->bytes);
    free(grammar);
}

/* Longer than what any program is made of: nothing more is added. */
static bool is_full(struct ant_grammar *grammar)
{
    size_t held = grammar->n_nodes + grammar->n_lists + grammar->n_ranges + grammar->n_words +
                  grammar->bytes.len;

    grammar->is_too_long |= held > MOST_HELD;
    return grammar->is_too_long;
}

static uint32_t add_node(struct ant_grammar *grammar, struct ant_node node)
{
    if (is_full(grammar))
        return ANT_NO_NODE;
    ANT_GROW(grammar->nodes, grammar->n_nodes, grammar->cap_nodes, 1);
    grammar->nodes[grammar->n_nodes] = node;
    return (uint32_t)grammar->n_nodes++;
}

static struct ant_span add_bytes(struct ant_grammar *grammar, const char *text, size_t bytes)
{
    struct ant_span span = {(uint32_t)grammar->bytes.len, (uint32_t)bytes};

    if (is_full(grammar))
        return (struct ant_span){0};
    ant_buf_add(&grammar->bytes, text, bytes);
    return span;
}

uint32_t ant_grammar_bytes(struct ant_grammar *grammar, const char *text, size_t bytes)
{
    struct ant_span span = add_bytes(grammar, text, bytes);

    return add_node(grammar,
                    (struct ant_node){.kind = ANT_NODE_BYTES, .first = span.first, .n = span.n});
}

static int compare_ranges(const void *a, const void *b)
{
    const struct ant_code_range *x = a, *y = b;

    return (x->first > y->first) - (x->first < y->first);
}

uint32_t ant_grammar_class(struct ant_grammar *grammar, const struct ant_code_range *ranges,
                           size_t n)
{
    size_t first = grammar->n_ranges;

    if (is_full(grammar))
        return ANT_NO_NODE;
    ANT_GROW(grammar->ranges, grammar->n_ranges, grammar->cap_ranges, n);
    if (n > 0) {
        memcpy(grammar->ranges + first, ranges, n * sizeof(*ranges));
        qsort(grammar->ranges + first, n, sizeof(*ranges), compare_ranges);
    }
    for (size_t i = first; i < first + n; i++) { /* those that touch become one */
        const struct ant_code_range *range = &grammar->ranges[i];
        struct ant_code_range *last =
            grammar->n_ranges > first ? &grammar->ranges[grammar->n_ranges - 1] : NULL;
        if (range->first > range->last)
            continue;
        if (last && range->first <= last->last + 1)
            last->last = range->last > last->last ? range->last : last->last;
        else
            grammar->ranges[grammar->n_ranges++] = *range;
    }
    return add_node(grammar, (struct ant_node){.kind = ANT_NODE_CLASS,
                                               .first = (uint32_t)first,
                                               .n = (uint32_t)(grammar->n_ranges - first)});
}

static uint32_t add_list(struct ant_grammar *grammar, const uint32_t *nodes, size_t n)
{
    uint32_t first = (uint32_t)grammar->n_lists;

    if (is_full(grammar))
        return 0;
    ANT_GROW(grammar->lists, grammar->n_lists, grammar->cap_lists, n);
    if (n > 0)
        memcpy(grammar->lists + first, nodes, n * sizeof(*nodes));
    grammar->n_lists += n;
    return first;
}

uint32_t ant_grammar_sequence(struct ant_grammar *grammar, const uint32_t *nodes, size_t n)
{
    uint32_t first = add_list(grammar, nodes, n);

    return add_node(grammar,
                    (struct ant_node){.kind = ANT_NODE_SEQUENCE, .first = first, .n = (uint32_t)n});
}

uint32_t ant_grammar_any(struct ant_grammar *grammar, const uint32_t *nodes, size_t n)
{
    uint32_t first = add_list(grammar, nodes, n);

    return add_node(grammar,
                    (struct ant_node){.kind = ANT_NODE_ANY, .first = first, .n = (uint32_t)n});
}

static int compare_words(const void *a, const void *b)
{
    const struct ant_word *x = a, *y = b;
    size_t shorter = x->bytes < y->bytes ? x->bytes : y->bytes;
    int order = shorter ? memcmp(x->text, y->text, shorter) : 0;

    return order ? order : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

void ant_word_sort(struct ant_word *words, size_t n)
{
    if (n > 1)
        qsort(words, n, sizeof(*words), compare_words);
}

uint32_t ant_grammar_words(struct ant_grammar *grammar, struct ant_word *words, size_t n)
{
    size_t first = grammar->n_words;

    if (is_full(grammar))
        return ANT_NO_NODE;
    ANT_GROW(grammar->words, grammar->n_words, grammar->cap_words, n);
    ant_word_sort(words, n);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || compare_words(&words[i - 1], &words[i]) != 0)
            grammar->words[grammar->n_words++] = add_bytes(grammar, words[i].text, words[i].bytes);
    return add_node(grammar, (struct ant_node){.kind = ANT_NODE_WORDS,
                                               .first = (uint32_t)first,
                                               .n = (uint32_t)(grammar->n_words - first)});
}

uint32_t ant_grammar_repeat(struct ant_grammar *grammar, uint32_t node, int32_t min, int32_t max,
                            uint32_t between)
{
    return add_node(
        grammar,
        (struct ant_node){
            .kind = ANT_NODE_REPEAT, .child = node, .between = between, .min = min, .max = max});
}

uint32_t ant_grammar_list(struct ant_grammar *grammar, const uint32_t *nodes,
                          const bool *is_optional, size_t n, uint32_t between)
{
    uint32_t first = add_list(grammar, nodes, n);

    for (size_t i = 0; i < n; i++)
        add_list(grammar, &(uint32_t){is_optional[i]}, 1);
    return add_node(
        grammar, (struct ant_node){
                     .kind = ANT_NODE_LIST, .first = first, .n = (uint32_t)n, .between = between});
}

uint32_t ant_grammar_guard(struct ant_grammar *grammar, uint32_t node)
{
    return add_node(grammar, (struct ant_node){.kind = ANT_NODE_GUARD, .child = node});
}

int32_t ant_grammar_add_rule(struct ant_grammar *grammar)
{
    ANT_GROW(grammar->rules, grammar->n_rules, grammar->cap_rules, 1);
    grammar->rules[grammar->n_rules] = ANT_NO_NODE;
    return (int32_t)grammar->n_rules++;
}

void ant_grammar_define(struct ant_grammar *grammar, int32_t rule, uint32_t node)
{
    grammar->rules[rule] = node;
}

uint32_t ant_grammar_call(struct ant_grammar *grammar, int32_t rule)
{
    return add_node(grammar, (struct ant_node){.kind = ANT_NODE_CALL, .min = rule});
}
