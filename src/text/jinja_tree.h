/* SPDX-License-Identifier: Apache-2.0 */
/* A template between its reader and its evaluator: memory, tokens and the tree. Everything of a
 * template lies in one arena. Thread: one until the template is open, any afterwards. */
#ifndef ANT_TEXT_JINJA_TREE_H
#define ANT_TEXT_JINJA_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* ---- memory ---------------------------------------------------------------------------------- */

struct ant_arena {
    struct ant_arena_chunk *chunks; /* owned; the newest first */
    size_t bytes;                   /* asked for so far */
};
void *ant_arena_take(struct ant_arena *arena, size_t bytes);
/* Make the newest piece longer where it is; false when it is not the newest or there is no room. */
bool ant_arena_extend(struct ant_arena *arena, const void *piece, size_t bytes, size_t more);
void ant_arena_release(struct ant_arena *arena);

/* ---- tokens ---------------------------------------------------------------------------------- */

enum ant_jtoken_kind {
    ANT_JTOKEN_END, /* of the source */
    ANT_JTOKEN_TEXT,
    ANT_JTOKEN_BLOCK, /* {% */
    ANT_JTOKEN_BLOCK_END,
    ANT_JTOKEN_VARIABLE, /* {{ */
    ANT_JTOKEN_VARIABLE_END,
    ANT_JTOKEN_NAME,
    ANT_JTOKEN_STRING, /* unescaped */
    ANT_JTOKEN_INTEGER,
    ANT_JTOKEN_FLOAT,
    ANT_JTOKEN_OPERATOR, /* text is the operator */
};

struct ant_jtoken {
    enum ant_jtoken_kind kind;
    int line;
    const char *text; /* in the arena */
    size_t bytes;
    int64_t integer;
    double real;
};

struct ant_jtokens {
    struct ant_jtoken *items; /* owned, by malloc; ends with ANT_JTOKEN_END */
    size_t n, cap;
};
int ant_jinja_lex(struct ant_jtokens *out, struct ant_arena *arena, const char *source,
                  size_t bytes, struct ant_error *err);

/* ---- the tree -------------------------------------------------------------------------------- */

enum ant_jnode_kind {
    /* statements, chained by next */
    ANT_J_TEXT,         /* text */
    ANT_J_OUTPUT,       /* a: expression */
    ANT_J_FOR,          /* a: target, b: iterable, c: condition or NULL, d: body, e: else */
    ANT_J_IF,           /* a: condition, d: body, e: else */
    ANT_J_SET,          /* a: target, b: expression */
    ANT_J_SET_BLOCK,    /* a: target, b: filter of INPUT or NULL, d: body */
    ANT_J_FILTER_BLOCK, /* b: filter of INPUT, d: body */
    ANT_J_SCOPE,        /* d: body */
    ANT_J_MACRO,        /* id, a: parameters (NAME, its default in a), d: body */
    ANT_J_BREAK,
    ANT_J_CONTINUE,
    /* expressions */
    ANT_J_NONE,
    ANT_J_BOOL, /* integer */
    ANT_J_INT,
    ANT_J_FLOAT,
    ANT_J_STRING,
    ANT_J_NAME,      /* id, text */
    ANT_J_NAMESPACE, /* id, text: its attribute; as a target only */
    ANT_J_LIST,      /* a: items, chained */
    ANT_J_TUPLE,
    ANT_J_DICT,   /* a: PAIRs */
    ANT_J_PAIR,   /* a: key, b: value */
    ANT_J_MEMBER, /* a.text */
    ANT_J_INDEX,  /* a[b] */
    ANT_J_SLICE,  /* a[b:c:d] */
    ANT_J_CALL,   /* a: what, b: ARGs */
    ANT_J_FILTER, /* a: input, b: ARGs, builtin, text */
    ANT_J_TEST,
    ANT_J_ARG,   /* a: value, text: its name or NULL */
    ANT_J_INPUT, /* of a filter over a block */
    ANT_J_NOT,
    ANT_J_AND,
    ANT_J_OR,
    ANT_J_NEGATIVE,
    ANT_J_POSITIVE,
    ANT_J_BINARY,  /* op */
    ANT_J_COMPARE, /* a: first, b: OPERANDs */
    ANT_J_OPERAND, /* op, a */
    ANT_J_CONCAT,  /* a: items, chained */
    ANT_J_CHOICE,  /* a: condition, b: then, c: else or NULL */
};

enum ant_jop {
    ANT_JOP_ADD,
    ANT_JOP_SUB,
    ANT_JOP_MUL,
    ANT_JOP_DIV,
    ANT_JOP_FLOOR_DIV,
    ANT_JOP_MOD,
    ANT_JOP_POW,
    ANT_JOP_EQ,
    ANT_JOP_NE,
    ANT_JOP_LT,
    ANT_JOP_LE,
    ANT_JOP_GT,
    ANT_JOP_GE,
    ANT_JOP_IN,
    ANT_JOP_NOT_IN,
};

struct ant_jbuiltin;

struct ant_jnode {
    uint8_t kind, op;
    int line, id;
    struct ant_jnode *a, *b, *c, *d, *e, *next;
    const char *text; /* NUL-terminated too */
    size_t bytes;
    union {
        int64_t integer;
        double real;
        const struct ant_jbuiltin *builtin; /* FILTER, TEST; NULL: unknown, an error when reached */
    };
};

/* The names of variables, each once: its index is its id. */
struct ant_jnames {
    const char **items; /* owned by malloc, texts in the arena */
    int n, cap;
};
int ant_jinja_name(struct ant_jnames *names, struct ant_arena *arena, const char *text,
                   size_t bytes);

struct ant_jinja {
    struct ant_arena arena;
    struct ant_jnames names;
    struct ant_jnode *body;
    bool reads_parts;
};
int ant_jinja_parse(struct ant_jinja *out, const struct ant_jtokens *tokens, struct ant_error *err);

#endif
