/* SPDX-License-Identifier: Apache-2.0 */
/* Values of a template that is being rendered, and what the evaluator shares with the filters,
 * tests, methods and functions that templates call.
 *
 * Values are Python's as far as templates can tell. They are immutable (but for namespaces) and lie
 * in the rendering's arena or in what it borrows, so that they are copied freely. Thread: that of
 * the rendering. Errors: as jinja.h, with the line that is being evaluated. */
#ifndef ANT_TEXT_JINJA_VALUE_H
#define ANT_TEXT_JINJA_VALUE_H

#include <time.h>

#include <jansson.h>

#include "text/jinja_tree.h"

struct ant_jinja_variable;

enum ant_jkind {
    ANT_JV_UNDEFINED, /* text: of what name */
    ANT_JV_NONE,
    ANT_JV_BOOL,
    ANT_JV_INT,
    ANT_JV_FLOAT,
    ANT_JV_STRING, /* UTF-8 */
    ANT_JV_LIST,
    ANT_JV_DICT,
    ANT_JV_NAMESPACE, /* dict */
    ANT_JV_LOOP,
    ANT_JV_MACRO,
    ANT_JV_BUILTIN, /* a method with its object, or a function */
};

/* What Python would have where we have a list. */
enum ant_jform {
    ANT_JFORM_LIST,
    ANT_JFORM_TUPLE,
    ANT_JFORM_VIEW,      /* dict.keys() and the like: no index */
    ANT_JFORM_GENERATOR, /* no index, no length, empty once it was gone through */
    ANT_JFORM_SAFE = 1,  /* a string that |safe has marked: HTML that is not to be escaped */
};

struct ant_jv {
    uint8_t kind, form; /* ant_jkind; ant_jform of a LIST, ANT_JFORM_SAFE of a STRING */
    union {
        bool truth;
        int64_t integer;
        double real;
        const char *text; /* not NUL-terminated */
        struct ant_jlist *list;
        struct ant_jdict *dict;
        struct ant_jloop *loop;
        struct ant_jmacro *macro;
        struct ant_jmethod *method;
    };
    size_t bytes; /* of text */
};

struct ant_jlist {
    struct ant_jv *items;
    size_t n, cap;
};
struct ant_jdict {
    struct ant_jpair {
        struct ant_jv key, value;
    } * pairs; /* in the order of insertion */
    size_t n, cap;
};
struct ant_jloop {
    const struct ant_jlist *list;
    size_t i;
};
struct ant_jmacro {
    const struct ant_jnode *node;
    struct ant_jframe *frame; /* where it was defined */
};
struct ant_jmethod {
    const struct ant_jbuiltin *builtin;
    struct ant_jv self;
};

/* A text that grows, in the rendering's arena. */
struct ant_jtext {
    char *data;
    size_t n, cap;
};

struct ant_jrun {
    const struct ant_jinja *jinja;
    const struct tm *now;
    struct ant_arena arena;
    struct ant_jtext *out;  /* where output goes now */
    struct ant_jtext grown; /* the last long sum of texts */
    int64_t work_left;
    int depth, line;
    struct ant_error *err;
};

/* What a filter, test, method or function was called with. */
struct ant_jcall {
    const struct ant_jv *args[4]; /* by the order of `params`; NULL: not given */
    const struct ant_jv *all;     /* without `params`: those by place ... */
    size_t n;
    const struct ant_jnamed {
        const char *name;
        struct ant_jv value;
    } * named; /* ... and those by name */
    size_t n_named;
};
typedef int ant_jfunction(struct ant_jrun *run, const struct ant_jv *self,
                          const struct ant_jcall *call, struct ant_jv *out);

struct ant_jbuiltin {
    const char *name;
    const char *params;  /* "first second"; a "*" before one that must be given; NULL: any */
    ant_jfunction *call; /* NULL: known to Python, not to us */
};
/* In a list that a NULL name ends; NULL when there is none. */
const struct ant_jbuiltin *ant_jinja_find(const struct ant_jbuiltin *list, const char *name,
                                          size_t bytes);
extern const struct ant_jbuiltin ant_jinja_filters[], ant_jinja_tests[], ant_jinja_functions[];
/* The method of an object, as Python's attribute would be found; NULL when there is none. */
const struct ant_jbuiltin *ant_jinja_method(const struct ant_jv *self, const char *name,
                                            size_t bytes);

/* ---- values (jinja_value.c) ------------------------------------------------------------------ */

/* ANT_EDATA with the line that is being evaluated before the text. */
int ant_jinja_fail(struct ant_jrun *run, enum ant_err code, const char *format, ...)
    __attribute__((format(printf, 3, 4), cold));
int ant_jinja_fail_undefined(struct ant_jrun *run, const struct ant_jv *value);
/* Count `n` units of work, of which each is a few steps or some 16 bytes gone through; an error
 * when there was too much of it. */
int ant_jinja_work(struct ant_jrun *run, size_t n);
/* One level deeper, if it is not too deep; run->depth-- leaves it. */
enum { ANT_JV_DEEPEST = 2500 }; /* lists within lists; JSON has 2048 at most */
int ant_jinja_enter(struct ant_jrun *run, int deepest);
/* Memory, or NULL with the error set. */
void *ant_jinja_take(struct ant_jrun *run, size_t bytes);

