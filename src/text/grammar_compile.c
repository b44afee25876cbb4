/* SPDX-License-Identifier: Apache-2.0 */
/* From the tree of a grammar to a program: every node from what comes after it. */
#include "config.h"

#include "text/grammar_tree.h"

#include <stdlib.h>
#include <string.h>

#include "text/unicode.h"

enum { MOST_INSTRUCTIONS = 1 << 21 };

struct compiler {
    const struct ant_grammar *grammar;
    struct ant_program program;
    size_t cap;
    bool is_too_long;
};

static uint32_t add(struct compiler *c, struct ant_instruction instruction)
{
    struct ant_program *program = &c->program;

    if (program->n == MOST_INSTRUCTIONS) {
        c->is_too_long = true;
        return 0;
    }
    ANT_GROW(program->code, program->n, c->cap, 1);
    program->code[program->n] = instruction;
    return program->n++;
}

static uint32_t add_range(struct compiler *c, uint8_t lo, uint8_t hi, uint32_t next)
{
    return add(c, (struct ant_instruction){.op = ANT_OP_RANGE, .lo = lo, .hi = hi, .x = next});
}

static uint32_t add_split(struct compiler *c, uint32_t x, uint32_t y)
{
    return add(c, (struct ant_instruction){.op = ANT_OP_SPLIT, .x = x, .y = y});
}

static uint32_t compile(struct compiler *c, uint32_t node, uint32_t next);

static uint32_t compile_bytes(struct compiler *c, struct ant_span span, uint32_t next)
{
    for (uint32_t i = span.n; i-- > 0;) {
        uint8_t byte = (uint8_t)c->grammar->bytes.data[span.first + i];
        next = add_range(c, byte, byte, next);
    }
    return next;
}

/* Code points whose encodings are of one length: pieces whose last bytes are all there is, as far
 * as they can be. Returns `also` or one of the pieces. */
static uint32_t compile_range(struct compiler *c, uint32_t first, uint32_t last, uint32_t next,
                              uint32_t also)
{
    char lo[4], hi[4];
    int n = (int)ant_utf8_put(lo, first);

    for (int i = 1; i < n; i++) {
        uint32_t tail = (1u << (6 * i)) - 1;
        if ((first & ~tail) == (last & ~tail))
            continue;
        if (first & tail) {
            also = compile_range(c, first, first | tail, next, also);
            return compile_range(c, (first | tail) + 1, last, next, also);
        }
        if ((last & tail) != tail) {
            also = compile_range(c, first, (last & ~tail) - 1, next, also);
            return compile_range(c, last & ~tail, last, next, also);
        }
    }
    ant_utf8_put(hi, last);
    for (int i = n; i-- > 0;)
        next = add_range(c, (uint8_t)lo[i], (uint8_t)hi[i], next);
    return also ? add_split(c, next, also) : next;
}

static uint32_t compile_class(struct compiler *c, const struct ant_node *node, uint32_t next)
{
    /* where encodings get longer, and the surrogates between */
    static const struct ant_code_range parts[] = {
        {0, 0x7f}, {0x80, 0x7ff}, {0x800, 0xd7ff}, {0xe000, 0xffff}, {0x10000, 0x10ffff}};
    uint32_t entry = 0;

    for (uint32_t i = node->n; i-- > 0;) {
        const struct ant_code_range *range = &c->grammar->ranges[node->first + i];
        for (size_t k = sizeof(parts) / sizeof(*parts); k-- > 0;) {
            uint32_t first = range->first > parts[k].first ? range->first : parts[k].first;
            uint32_t last = range->last < parts[k].last ? range->last : parts[k].last;
            if (first <= last)
                entry = compile_range(c, first, last, next, entry);
        }
    }
    return entry;
}

static uint32_t compile_any(struct compiler *c, const struct ant_node *node, uint32_t next)
{
    uint32_t entry = 0;

    for (uint32_t i = node->n; i-- > 0;) {
        uint32_t branch = compile(c, c->grammar->lists[node->first + i], next);
        entry = entry ? add_split(c, branch, entry) : branch;
    }
    return entry;
}

