/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

/* Names in files may hold anything; a text is one line. */
static void make_one_line(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            *text = ' ';
}

int ant_fail_va(struct ant_error *err, enum ant_err code, const char *format, va_list args)
{
    if (!err)
        return code;
    vsnprintf(err->text, sizeof err->text, format, args);
    make_one_line(err->text);
    return code;
}

int ant_fail(struct ant_error *err, enum ant_err code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    ant_fail_va(err, code, format, args);
    va_end(args);
    return code;
}

int ant_fail_in(struct ant_error *err, int code, const char *format, ...)
{
    if (!err)
        return code;

    char context[sizeof err->text];
    va_list args;
    va_start(args, format);
    int written = vsnprintf(context, sizeof context, format, args);
    va_end(args);
    make_one_line(context);

    /* The cause matters more than where it happened: a long context is cut, the cause kept. */
    size_t length = written < 0 ? 0 : (size_t)written;
    size_t cause = strlen(err->text);
    size_t room = sizeof err->text - 1 - 2;
    if (length > sizeof context - 1)
        length = sizeof context - 1;
    if (length + cause > room)
        length = cause < room ? room - cause : 0;
    if (length == 0)
        return code;
    memmove(err->text + length + 2, err->text, cause + 1);
    memcpy(err->text, context, length);
    memcpy(err->text + length, ": ", 2);
    return code;
}

enum ant_exit ant_exit_code(int code)
{
    switch (code) {
    case ANT_EUSAGE:
        return ANT_EXIT_USAGE;
    case ANT_EDATA:
    case ANT_ENOENT:
    case ANT_EUNSUPP:
        return ANT_EXIT_DATA;
    case ANT_EIO:
        return ANT_EXIT_DISK;
    case ANT_ENOMEM:
    case ANT_EDEVICE:
    case ANT_EPEER:
    case ANT_EINTR:
        return ANT_EXIT_TEMPORARY;
    default:
        return code >= 0 ? ANT_EXIT_DONE : ANT_EXIT_BUG;
    }
}
