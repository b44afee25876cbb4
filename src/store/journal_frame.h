/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a frame, see journal.h. Pure: no files. Internal to the journal. */
#ifndef ANT_STORE_JOURNAL_FRAME_H
#define ANT_STORE_JOURNAL_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "store/journal.h"

enum {
    ANT_FRAME_HEADER = 23,
    ANT_FRAME_MAX = 1 << 30, /* bytes of a payload */
};

enum ant_frame_kind { ANT_FRAME_DONE = 1, ANT_FRAME_PART = 2, ANT_FRAME_FAILED = 3 };

/* What every frame says of itself. */
struct ant_frame {
    uint64_t row;
    int32_t sample;
    int kind;      /* enum ant_frame_kind, or one of a later version */
    size_t length; /* of the payload */
};

/* Bytes of the payload. */
size_t ant_frame_answer_bytes(const struct ant_answer *answer);
size_t ant_frame_part_bytes(const struct ant_answer_part *part);

/* Write the whole frame: room for ANT_FRAME_HEADER and the payload. */
void ant_frame_put_answer(unsigned char *frame, const struct ant_answer *answer);
void ant_frame_put_part(unsigned char *frame, const struct ant_answer_part *part);

/* The length of the payload that a header promises; false: this is no header. */
bool ant_frame_length(const unsigned char *header, size_t *length);
/* Is it whole (checksum), and does the payload keep what its own numbers promise? `length` bytes of
 * it are there. */
bool ant_frame_check(struct ant_frame *out, const unsigned char *frame, size_t length);

/* Of a frame that was checked: all but the tokens, and those. Text and error point into it. */
void ant_frame_get_answer(struct ant_answer *out, const unsigned char *frame);
void ant_frame_get_part(struct ant_answer_part *out, const unsigned char *frame);
/* The log probabilities of an answer's frame, if it has any; n = 0 else. */
void ant_frame_get_logprobs(struct ant_logprobs *out, struct ant_logprobs *prompt,
                            struct ant_ids *prompt_ids, const unsigned char *frame);
/* How many the prompt has. */
uint32_t ant_frame_n_prompt(const unsigned char *frame);
/* Append the frame's tokens from the `skip`-th on. */
void ant_frame_get_tokens(struct ant_ids *out, const unsigned char *frame, uint32_t skip);

#endif