/* Words [first, end) in order, alike in their first `depth` bytes: what they share once, then a
 * branch for each byte that can follow. */
static uint32_t compile_words(struct compiler *c, uint32_t first, uint32_t end, uint32_t depth,
                              uint32_t next)
{
    const struct ant_span *words = c->grammar->words;
    const char *bytes = c->grammar->bytes.data;
    const struct ant_span *a = &words[first], *b = &words[end - 1];
    uint32_t shared = depth, entry = 0;

    while (shared < a->n && shared < b->n && bytes[a->first + shared] == bytes[b->first + shared])
        shared++;
    if (a->n == shared) { /* a word ends here; only the first can */
        entry = next;
        first++;
    }
    while (first < end) {
        char byte = bytes[words[end - 1].first + shared];
        uint32_t from = end - 1;
        while (from > first && bytes[words[from - 1].first + shared] == byte)
            from--;
        uint32_t rest = compile_words(c, from, end, shared + 1, next);
        uint32_t branch = add_range(c, (uint8_t)byte, (uint8_t)byte, rest);
        entry = entry ? add_split(c, branch, entry) : branch;
        end = from;
    }
    return compile_bytes(c, (struct ant_span){a->first + depth, shared - depth}, entry);
}

/* A loop without counting: from `min`, 0 or 1, times on. */
static uint32_t compile_loop(struct compiler *c, const struct ant_node *node, uint32_t next)
{
    uint32_t after = add_split(c, 0, next), body = compile(c, node->child, after), again = body;

    if (node->between)
        again = compile(c, node->between, body);
    c->program.code[after].x = again;
    if (node->min > 0)
        return body;
    return node->between ? add_split(c, body, next) : after;
}

static uint32_t compile_repeat(struct compiler *c, const struct ant_node *node, uint32_t next)
{
    if (node->max <= 0)
        return next;
    if (node->max == 1) {
        uint32_t body = compile(c, node->child, next);
        return node->min > 0 ? body : add_split(c, body, next);
    }
    if (node->min <= 1 && node->max == ANT_NO_LIMIT)
        return compile_loop(c, node, next);
    uint32_t end = add(c, (struct ant_instruction){.op = ANT_OP_END, .y = next});
    uint32_t body = compile(c, node->child, end);
    uint32_t again = node->between ? compile(c, node->between, body) : body;
    c->program.code[end].x = again;
    uint32_t begin = add(c, (struct ant_instruction){.op = ANT_OP_BEGIN,
                                                     .x = body,
                                                     .y = end,
                                                     .min = node->min > 1 ? node->min : 1,
                                                     .max = node->max});
    return node->min > 0 ? begin : add_split(c, begin, next);
}

/* Two ways through: one on which something has come already, so that `between` must come first. */
static uint32_t compile_list(struct compiler *c, const struct ant_node *node, uint32_t next)
{
    const uint32_t *items = c->grammar->lists + node->first, *is_optional = items + node->n;
    uint32_t nothing = next, something = next;

    for (uint32_t i = node->n; i-- > 0;) {
        uint32_t item = compile(c, items[i], something);
        uint32_t behind = compile(c, node->between, item);
        nothing = is_optional[i] ? add_split(c, item, nothing) : item;
        something = is_optional[i] ? add_split(c, behind, something) : behind;
    }
    return nothing;
}

/* The entry of what `node` says, with `next` behind it. */
static uint32_t compile(struct compiler *c, uint32_t index, uint32_t next)
{
    const struct ant_node *node = &c->grammar->nodes[index];

    if (c->is_too_long)
        return 0;
    switch (node->kind) {
    case ANT_NODE_BYTES:
        return compile_bytes(c, (struct ant_span){node->first, node->n}, next);
    case ANT_NODE_CLASS:
        return compile_class(c, node, next);
    case ANT_NODE_SEQUENCE:
        for (uint32_t i = node->n; i-- > 0;)
            next = compile(c, c->grammar->lists[node->first + i], next);
        return next;
    case ANT_NODE_ANY:
        return compile_any(c, node, next);
    case ANT_NODE_WORDS:
        return node->n ? compile_words(c, node->first, node->first + node->n, 0, next) : 0;
    case ANT_NODE_REPEAT:
        return compile_repeat(c, node, next);
    case ANT_NODE_LIST:
        return compile_list(c, node, next);
    case ANT_NODE_GUARD:
        next = compile(c, node->child, next);
        return add(c, (struct ant_instruction){.op = ANT_OP_GUARD, .x = next});
    case ANT_NODE_CALL: /* x: the rule's number until all are compiled */
        return add(
            c, (struct ant_instruction){.op = ANT_OP_CALL, .x = (uint32_t)node->min, .y = next});
    }
    return 0;
}

