/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "store/journal_frame.h"

#include <string.h>

#include "base/checksum.h"

enum {
    MAGIC = 0x31464a41, /* "AJF1" */
    HEADER = ANT_FRAME_HEADER,
    ANSWER = 42, /* of a payload, before the tokens */
    PART = 8,
    LIST = 8, /* of a list of log probabilities, before its values */
};

/* ---- bytes ----------------------------------------------------------------------------------- */

static void put_u16(unsigned char *at, uint32_t value)
{
    at[0] = (unsigned char)value;
    at[1] = (unsigned char)(value >> 8);
}

static void put_u32(unsigned char *at, uint32_t value)
{
    put_u16(at, value);
    put_u16(at + 2, value >> 16);
}

static void put_u64(unsigned char *at, uint64_t value)
{
    put_u32(at, (uint32_t)value);
    put_u32(at + 4, (uint32_t)(value >> 32));
}

static void put_float(unsigned char *at, float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof(bits));
    put_u32(at, bits);
}

static uint32_t get_u16(const unsigned char *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8;
}

static uint32_t get_u32(const unsigned char *at)
{
    return get_u16(at) | get_u16(at + 2) << 16;
}

static uint64_t get_u64(const unsigned char *at)
{
    return get_u32(at) | (uint64_t)get_u32(at + 4) << 32;
}

static float get_float(const unsigned char *at)
{
    uint32_t bits = get_u32(at);
    float value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* ---- frames ---------------------------------------------------------------------------------- */

/* Of the length, and of everything behind the checksum itself. */
static uint32_t frame_crc(const unsigned char *frame, size_t length)
{
    uint32_t crc = ant_crc32c(0, frame + 4, 4);

    return ant_crc32c(crc, frame + 12, HEADER - 12 + length);
}

static void put_header(unsigned char *frame, int64_t row, int32_t sample, int kind, size_t length)
{
    put_u32(frame, MAGIC);
    put_u32(frame + 4, (uint32_t)length);
    put_u64(frame + 12, (uint64_t)row);
    put_u16(frame + 20, (uint32_t)sample);
    frame[22] = (unsigned char)kind;
    put_u32(frame + 8, frame_crc(frame, length));
}

static unsigned char *put_tokens(unsigned char *p, const int32_t *tokens, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++, p += 4)
        put_u32(p, (uint32_t)tokens[i]);
    return p;
}

/* ---- lists of log probabilities -------------------------------------------------------------- */

static size_t list_bytes(uint64_t n, uint64_t n_top)
{
    return LIST + 4 * n + 8 * n * n_top;
}

static size_t logprobs_bytes(const struct ant_logprobs *logprobs)
{
    return logprobs ? list_bytes(logprobs->n, (uint64_t)logprobs->n_top) : LIST;
}

/* Of an answer that has either. */
static bool has_lists(const struct ant_answer *answer)
{
    return answer->logprobs || answer->prompt_logprobs;
}

static size_t n_prompt_of(const struct ant_answer *answer)
{
    return answer->prompt_logprobs ? answer->prompt_logprobs->n : 0;
}

static unsigned char *put_list(unsigned char *p, const struct ant_logprobs *logprobs)
{
    static const struct ant_logprobs none;
    const struct ant_logprobs *from = logprobs ? logprobs : &none;
    uint32_t n_top = from->n * (uint32_t)from->n_top;

    put_u32(p, from->n);
    put_u32(p + 4, (uint32_t)from->n_top);
    p += LIST;
    for (uint32_t i = 0; i < from->n; i++, p += 4)
        put_float(p, from->values[i]);
    p = put_tokens(p, from->top_ids, n_top);
    for (uint32_t i = 0; i < n_top; i++, p += 4)
        put_float(p, from->top[i]);
    return p;
}

/* Bytes of the list at `p`, of which there are `left`; 0: none fits. */
static size_t check_list(const unsigned char *p, size_t left)
{
    if (left < LIST)
        return 0;
    uint64_t n = get_u32(p), n_top = get_u32(p + 4);
    if (n > ANT_FRAME_MAX / 4 || n_top > ANT_FRAME_MAX / 8 || list_bytes(n, n_top) > left)
        return 0;
    return list_bytes(n, n_top);
}

