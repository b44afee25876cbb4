/* SPDX-License-Identifier: Apache-2.0 */
/* Error codes and the text that goes with them.
 *
 * Functions return 0 or a negative enum ant_err. The function that first knows
 * the cause writes the text, once, into a struct ant_error that the caller
 * owns; everybody above only passes it on or adds one piece of context. Nobody
 * but main prints. Texts are lower case, without full stop, name the file, row
 * or rank, and quote with ''. They are one line: control characters, of a name
 * in a file, become blanks. Thread: any; a struct ant_error belongs to one thread
 * at a time. */
#ifndef ANT_BASE_ERROR_H
#define ANT_BASE_ERROR_H

#include <stdarg.h>

enum ant_err {
    ANT_OK = 0,
    ANT_ENOMEM = -1,  /* a planned allocation failed */
    ANT_EUSAGE = -2,  /* what was asked for cannot be done: options, sizes, a
                         memory plan that does not fit */
    ANT_EDATA = -3,   /* a file's content is wrong */
    ANT_EIO = -4,     /* the system refused: open, read, write, no space */
    ANT_ENOENT = -5,  /* a file, dataset or key is not there */
    ANT_EUNSUPP = -6, /* well-formed, but this build or version cannot handle it */
    ANT_EDEVICE = -7, /* a GPU or its library failed */
    ANT_EPEER = -8,   /* another rank failed, is missing or does not agree */
    ANT_EINTR = -9,   /* stopped by a signal or by request; work is saved */
    ANT_EBUG = -10,   /* a broken promise of our own */
};

/* Exit codes of the program (numbers of sysexits.h; antiphon(1) tells users). */
enum ant_exit {
    ANT_EXIT_DONE = 0,
    ANT_EXIT_USAGE = 64,
    ANT_EXIT_DATA = 65,
    ANT_EXIT_UNAVAILABLE = 69, /* doctor: the cluster lacks something */
    ANT_EXIT_BUG = 70,
    ANT_EXIT_DISK = 74,
    ANT_EXIT_TEMPORARY = 75
};

struct ant_error {
    char text[512];
};

/* Write the text and return `code`, so that a caller can `return ant_fail(err,
 * ANT_EIO, "cannot open '%s'", path)`. `err` may be NULL (the text is dropped). */
int ant_fail(struct ant_error *err, enum ant_err code, const char *format, ...)
    __attribute__((format(printf, 3, 4), cold));
int ant_fail_va(struct ant_error *err, enum ant_err code, const char *format, va_list args)
    __attribute__((format(printf, 3, 0), cold));

/* Put "context: " before the text already there; returns `code` unchanged. */
int ant_fail_in(struct ant_error *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4), cold));

/* The exit code that a failure with this code ends the program with. */
enum ant_exit ant_exit_code(int code);

/* Return from the calling function with the first negative result. The only
 * control-flow macro. */
#define ANT_TRY(call)                                                                              \
    do {                                                                                           \
        int try_result = (call);                                                                   \
        if (try_result < 0)                                                                        \
            return try_result;                                                                     \
    } while (0)

#endif