/* What comes behind an instruction that is no end, as far as it matters for coming to one. */
static int operands_of(const struct ant_instruction *it, uint32_t out[2])
{
    switch (it->op) {
    case ANT_OP_SPLIT:
    case ANT_OP_CALL:
        out[0] = it->x;
        out[1] = it->y;
        return 2;
    case ANT_OP_END:
        out[0] = it->y;
        return 1;
    case ANT_OP_RANGE:
    case ANT_OP_BEGIN:
    case ANT_OP_GUARD:
        out[0] = it->x;
        return 1;
    default:
        return 0;
    }
}

/* Can this instruction, which is no end, lead to that of its rule, as far as is known? */
static bool can_end(const struct ant_program *program, const bool *ends, uint32_t i)
{
    const struct ant_instruction *it = &program->code[i];
    uint32_t operands[2];
    int n = operands_of(it, operands), n_ends = 0;

    for (int k = 0; k < n; k++)
        n_ends += ends[operands[k]];
    return it->op == ANT_OP_CALL ? n_ends == n : n_ends > 0;
}

/* Who has each instruction behind it: of instruction i from[start[i]] up to start[i + 1]. */
struct links {
    uint32_t *start, *from; /* owned, (n + 1), (up to 2 n) */
};

static struct links list_links(const struct ant_program *program)
{
    size_t n = program->n;
    struct links links = {ant_xcalloc(n + 2, sizeof(uint32_t)),
                          ant_xcalloc(2 * n, sizeof(uint32_t))};
    uint32_t operands[2], *next = links.start + 1; /* filling moves each start to the next one's */

    for (size_t i = 0; i < n; i++)
        for (int k = operands_of(&program->code[i], operands); k-- > 0;)
            next[operands[k] + 1]++;
    for (size_t i = 1; i <= n; i++)
        next[i] += next[i - 1];
    for (size_t i = 0; i < n; i++)
        for (int k = operands_of(&program->code[i], operands); k-- > 0;)
            links.from[next[operands[k]]++] = (uint32_t)i;
    return links;
}

/* What cannot lead to a match becomes NEVER: from the ends back, each that turns out to lead there
 * is news for those that have it behind them. */
static void prune(struct ant_program *program)
{
    struct links links = list_links(program);
    bool *ends = ant_xcalloc(program->n, sizeof(*ends));
    struct ant_ids news = {0};

    for (uint32_t i = 0; i < program->n; i++)
        if (program->code[i].op == ANT_OP_MATCH || program->code[i].op == ANT_OP_RETURN) {
            ends[i] = true;
            ant_ids_add(&news, (int32_t)i);
        }
    while (news.len > 0) {
        uint32_t at = (uint32_t)news.data[--news.len];
        for (uint32_t k = links.start[at]; k < links.start[at + 1]; k++) {
            uint32_t before = links.from[k];
            if (ends[before] || !can_end(program, ends, before))
                continue;
            ends[before] = true;
            ant_ids_add(&news, (int32_t)before);
        }
    }
    for (uint32_t i = 0; i < program->n; i++)
        if (!ends[i])
            program->code[i] = (struct ant_instruction){.op = ANT_OP_NEVER};
    ant_ids_release(&news);
    free(links.start);
    free(links.from);
    free(ends);
}

/* The rules that are called from `entry` on before any byte, appended to `out`. No rule matches the
 * empty text, so what comes behind a call does not count. `seen` holds `mark` where this has been.
 */
