/* SPDX-License-Identifier: Apache-2.0 */
/* What tests of many modules begin with: folders, files of the source tree, a tiny checkpoint.
 * Whatever cannot be had ends the test. */
#ifndef ANT_TESTS_FIXTURE_H
#define ANT_TESTS_FIXTURE_H

#include <stddef.h>

#include <jansson.h>

#include "model/checkpoint.h"

void must(int rc, const struct ant_error *err);

/* A file of the source tree, such as "tests/golden/rope/rope.txt". Caller frees. */
char *source_path(const char *name);
/* The JSON file `name` in `folder`; NULL, and a word on standard error, if it is none. */
json_t *load_json(const char *folder, const char *name);
/* tests/golden/tiny/NAME, and its tokenizer unless that is NULL. */
struct ant_checkpoint *open_tiny(const char *name, struct ant_tokenizer **tokenizer);

/* A new empty folder below TMPDIR or /tmp. */
void make_folder(char path[256]);
void remove_folder(const char *path); /* with the files in it */
void write_file(const char *path, const void *data, size_t bytes);
/* The file `name` in `folder`. */
void write_in(const char *folder, const char *name, const void *data, size_t bytes);

/* One for as long as a test or a group of tests runs, as cmocka wants it. */
extern char test_folder[256];
int make_test_folder(void **state);
int remove_test_folder(void **state);

#endif
