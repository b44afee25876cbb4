/* SPDX-License-Identifier: Apache-2.0 */
/* The main of a fuzz target without libFuzzer: give it every file named, once. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "fuzz.h"

int main(int argc, char **argv)
{
    struct ant_error err;
    for (int i = 1; i < argc; i++) {
        char *text;
        size_t bytes;
        if (argv[i][0] == '-')
            continue; /* an option of libFuzzer */
        if (ant_file_read(&text, &bytes, argv[i], (size_t)1 << 30, &err) < 0) {
            fprintf(stderr, "%s\n", err.text);
            return 1;
        }
        /* The exact size, so that a sanitizer sees a read of one byte too many. */
        uint8_t *data = malloc(bytes ? bytes : 1);
        if (!data)
            return 1;
        for (size_t k = 0; k < bytes; k++)
            data[k] = (uint8_t)text[k];
        free(text);
        fprintf(stderr, "%s\n", argv[i]); /* the last one named is the culprit of a crash */
        LLVMFuzzerTestOneInput(data, bytes);
        free(data);
    }
    return 0;
}