static void list_first_calls(const struct ant_program *program, uint32_t entry, uint32_t *seen,
                             uint32_t mark, struct ant_ids *out)
{
    struct ant_ids left = {0};

    ant_ids_add(&left, (int32_t)entry);
    while (left.len > 0) {
        uint32_t i = (uint32_t)left.data[--left.len];
        const struct ant_instruction *it = &program->code[i];
        if (seen[i] == mark)
            continue;
        seen[i] = mark;
        if (it->op == ANT_OP_CALL)
            ant_ids_add(out, (int32_t)it->x);
        if (it->op == ANT_OP_SPLIT || it->op == ANT_OP_BEGIN || it->op == ANT_OP_GUARD)
            ant_ids_add(&left, (int32_t)it->x);
        if (it->op == ANT_OP_SPLIT || it->op == ANT_OP_END)
            ant_ids_add(&left, (int32_t)it->y);
    }
    ant_ids_release(&left);
}

/* Does a rule come to call itself before any byte? Those that call none first are taken away, then
 * those that call only such, until none or a circle is left. */
static bool is_circular(const struct ant_program *program, const uint32_t *entries, size_t n_rules)
{
    struct ant_ids *calls = ant_xcalloc(n_rules + 1, sizeof(*calls));
    bool *is_clear = ant_xcalloc(n_rules + 1, sizeof(*is_clear)), has_changed = true;
    uint32_t *seen = ant_xcalloc(program->n, sizeof(*seen));
    size_t n_clear = 0;

    for (size_t i = 0; i < n_rules; i++)
        list_first_calls(program, entries[i], seen, (uint32_t)i + 1, &calls[i]);
    while (has_changed) {
        has_changed = false;
        for (size_t i = 0; i < n_rules; i++) {
            while (calls[i].len > 0 && is_clear[calls[i].data[calls[i].len - 1]])
                calls[i].len--;
            if (is_clear[i] || calls[i].len > 0)
                continue;
            is_clear[i] = has_changed = true;
            n_clear++;
        }
    }
    for (size_t i = 0; i < n_rules; i++)
        ant_ids_release(&calls[i]);
    free(calls);
    free(is_clear);
    free(seen);
    return n_clear < n_rules;
}

int ant_grammar_compile(const struct ant_grammar *grammar, uint32_t root, struct ant_program *out,
                        struct ant_error *err)
{
    struct compiler c = {.grammar = grammar, .is_too_long = grammar->is_too_long};
    uint32_t *entries = ant_xcalloc(grammar->n_rules + 1, sizeof(*entries));
    int rc = 0;

    add(&c, (struct ant_instruction){.op = ANT_OP_NEVER});
    c.program.start = compile(&c, root, add(&c, (struct ant_instruction){.op = ANT_OP_MATCH}));
    for (size_t i = 0; i < grammar->n_rules; i++)
        entries[i] =
            compile(&c, grammar->rules[i], add(&c, (struct ant_instruction){.op = ANT_OP_RETURN}));
    if (c.is_too_long)
        rc = ant_fail(err, ANT_EUNSUPP, "it is too long: more than %d tests of bytes",
                      MOST_INSTRUCTIONS);
    if (rc == 0 && is_circular(&c.program, entries, grammar->n_rules))
        rc = ant_fail(err, ANT_EUNSUPP, "it refers to itself with nothing in between");
    for (uint32_t i = 0; i < c.program.n && rc == 0; i++)
        if (c.program.code[i].op == ANT_OP_CALL)
            c.program.code[i].x = entries[c.program.code[i].x];
    if (rc == 0)
        prune(&c.program);
    if (rc == 0 && c.program.code[c.program.start].op == ANT_OP_NEVER)
        rc = ant_fail(err, ANT_EUNSUPP, "no text can match");
    free(entries);
    if (rc < 0)
        ant_program_release(&c.program);
    else
        *out = c.program;
    return rc;
}

void ant_program_release(struct ant_program *program)
{
    free(program->code);
    *program = (struct ant_program){0};
}