/* What is behind the error: nothing, or both lists and the ids of the prompt. */
static bool are_lists(const unsigned char *p, size_t left)
{
    size_t first = check_list(p, left);
    size_t second = first ? check_list(p + first, left - first) : 0;

    return left == 0 || (second && left - first - second == 4 * (size_t)get_u32(p + first));
}

static const unsigned char *get_list(struct ant_logprobs *out, const unsigned char *p)
{
    uint32_t n = get_u32(p);
    int32_t n_top = (int32_t)get_u32(p + 4);

    if (out->n_top != n_top)
        ant_logprobs_release(out);
    out->n_top = n_top;
    ant_logprobs_reserve(out, n);
    out->n = n;
    p += LIST;
    for (uint32_t i = 0; i < n; i++, p += 4)
        out->values[i] = get_float(p);
    for (uint32_t i = 0; i < n * (uint32_t)n_top; i++, p += 4)
        out->top_ids[i] = (int32_t)get_u32(p);
    for (uint32_t i = 0; i < n * (uint32_t)n_top; i++, p += 4)
        out->top[i] = get_float(p);
    return p;
}

/* ---- answers and parts ----------------------------------------------------------------------- */

size_t ant_frame_answer_bytes(const struct ant_answer *answer)
{
    size_t bytes = ANSWER + 4 * (size_t)answer->n_tokens + answer->text_bytes + answer->error_bytes;

    if (has_lists(answer))
        bytes += logprobs_bytes(answer->logprobs) + logprobs_bytes(answer->prompt_logprobs) +
                 4 * n_prompt_of(answer);
    return bytes;
}

size_t ant_frame_part_bytes(const struct ant_answer_part *part)
{
    return PART + 4 * (size_t)part->n_tokens;
}

void ant_frame_put_answer(unsigned char *frame, const struct ant_answer *answer)
{
    unsigned char *p = frame + HEADER;

    p[0] = (unsigned char)answer->status;
    p[1] = (unsigned char)answer->finish;
    put_u32(p + 2, (uint32_t)answer->prompt_tokens);
    put_u32(p + 6, (uint32_t)answer->dp_rank);
    put_u32(p + 10, (uint32_t)answer->attempt);
    put_u64(p + 14, answer->seed);
    put_float(p + 22, answer->t_first);
    put_float(p + 26, answer->t_total);
    put_u32(p + 30, answer->n_tokens);
    put_u32(p + 34, answer->text_bytes);
    put_u32(p + 38, answer->error_bytes);
    p = put_tokens(p + ANSWER, answer->tokens, answer->n_tokens);
    if (answer->text_bytes)
        memcpy(p, answer->text, answer->text_bytes);
    if (answer->error_bytes)
        memcpy(p + answer->text_bytes, answer->error, answer->error_bytes);
    if (has_lists(answer)) {
        p = put_list(p + answer->text_bytes + answer->error_bytes, answer->logprobs);
        p = put_list(p, answer->prompt_logprobs);
        put_tokens(p, answer->prompt_ids, (uint32_t)n_prompt_of(answer));
    }
    put_header(frame, answer->row, answer->sample,
               answer->status == ANT_STATUS_OK ? ANT_FRAME_DONE : ANT_FRAME_FAILED,
               ant_frame_answer_bytes(answer));
}

void ant_frame_put_part(unsigned char *frame, const struct ant_answer_part *part)
{
    unsigned char *p = frame + HEADER;

    put_u32(p, part->first);
    put_u32(p + 4, part->n_tokens);
    put_tokens(p + PART, part->tokens, part->n_tokens);
    put_header(frame, part->row, part->sample, ANT_FRAME_PART, ant_frame_part_bytes(part));
}

bool ant_frame_length(const unsigned char *header, size_t *length)
{
    *length = get_u32(header + 4);
    return get_u32(header) == MAGIC && *length <= ANT_FRAME_MAX;
}

static bool is_answer(const unsigned char *p, size_t length)
{
    if (length < ANSWER || p[0] > ANT_STATUS_MISSING || p[1] > ANT_FINISH_LAST)
        return false;
    uint64_t tokens = get_u32(p + 30), text = get_u32(p + 34), error = get_u32(p + 38);
    uint64_t end = ANSWER + 4 * tokens + text + error;
    return end <= length && are_lists(p + end, length - end);
}

