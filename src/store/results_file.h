/* SPDX-License-Identifier: Apache-2.0 */
/* The results file as HDF5: made and put in place by one rank with the serial driver, filled in
 * between by all. */
#ifndef ANT_STORE_RESULTS_FILE_H
#define ANT_STORE_RESULTS_FILE_H

#include "store/h5.h"
#include "store/results_layout.h"

#define ANT_RESULTS_SCHEMA "antiphon-results"
enum { ANT_RESULTS_VERSION = 1 };

/* The type of a column; close with H5Tclose. */
hid_t ant_results_type_open(const struct ant_results_column *column);

/* One rank: create `part` with every group, attribute and dataset at its full size, `complete` = 0,
 * and reserve its space on the disk. */
int ant_results_file_create(const char *part, const struct ant_results_plan *plan,
                            const struct ant_results_layout *layout, struct ant_error *err);

/* One rank, while creating it: /performance and /timeline. */
int ant_results_put_performance(hid_t file, const struct ant_results_plan *plan,
                                struct ant_error *err);

/* Of results that are open: the file, and its name in errors. */
hid_t ant_results_handle(const struct ant_results *results);
const char *ant_results_path(const struct ant_results *results);

/* Every rank, when it has written: put what it wrote on the disk. */
int ant_results_file_sync(const char *part, struct ant_error *err);

/* What a dataset of /results says of its content in an attribute of this name: the CRC32C of all
 * its elements as they are in the file. */
#define ANT_RESULTS_CRC "crc32c"
struct ant_results_seal {
    const char *name; /* of the dataset; NULL: there is none */
    uint32_t crc;
};

/* The same for a file that has nothing in it yet. */
int ant_results_file_begin(hid_t *out, const char *part, struct ant_error *err);

/* One rank, when all have written: set the checksums, and `complete` as it is, put `part` on the
 * disk and rename it to `path`. */
int ant_results_file_publish(const char *part, const char *path,
                             const struct ant_results_seal *seals, size_t n, bool is_complete,
                             struct ant_error *err);

/* All ranks: this rank's slice, of `layout`, into the open file, in pieces. Payloads come from the
 * journal of plan->path, ids from `prompts`. Then the same read back and compared by checksum. */
struct ant_results_slice;
int ant_results_slice_open(struct ant_results_slice **out, hid_t file, const char *part,
                           const struct ant_results_plan *plan,
                           const struct ant_results_layout *layout, struct ant_prompts *prompts,
                           struct ant_error *err);
int ant_results_slice_write(struct ant_results_slice *slice, struct ant_error *err);
int ant_results_slice_verify(struct ant_results_slice *slice, struct ant_error *err);
uint32_t ant_results_slice_crc(const struct ant_results_slice *slice, int column); /* as written */
void ant_results_slice_close(struct ant_results_slice *slice);

/* How long the ids of this rank's slice are. */
int ant_results_measure_ids(struct ant_results_ids *out, const struct ant_results_layout *layout,
                            const struct ant_results_plan *plan, struct ant_prompts *prompts,
                            struct ant_error *err);

/* results_check.c: the checksum of an open file's dataset, by reading it; `path` names the file in
 * errors. What the dataset says itself: 1, or 0 when it says nothing. */
int ant_results_crc(hid_t file, const char *dataset, const char *path, uint32_t *crc,
                    struct ant_error *err);
int ant_results_read_crc(hid_t dataset, const char *label, uint32_t *crc, struct ant_error *err);
int ant_results_fail_crc(const char *label, struct ant_error *err);

#endif