struct ant_jv ant_jv_bool(bool truth);
struct ant_jv ant_jv_int(int64_t integer);
struct ant_jv ant_jv_float(double real);
struct ant_jv ant_jv_text(const char *text, size_t bytes); /* borrowed */
struct ant_jv ant_jv_word(const char *text);               /* a literal of ours */
struct ant_jv ant_jv_undefined(const char *name, size_t bytes);
int ant_jv_list(struct ant_jrun *run, enum ant_jform form, size_t room, struct ant_jv *out);
int ant_jv_append(struct ant_jrun *run, struct ant_jlist *list, const struct ant_jv *item);
void ant_jlist_reverse(struct ant_jlist *list);
int ant_jv_dict(struct ant_jrun *run, struct ant_jv *out);
int ant_jv_put(struct ant_jrun *run, struct ant_jdict *dict, const struct ant_jv *key,
               const struct ant_jv *value);
int ant_jv_from_json(struct ant_jrun *run, const json_t *json, struct ant_jv *out);

bool ant_jv_is_number(const struct ant_jv *value);                /* bool, int, float */
bool ant_jv_as_integer(const struct ant_jv *value, int64_t *out); /* bool, int; else false */
double ant_jv_real(const struct ant_jv *number);
const char *ant_jv_type(const struct ant_jv *value); /* as Python calls it */
bool ant_jv_truth(const struct ant_jv *value);
int ant_jv_equal(struct ant_jrun *run, const struct ant_jv *a, const struct ant_jv *b, bool *out);
/* <0, 0, >0; an error for what Python does not order. */
int ant_jv_compare(struct ant_jrun *run, const struct ant_jv *a, const struct ant_jv *b, int *out);
int ant_jv_contains(struct ant_jrun *run, const struct ant_jv *all, const struct ant_jv *item,
                    bool *out);
/* NULL: no such key. */
const struct ant_jv *ant_jv_get(const struct ant_jdict *dict, const char *key, size_t bytes);
int ant_jv_lookup(struct ant_jrun *run, const struct ant_jdict *dict, const struct ant_jv *key,
                  const struct ant_jv **out);
/* What a loop over it goes through: characters of a string, keys of a dict; uses a generator up. */
int ant_jv_items(struct ant_jrun *run, const struct ant_jv *value, const struct ant_jlist **out);
int ant_jv_length(struct ant_jrun *run, const struct ant_jv *value, int64_t *out);
/* The attribute or item that `key` names, preferring the attribute for a.key and the item for
 * a[key]; UNDEFINED when there is none. */
int ant_jv_member(struct ant_jrun *run, const struct ant_jv *value, const char *name, size_t bytes,
                  struct ant_jv *out);
int ant_jv_index(struct ant_jrun *run, const struct ant_jv *value, const struct ant_jv *key,
                 struct ant_jv *out);
/* NULL: not given. */
int ant_jv_slice(struct ant_jrun *run, const struct ant_jv *value, const struct ant_jv *from,
                 const struct ant_jv *to, const struct ant_jv *step, struct ant_jv *out);

/* ---- values as text (jinja_text.c) ----------------------------------------------------------- */

int ant_jtext_add(struct ant_jrun *run, struct ant_jtext *text, const char *data, size_t n);
struct ant_jv ant_jtext_value(const struct ant_jtext *text);
size_t ant_jv_characters(const char *text, size_t bytes);
size_t ant_jv_offset(const char *text, size_t bytes, size_t characters); /* of that character */

/* Bytes of the line that text begins with; *end: those of what ends it, 0 at the end of the text.
 */
size_t ant_jv_line(const char *text, size_t bytes, size_t *end);

int ant_jv_print(struct ant_jrun *run, struct ant_jtext *out, const struct ant_jv *value); /* str */
int ant_jv_repr(struct ant_jrun *run, struct ant_jtext *out, const struct ant_jv *value);
int ant_jv_string(struct ant_jrun *run, const struct ant_jv *value, struct ant_jv *out); /* str */

struct ant_jjson {
    bool ascii, sorted, is_indented;
    struct ant_jv indent, item_separator, key_separator; /* strings */
};
int ant_jv_json(struct ant_jrun *run, struct ant_jtext *out, const struct ant_jv *value,
                const struct ant_jjson *style, int level);

/* ---- sorting (jinja_sort.c) ------------------------------------------------------------------ */

/* Stable; `keys` and `items` of n are permuted alike. */
int ant_jv_sort(struct ant_jrun *run, struct ant_jv *keys, struct ant_jv *items, size_t n,
                bool descending);

/* ---- operators (jinja_operator.c) ------------------------------------------------------------ */

int ant_jinja_binary(struct ant_jrun *run, enum ant_jop op, const struct ant_jv *a,
                     const struct ant_jv *b, struct ant_jv *out);
/* Comparisons. */
int ant_jinja_holds(struct ant_jrun *run, enum ant_jop op, const struct ant_jv *a,
                    const struct ant_jv *b, bool *out);
int ant_jinja_sign(struct ant_jrun *run, bool is_negative, struct ant_jv *value);

/* ---- evaluation (jinja_eval.c) --------------------------------------------------------------- */

/* Write what the template of the run makes of these variables. */
int ant_jinja_evaluate(struct ant_jrun *run, const struct ant_jinja_variable *variables, size_t n);

/* Call a filter or test by its name, arguments as map and select have them. */
int ant_jinja_apply(struct ant_jrun *run, const struct ant_jbuiltin *list,
                    const struct ant_jv *name, const struct ant_jv *input,
                    const struct ant_jv *args, size_t n, const struct ant_jnamed *named,
                    size_t n_named, struct ant_jv *out);

#endif
