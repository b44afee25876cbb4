/* SPDX-License-Identifier: Apache-2.0 */
/* What the journal's parts know of the folder's files; the rest of journal_folder.c is public in
 * journal.h. */
#ifndef ANT_STORE_JOURNAL_FOLDER_H
#define ANT_STORE_JOURNAL_FOLDER_H

#include <stddef.h>

#include "base/error.h"
#include "store/journal.h"

/* r<rank>.s<start>.aj */
struct ant_journal_name {
    int rank, start;
};

/* Path of a rank's file, or of any other file in the folder. Caller frees. */
char *ant_journal_file_path(const char *out_path, int rank, int start);
char *ant_journal_timeline_path(const char *out_path, int rank, int start); /* beside it */
char *ant_journal_in_folder(const char *out_path, const char *name);

/* Make and claim the folder, with nothing in it to go on with; what a killed process leaves of this
 * is ANT_JOURNAL_NONE. Then, when there is: say what job it is. */
int ant_journal_clear(const char *out_path, struct ant_error *err);
int ant_manifest_write(const char *out_path, const struct ant_manifest *manifest,
                       struct ant_error *err);

/* The journal files of the folder, sorted by (start, rank); malloc'd. No folder: none. */
int ant_journal_list(const char *out_path, struct ant_journal_name **names, size_t *n,
                     struct ant_error *err);

#endif
