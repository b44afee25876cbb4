/* SPDX-License-Identifier: Apache-2.0 */
/* Checksums of the journal (CRC32C) and digests that name a model, a binary, a
 * set of settings (XXH3, 128 bits). Digests tell things apart; they are no
 * defence against forgery. Thread: any. */
#ifndef ANT_BASE_CHECKSUM_H
#define ANT_BASE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* CRC32C (Castagnoli) of `data` continuing from `crc` (0 to start). Uses SSE4.2
 * where the CPU has it, same value without. */
uint32_t ant_crc32c(uint32_t crc, const void *data, size_t bytes);

/* The same by tables alone: what a CPU without SSE4.2 runs, for tests to compare. */
uint32_t ant_crc32c_portable(uint32_t crc, const void *data, size_t bytes);

/* The CRC32C of two pieces one after the other, of each one's and the length of the second. */
uint32_t ant_crc32c_combine(uint32_t first, uint32_t second, uint64_t second_bytes);

struct ant_digest {
    uint64_t high, low;
};
struct ant_digest ant_digest(const void *data, size_t bytes);
int ant_digest_file(struct ant_digest *out, const char *path, struct ant_error *err);

enum { ANT_DIGEST_TEXT = 33 }; /* 32 hexadecimal digits and NUL */
void ant_digest_text(char text[ANT_DIGEST_TEXT], struct ant_digest digest);

#endif