static bool is_part(const unsigned char *p, size_t length)
{
    if (length < PART)
        return false;
    uint64_t first = get_u32(p), n = get_u32(p + 4);
    return n > 0 && first + n <= INT32_MAX && PART + 4 * n == length;
}

bool ant_frame_check(struct ant_frame *out, const unsigned char *frame, size_t length)
{
    const unsigned char *payload = frame + HEADER;
    size_t promised;

    if (!ant_frame_length(frame, &promised) || promised != length ||
        get_u32(frame + 8) != frame_crc(frame, length))
        return false;
    *out = (struct ant_frame){.row = get_u64(frame + 12),
                              .sample = (int32_t)get_u16(frame + 20),
                              .kind = frame[22],
                              .length = length};
    if (out->kind == ANT_FRAME_DONE || out->kind == ANT_FRAME_FAILED)
        return out->row <= INT64_MAX && is_answer(payload, length);
    if (out->kind == ANT_FRAME_PART)
        return out->row <= INT64_MAX && is_part(payload, length);
    return true;
}

void ant_frame_get_answer(struct ant_answer *out, const unsigned char *frame)
{
    const unsigned char *p = frame + HEADER;

    *out = (struct ant_answer){
        .row = (int64_t)get_u64(frame + 12),
        .sample = (int32_t)get_u16(frame + 20),
        .status = (enum ant_status)p[0],
        .finish = (enum ant_finish)p[1],
        .prompt_tokens = (int32_t)get_u32(p + 2),
        .dp_rank = (int32_t)get_u32(p + 6),
        .attempt = (int32_t)get_u32(p + 10),
        .seed = get_u64(p + 14),
        .t_first = get_float(p + 22),
        .t_total = get_float(p + 26),
        .n_tokens = get_u32(p + 30),
        .text_bytes = get_u32(p + 34),
        .error_bytes = get_u32(p + 38),
    };
    out->text = (const char *)p + ANSWER + 4 * (size_t)out->n_tokens;
    out->error = out->text + out->text_bytes;
}

/* Behind the error of an answer. */
static const unsigned char *lists_of(const unsigned char *frame)
{
    const unsigned char *p = frame + HEADER;

    return p + ANSWER + 4 * (size_t)get_u32(p + 30) + get_u32(p + 34) + get_u32(p + 38);
}

static bool frame_has_lists(const unsigned char *frame)
{
    return lists_of(frame) < frame + HEADER + get_u32(frame + 4);
}

void ant_frame_get_logprobs(struct ant_logprobs *out, struct ant_logprobs *prompt,
                            struct ant_ids *prompt_ids, const unsigned char *frame)
{
    const unsigned char *p = lists_of(frame);

    out->n = prompt->n = 0;
    prompt_ids->len = 0;
    if (!frame_has_lists(frame))
        return;
    p = get_list(prompt, get_list(out, p));
    for (uint32_t i = 0; i < prompt->n; i++, p += 4)
        ant_ids_add(prompt_ids, (int32_t)get_u32(p));
}

uint32_t ant_frame_n_prompt(const unsigned char *frame)
{
    const unsigned char *p = lists_of(frame);

    return frame_has_lists(frame) ? get_u32(p + list_bytes(get_u32(p), get_u32(p + 4))) : 0;
}

void ant_frame_get_part(struct ant_answer_part *out, const unsigned char *frame)
{
    *out = (struct ant_answer_part){
        .row = (int64_t)get_u64(frame + 12),
        .sample = (int32_t)get_u16(frame + 20),
        .first = get_u32(frame + HEADER),
        .n_tokens = get_u32(frame + HEADER + 4),
    };
}

/* Turned round on big-endian machines. */
void ant_frame_get_tokens(struct ant_ids *out, const unsigned char *frame, uint32_t skip)
{
    const unsigned char *p = frame + HEADER;
    bool is_part = frame[22] == ANT_FRAME_PART;
    uint32_t n = get_u32(is_part ? p + 4 : p + 30);

    p += is_part ? PART : ANSWER;
    for (uint32_t i = skip; i < n; i++)
        ant_ids_add(out, (int32_t)get_u32(p + 4 * (size_t)i));
}
