/* SPDX-License-Identifier: Apache-2.0 */
/* Byte-pair encoding of one piece of text.
 *
 * Hides the merge algorithm, its tables and the cache of short pieces. A struct ant_bpe is
 * immutable; each thread has its own struct ant_bpe_work. */
#ifndef ANT_TEXT_BPE_H
#define ANT_TEXT_BPE_H

#include <stddef.h>

#include "base/error.h"
#include "base/mem.h"
#include "text/vocab.h"

struct ant_bpe;
struct ant_bpe_work;

/* `vocab` is borrowed until close. ANT_EDATA when it cannot encode. */
int ant_bpe_open(struct ant_bpe **out, const struct ant_vocab *vocab, struct ant_error *err);
void ant_bpe_close(struct ant_bpe *bpe); /* legal on NULL */

struct ant_bpe_work *ant_bpe_work_open(void);
void ant_bpe_work_close(struct ant_bpe_work *work); /* legal on NULL */

/* Append the ids of a piece of less than 2 GiB, well-formed UTF-8. A work serves one bpe only. */
void ant_bpe_encode(const struct ant_bpe *bpe, struct ant_bpe_work *work, const char *piece,
                    size_t bytes, struct ant_ids *out);

#endif
