/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/checksum.h"
#include "base/file.h"
#include "base/mem.h"
#include "store/journal.h"
#include "journal_files.h"

/* Lists of log probabilities as long as the tokens, and of another number of most probable ids. */
static const struct ant_logprobs logprobs_of[] = {
    {.values = (float[]){-1},
     .top_ids = (int32_t[]){5, -1},
     .top = (float[]){-1, 0},
     .n = 1,
     .n_top = 2},
    {.values = (float[]){-1, -2.5f}, .n = 2},
    {.values = (float[]){-3, -2, -1},
     .top_ids = (int32_t[]){3, 2, 1},
     .top = (float[]){-3, -2, -1},
     .n = 3,
     .n_top = 1},
};

static struct ant_answer answer_to(int64_t row, char *text)
{
    static const int32_t tokens[] = {1, -2, 0x7fffffff};
    int64_t n = row % 4 < 3 ? row % 4 : 3;

    snprintf(text, 64, "answer %lld", (long long)row);
    return (struct ant_answer){
        .row = row,
        .sample = (int32_t)(row % 3),
        .status = row % 5 ? ANT_STATUS_OK : ANT_STATUS_FAILED,
        .finish = row % 5 ? ANT_FINISH_EOS : ANT_FINISH_ERROR,
        .prompt_tokens = 12,
        .dp_rank = 3,
        .attempt = 2,
        .seed = UINT64_MAX - 1,
        .t_first = 0.5f,
        .t_total = 1.25f,
        .tokens = tokens,
        .n_tokens = (uint32_t)n,
        .text = text,
        .text_bytes = (uint32_t)strlen(text),
        .error = "why",
        .error_bytes = row % 5 ? 0 : 3,
        .logprobs = row % 3 && n > 0 ? &logprobs_of[n - 1] : NULL,
        .prompt_logprobs = row % 7 == 2 ? &logprobs_of[row % 2] : NULL,
        .prompt_ids = tokens,
    };
}

static void add_rows(int rank, int start, int64_t first, int64_t n)
{
    struct ant_journal *journal;
    char text[64];

    assert_int_equal(ant_journal_open(&journal, out, rank, start, &err), 0);
    for (int64_t row = first; row < first + n; row++) {
        struct ant_answer answer = answer_to(row, text);
        assert_int_equal(ant_journal_add(journal, &answer, &err), 0);
        if (ant_journal_is_due(journal))
            assert_int_equal(ant_journal_sync(journal, &err), 0);
    }
    assert_int_equal(ant_journal_sync(journal, &err), 0);
    size_t count;
    const struct ant_journal_entry *entries = ant_journal_entries(journal, &count);
    assert_int_equal(count, n);
    for (int64_t i = 0; i < n; i++)
        assert_int_equal(entries[i].row, first + i);
    ant_journal_close(journal);
}

/* The whole index; the caller has its entries and need not care for parts. */
static struct ant_journal_entry *replay(size_t *n, uint64_t *dropped)
{
    struct ant_journal_index index = {0};

    if (ant_journal_replay(&index, out, 0, 1, &err) < 0)
        fail_msg("%s", err.text);
    *n = index.n;
    *dropped = index.dropped_bytes;
    free(index.parts);
    return index.entries;
}

static void assert_same_logprobs(const struct ant_logprobs *got, const struct ant_logprobs *want)
{
    assert_int_equal(!got, !want);
    if (!want)
        return;
    assert_int_equal(got->n, want->n);
    assert_int_equal(got->n_top, want->n_top);
    assert_memory_equal(got->values, want->values, 4 * want->n);
    if (want->n_top > 0) {
        assert_memory_equal(got->top_ids, want->top_ids, 4 * want->n * (size_t)want->n_top);
        assert_memory_equal(got->top, want->top, 4 * want->n * (size_t)want->n_top);
    }
}

static void assert_same(const struct ant_answer *got, const struct ant_answer *want)
{
    assert_int_equal(got->row, want->row);
    assert_int_equal(got->sample, want->sample);
    assert_int_equal(got->status, want->status);
    assert_int_equal(got->finish, want->finish);
    assert_int_equal(got->prompt_tokens, want->prompt_tokens);
    assert_int_equal(got->dp_rank, want->dp_rank);
    assert_int_equal(got->attempt, want->attempt);
    assert_true(got->seed == want->seed);
    assert_true(got->t_first == want->t_first && got->t_total == want->t_total);
    assert_int_equal(got->n_tokens, want->n_tokens);
    if (want->n_tokens)
        assert_memory_equal(got->tokens, want->tokens, 4 * want->n_tokens);
    assert_int_equal(got->text_bytes, want->text_bytes);
    assert_memory_equal(got->text, want->text, want->text_bytes);
    assert_int_equal(got->error_bytes, want->error_bytes);
    if (want->error_bytes)
        assert_memory_equal(got->error, want->error, want->error_bytes);
    assert_same_logprobs(got->logprobs, want->logprobs);
    assert_same_logprobs(got->prompt_logprobs, want->prompt_logprobs);
    if (want->prompt_logprobs)
        assert_memory_equal(got->prompt_ids, want->prompt_ids, 4 * want->prompt_logprobs->n);
}

static void what_is_added_is_read_back(void **state)
{
    (void)state;
    size_t n;
    uint64_t dropped;
    char text[64];

    prepare(1);
    add_rows(0, 1, 0, 50);
    add_rows(1, 1, 50, 50);
    struct ant_journal_entry *entries = replay(&n, &dropped);
    assert_int_equal(n, 100);
    assert_int_equal(dropped, 0);
    struct ant_journal_reader *reader = ant_journal_reader_open(out);
    for (size_t i = 0; i < n; i++) {
        struct ant_answer want = answer_to((int64_t)i, text), got;
        assert_int_equal(ant_journal_read(reader, &entries[i], &got, &err), 0);
        assert_same(&got, &want);
    }
    ant_journal_reader_close(reader);
    free(entries);
    assert_int_equal(ant_journal_remove(out, &err), 0);
    assert_int_equal(access(inside(""), F_OK), -1);
}

/* The layout is a promise to later versions: bytes of one frame, written out by hand. */
static void frame_is_as_documented(void **state)
{
    (void)state;
    static const unsigned char head[] = {'A', 'J', 'F', '1', 48, 0, 0, 0};
    static const unsigned char tail[] = {
        7, 0, 0, 0, 0, 0, 0, 0, 2, 1, 1,              /* row, sample, kind */
        0, 3, 9, 0, 0, 0, 1, 0, 0, 0, 1, 0,  0,    0, /* OK, EOS, prompt_tokens, dp, attempt */
        5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 63, 0,    0,    0,    64, /* seed, 0.5, 2.0 */
        1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0,  0xfe, 0xff, 0xff, 0xff, 'h', 'i'};
    const int32_t token = -2;
    struct ant_answer answer = {.row = 7,
                                .sample = 258,
                                .finish = ANT_FINISH_EOS,
                                .prompt_tokens = 9,
                                .dp_rank = 1,
                                .attempt = 1,
                                .seed = 5,
                                .t_first = 0.5f,
                                .t_total = 2,
                                .tokens = &token,
                                .n_tokens = 1,
                                .text = "hi",
                                .text_bytes = 2};
    struct ant_journal *journal;
    char *bytes;
    size_t n;

    prepare(1);
    assert_int_equal(ant_journal_open(&journal, out, 0, 1, &err), 0);
    assert_int_equal(ant_journal_add(journal, &answer, &err), 0);
    ant_journal_close(journal);
    assert_int_equal(ant_file_read(&bytes, &n, inside("r0.s1.aj"), 1000, &err), 0);
    assert_int_equal(n, 12 + sizeof(tail));
    assert_memory_equal(bytes, head, sizeof(head));
    assert_memory_equal(bytes + 12, tail, sizeof(tail));
    uint32_t crc = ant_crc32c(ant_crc32c(0, head + 4, 4), tail, sizeof(tail));
    unsigned char stored[4] = {(unsigned char)crc, (unsigned char)(crc >> 8),
                               (unsigned char)(crc >> 16), (unsigned char)(crc >> 24)};
    assert_memory_equal(bytes + 8, stored, 4);
    free(bytes);
}

/* Cut the file at every length: replay must keep exactly the whole frames and count the rest. */
static void torn_tails_lose_one_row(void **state)
{
    (void)state;
    char *bytes, path[160];
    size_t total, n;
    uint64_t dropped;

    prepare(1);
    add_rows(0, 1, 0, 6);
    snprintf(path, sizeof(path), "%s", inside("r0.s1.aj"));
    struct ant_journal_entry *whole = replay(&n, &dropped);
    assert_int_equal(n, 6);
    assert_int_equal(ant_file_read(&bytes, &total, path, 1 << 20, &err), 0);
    for (size_t cut = total; cut-- > 0;) {
        assert_int_equal(truncate(path, (off_t)cut), 0);
        struct ant_journal_entry *entries = replay(&n, &dropped);
        size_t want = 0, kept = 0;
        while (want < 6 && whole[want].offset + 23 + whole[want].length <= cut) {
            kept = whole[want].offset + 23 + whole[want].length;
            want++;
        }
        assert_int_equal(n, want);
        assert_int_equal(dropped, cut - kept);
        free(entries);
    }
    free(bytes);
    free(whole);
}

static void every_flipped_bit_is_seen(void **state)
{
    (void)state;
    char *bytes, path[160];
    size_t total, n;
    uint64_t dropped;

    prepare(1);
    add_rows(0, 1, 0, 3);
    snprintf(path, sizeof(path), "%s", inside("r0.s1.aj"));
    struct ant_journal_entry *whole = replay(&n, &dropped);
    assert_int_equal(ant_file_read(&bytes, &total, path, 1 << 20, &err), 0);
    struct ant_journal_reader *reader = ant_journal_reader_open(out);
    for (size_t bit = 0; bit < total * 8; bit++) {
        int fd = open(path, O_WRONLY);
        char flipped = (char)(bytes[bit / 8] ^ (1 << bit % 8));
        assert_int_equal(pwrite(fd, &flipped, 1, (off_t)(bit / 8)), 1);
        size_t hit = 2;
        while (whole[hit].offset > bit / 8)
            hit--;
        struct ant_journal_entry *entries = replay(&n, &dropped);
        assert_int_equal(n, hit);
        assert_int_equal(dropped, total - whole[hit].offset);
        free(entries);
        struct ant_answer answer;
        assert_error(ant_journal_read(reader, &whole[hit], &answer, &err), ANT_EDATA,
                     "has changed");
        assert_int_equal(pwrite(fd, &bytes[bit / 8], 1, (off_t)(bit / 8)), 1);
        close(fd);
    }
    ant_journal_reader_close(reader);
    free(bytes);
    free(whole);
}

/* A frame with a good checksum but of another kind, or whose inner lengths lie. */
static void write_frame(const char *name, uint64_t row, unsigned char kind, const void *payload,
                        uint32_t length)
{
    struct ant_buf frame = {0};
    const uint32_t magic = 0x31464a41;
    const uint16_t sample = 0;

    ant_buf_add(&frame, &magic, 4);
    ant_buf_add(&frame, &length, 4);
    ant_buf_add(&frame, "0000", 4);
    ant_buf_add(&frame, &row, 8);
    ant_buf_add(&frame, &sample, 2);
    ant_buf_add(&frame, &kind, 1);
    ant_buf_add(&frame, payload, length);
    uint32_t crc = ant_crc32c(0, frame.data + 4, 4);
    crc = ant_crc32c(crc, frame.data + 12, frame.len - 12);
    memcpy(frame.data + 8, &crc, 4);
    int fd = open(inside(name), O_WRONLY | O_CREAT | O_APPEND, 0666);
    assert_int_equal(write(fd, frame.data, frame.len), frame.len);
    close(fd);
    ant_buf_release(&frame);
}

static void other_kinds_are_stepped_over(void **state)
{
    (void)state;
    unsigned char payload[42] = {0};
    size_t n;
    uint64_t dropped;

    prepare(1);
    write_frame("r0.s1.aj", 1, 98, "of a later version", 18);
    write_frame("r0.s1.aj", 2, 1, payload, sizeof(payload));
    write_frame("r0.s1.aj", 3, 99, NULL, 0);
    write_frame("r0.s1.aj", 4, 1, payload, sizeof(payload));
    struct ant_journal_entry *entries = replay(&n, &dropped);
    assert_int_equal(n, 2);
    assert_int_equal(dropped, 0);
    assert_int_equal(entries[0].row, 2);
    assert_int_equal(entries[1].row, 4);
    free(entries);
}

static void lies_behind_a_good_checksum_end_the_file(void **state)
{
    (void)state;
    static const struct {
        uint64_t row;
        int at;
        unsigned char value;
        uint32_t length;
    } lies[] = {
        {1, 33, 0x80, 42}, /* n_tokens of 2^31 */
        {1, 30, 1, 42},    /* one token that is not there */
        {1, 34, 1, 42},    {1, 41, 0xff, 42}, {1, 0, 4, 42},
        {1, 1, 6, 42},     {1, 0, 0, 41},     {UINT64_MAX, 0, 0, 42},
    };
    size_t n;
    uint64_t dropped;

    prepare(1);
    for (size_t i = 0; i < sizeof(lies) / sizeof(*lies); i++) {
        unsigned char payload[42] = {0};
        payload[lies[i].at] = lies[i].value;
        write_frame("r0.s1.aj", lies[i].row, 1, payload, lies[i].length);
        struct ant_journal_entry *entries = replay(&n, &dropped);
        if (n != 0 || dropped != 23 + lies[i].length)
            fail_msg("lie %zu was believed", i);
        free(entries);
        unlink(inside("r0.s1.aj"));
    }
}

static void first_done_frame_wins(void **state)
{
    (void)state;
    size_t n;
    uint64_t dropped;

    prepare(1);
    add_rows(1, 1, 0, 11); /* 0, 5 and 10 failed */
    unsigned char payload[42] = {0};
    write_frame("r0.s2.aj", 5, 1, payload, 42); /* sample 0, so not that of add_rows */
    write_frame("r7.s2.aj", 5, 1, payload, 42);
    payload[0] = ANT_STATUS_FAILED;
    write_frame("r0.s1.aj", 5, 3, payload, 42);
    payload[0] = ANT_STATUS_OK;
    struct ant_journal_entry *entries = replay(&n, &dropped);
    assert_int_equal(n, 12);
    assert_int_equal(entries[5].row, 5);
    assert_int_equal(entries[5].sample, 0);
    assert_int_equal(entries[5].status, ANT_STATUS_OK);
    assert_int_equal(entries[5].file_rank, 0);
    assert_int_equal(entries[5].file_start, 2);
    free(entries);
}

static void ranks_share_the_replay(void **state)
{
    (void)state;
    size_t sum = 0;

    prepare(1);
    for (int rank = 0; rank < 5; rank++)
        add_rows(rank, 1, rank * 10, rank + 1);
    for (int k = 0; k < 3; k++) {
        struct ant_journal_index index = {0};
        assert_int_equal(ant_journal_replay(&index, out, k, 3, &err), 0);
        for (size_t i = 0; i < index.n; i++)
            assert_int_equal(index.entries[i].file_rank % 3, k);
        sum += index.n;
        ant_journal_index_release(&index);
    }
    assert_int_equal(sum, 15);
}

/* ---- answers under way ----------------------------------------------------------------------- */

/* Token i of an answer is row * 1000 + i. */
static void add_part(struct ant_journal *journal, int64_t row, uint32_t first, uint32_t n)
{
    int32_t tokens[64];

    for (uint32_t i = 0; i < n; i++)
        tokens[i] = (int32_t)(row * 1000 + first + i);
    struct ant_answer_part part = {.row = row, .first = first, .n_tokens = n, .tokens = tokens};
    assert_int_equal(ant_journal_add_part(journal, &part, &err), 0);
}

static size_t tokens_of(const struct ant_journal_index *index, int64_t row)
{
    struct ant_journal_reader *reader = ant_journal_reader_open(out);
    struct ant_ids tokens = {0};

    assert_int_equal(ant_journal_read_parts(reader, index, row, 0, &tokens, &err), 0);
    for (size_t i = 0; i < tokens.len; i++)
        assert_int_equal(tokens.data[i], row * 1000 + (int64_t)i);
    size_t n = tokens.len;
    ant_ids_release(&tokens);
    ant_journal_reader_close(reader);
    return n;
}

static void parts_lead_as_far_as_they_can(void **state)
{
    (void)state;
    struct ant_journal *journal;
    struct ant_journal_index index = {0};
    char text[64];

    prepare(1);
    assert_int_equal(ant_journal_open(&journal, out, 0, 1, &err), 0);
    add_part(journal, 3, 0, 10);
    add_part(journal, 4, 0, 5); /* finished below */
    add_part(journal, 3, 10, 7);
    add_part(journal, 5, 2, 5); /* its beginning is missing */
    add_part(journal, 6, 0, 4);
    add_part(journal, 6, 9, 4); /* behind a gap */
    struct ant_answer answer = answer_to(9, text);
    answer.row = 4;
    answer.sample = 0;
    assert_int_equal(ant_journal_add(journal, &answer, &err), 0);
    add_part(journal, 4, 5, 5); /* too late */
    ant_journal_close(journal);
    assert_int_equal(ant_journal_open(&journal, out, 2, 2, &err), 0);
    add_part(journal, 3, 0, 12); /* another start that knew less, and got elsewhere */
    add_part(journal, 3, 15, 20);
    ant_journal_close(journal);

    assert_int_equal(ant_journal_replay(&index, out, 0, 1, &err), 0);
    assert_int_equal(index.n, 1);
    assert_int_equal(index.dropped_bytes, 0);
    assert_int_equal(index.n_parts, 4); /* of row 3: 0 to 12, 10 to 17, 15 to 35; of row 6 one */
    assert_int_equal(tokens_of(&index, 3), 35);
    assert_int_equal(tokens_of(&index, 4), 0);
    assert_int_equal(tokens_of(&index, 5), 0);
    assert_int_equal(tokens_of(&index, 6), 4);
    assert_int_equal(tokens_of(&index, 7), 0);
    ant_journal_index_release(&index);
}

/* Parts that lie about themselves behind a good checksum end the file, as answers do. */
static void parts_that_lie_are_not_believed(void **state)
{
    (void)state;
    static const struct {
        uint32_t first, n, length;
    } lies[] = {{0, 0, 8},           {0, 1, 8},          {0, 1, 16},
                {0x7fffffff, 1, 12}, {0, 0x40000000, 8}, {0, 0, 7}};
    struct ant_journal_index index = {0};

    prepare(1);
    for (size_t i = 0; i < sizeof(lies) / sizeof(*lies); i++) {
        uint32_t payload[4] = {lies[i].first, lies[i].n, 0, 0};
        write_frame("r0.s1.aj", 1, 2, payload, lies[i].length);
        assert_int_equal(ant_journal_replay(&index, out, 0, 1, &err), 0);
        if (index.n_parts != 0 || index.dropped_bytes != 23 + lies[i].length)
            fail_msg("lie %zu was believed", i);
        ant_journal_index_release(&index);
        unlink(inside("r0.s1.aj"));
    }
}

/* Cut anywhere and with any bit flipped, parts give the first tokens of the answer or none. */
static void damaged_parts_give_only_right_tokens(void **state)
{
    (void)state;
    struct ant_journal *journal;
    struct ant_journal_index index = {0};
    char *bytes, path[160];
    size_t total;

    prepare(1);
    assert_int_equal(ant_journal_open(&journal, out, 0, 1, &err), 0);
    add_part(journal, 1, 0, 4);
    add_part(journal, 2, 0, 3);
    add_part(journal, 1, 4, 6);
    ant_journal_close(journal);
    snprintf(path, sizeof(path), "%s", inside("r0.s1.aj"));
    assert_int_equal(ant_file_read(&bytes, &total, path, 1 << 20, &err), 0);
    for (size_t bit = 0; bit < total * 8; bit++) {
        int fd = open(path, O_WRONLY);
        char flipped = (char)(bytes[bit / 8] ^ (1 << bit % 8));
        assert_int_equal(pwrite(fd, &flipped, 1, (off_t)(bit / 8)), 1);
        assert_int_equal(ant_journal_replay(&index, out, 0, 1, &err), 0);
        assert_int_equal(tokens_of(&index, 1), bit / 8 < 23 + 8 + 16 ? 0 : 4);
        ant_journal_index_release(&index);
        assert_int_equal(pwrite(fd, &bytes[bit / 8], 1, (off_t)(bit / 8)), 1);
        close(fd);
    }
    for (size_t cut = total; cut-- > 0;) {
        assert_int_equal(truncate(path, (off_t)cut), 0);
        assert_int_equal(ant_journal_replay(&index, out, 0, 1, &err), 0);
        assert_int_equal(tokens_of(&index, 1), cut < 23 + 8 + 16 ? 0 : 4);
        ant_journal_index_release(&index);
    }
    free(bytes);
}

static void more_files_than_are_kept_open(void **state)
{
    (void)state;
    size_t n;
    uint64_t dropped;
    char text[64];

    prepare(1);
    for (int rank = 0; rank < 150; rank++)
        add_rows(rank, 1, rank, 1);
    struct ant_journal_entry *entries = replay(&n, &dropped);
    assert_int_equal(n, 150);
    struct ant_journal_reader *reader = ant_journal_reader_open(out);
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < n; i++) {
            struct ant_answer want = answer_to((int64_t)i, text), got;
            assert_int_equal(ant_journal_read(reader, &entries[i], &got, &err), 0);
            assert_same(&got, &want);
        }
    ant_journal_reader_close(reader);
    free(entries);
}

static void a_restart_must_be_the_same_job(void **state)
{
    (void)state;
    int start = 0;
    struct ant_manifest other;

    prepare(1);
    ant_journal_release();
    prepare(1); /* nothing was begun */
    add_rows(0, 1, 0, 1);
    ant_journal_release();
    prepare(2);
    add_rows(3, 2, 0, 1);
    ant_journal_release();
    prepare(3);
    ant_journal_release();

    other = manifest;
    other.answers = "temperature=0.8\nstop=\xff\xfe\nseed=1\n";
    assert_error(ant_journal_prepare(out, &other, false, &start, &err), ANT_EUSAGE,
                 "'temperature=0.7', now it is 'temperature=0.8'");
    other.answers = "temperature=0.7\n";
    assert_error(ant_journal_prepare(out, &other, false, &start, &err), ANT_EUSAGE, "now it is ''");
    other = manifest;
    other.n_rows = 99;
    assert_error(ant_journal_prepare(out, &other, false, &start, &err), ANT_EUSAGE,
                 "number of rows (100 x 1, now 99 x 1)");
    other = manifest;
    other.input_digest = "ab";
    assert_error(ant_journal_prepare(out, &other, false, &start, &err), ANT_EUSAGE, "input (aa");
    other = manifest;
    other.model_digest = "ab";
    assert_error(ant_journal_prepare(out, &other, false, &start, &err), ANT_EUSAGE, "model (bb");

    assert_int_equal(ant_file_write(out, "results", 7, &err), 0);
    assert_int_equal(ant_journal_prepare(out, &other, true, &start, &err), 0);
    assert_int_equal(start, 1);
    assert_int_equal(access(inside("r0.s1.aj"), F_OK), -1);
    assert_int_equal(access(inside("r3.s2.aj"), F_OK), -1);
    assert_int_equal(access(out, F_OK), -1); /* or the next start would find another job's */
}

static void manifest_is_read_back(void **state)
{
    (void)state;
    struct ant_manifest got;

    assert_error(ant_manifest_read(&got, out, &err), ANT_ENOENT, "manifest.json");
    prepare(1);
    assert_int_equal(ant_manifest_read(&got, out, &err), 0);
    assert_int_equal(got.n_rows, 100);
    assert_string_equal(got.input_digest, "aa");
    assert_string_equal(got.input, "prompts.h5");
    assert_string_equal(got.job, "71");
    assert_string_equal(got.answers, "temperature=0.7\nstop=\\xff\\xfe\nseed=1\n");
    ant_manifest_release(&got);
}

static void broken_manifests_are_named(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "{",
        "[]",
        "{}",
        "{\"schema\":\"antiphon-journal\",\"version\":1}",
        "{\"schema\":\"x\",\"version\":1,\"n_rows\":1,\"n_samples\":1,\"input_digest\":\"\","
        "\"model_digest\":\"\",\"input\":\"\",\"answers\":[]}",
        "{\"schema\":\"antiphon-journal\",\"version\":1,\"n_rows\":-1,\"n_samples\":1,"
        "\"input_digest\":\"\",\"model_digest\":\"\",\"input\":\"\",\"answers\":[]}",
        "{\"schema\":\"antiphon-journal\",\"version\":1,\"n_rows\":4611686018427387904,"
        "\"n_samples\":3,\"input_digest\":\"\",\"model_digest\":\"\",\"input\":\"\","
        "\"answers\":[]}",
        "{\"schema\":\"antiphon-journal\",\"version\":\"1\",\"n_rows\":1,\"n_samples\":1,"
        "\"input_digest\":\"\",\"model_digest\":\"\",\"input\":\"\",\"answers\":[]}",
    };
    struct ant_manifest got;
    int start;

    prepare(1);
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        assert_int_equal(ant_file_write(inside("manifest.json"), texts[i], strlen(texts[i]), &err),
                         0);
        assert_error(ant_manifest_read(&got, out, &err), ANT_EDATA, "manifest.json'");
    }
    ant_journal_release();
    unlink(inside("manifest.json"));
    add_rows(0, 1, 0, 1);
    assert_error(ant_journal_prepare(out, &manifest, false, &start, &err), ANT_EDATA,
                 "is missing, though there are journals");
}

/* A child journals rows one after the other until it is killed: every row whose number it has told
 * is there. */
static void a_kill_loses_nothing_that_was_added(void **state)
{
    (void)state;
    int pipes[2];
    int64_t row, told = -1;
    size_t n;
    uint64_t dropped;

    prepare(1);
    assert_int_equal(pipe(pipes), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct ant_journal *journal;
        char text[64];
        if (ant_journal_open(&journal, out, 0, 1, &err) < 0)
            _exit(1);
        for (int64_t i = 0;; i++) {
            struct ant_answer answer = answer_to(i, text);
            if (ant_journal_add(journal, &answer, &err) < 0 ||
                write(pipes[1], &i, sizeof(i)) != sizeof(i))
                _exit(1);
        }
    }
    close(pipes[1]);
    while (told < 2000 && read(pipes[0], &row, sizeof(row)) == sizeof(row))
        told = row;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    while (read(pipes[0], &row, sizeof(row)) == sizeof(row))
        told = row;
    close(pipes[0]);
    assert_true(told >= 2000);
    struct ant_journal_entry *entries = replay(&n, &dropped);
    assert_true((int64_t)n >= told + 1);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(entries[i].row, i);
    free(entries);
}

/* A write that fails half way is taken back, and rows added later are not lost behind it. */
static void a_full_disk_tears_nothing(void **state)
{
    (void)state;
    struct rlimit old, limit;
    struct ant_journal *journal;
    char text[64], big[4096] = {0};
    size_t n;
    uint64_t dropped;

    prepare(1);
    assert_int_equal(ant_journal_open(&journal, out, 0, 1, &err), 0);
    struct ant_answer answer = answer_to(1, text);
    assert_int_equal(ant_journal_add(journal, &answer, &err), 0);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    limit = old;
    limit.rlim_cur = 1000;
    setrlimit(RLIMIT_FSIZE, &limit);
    answer.row = 2;
    answer.text = big;
    answer.text_bytes = sizeof(big);
    assert_error(ant_journal_add(journal, &answer, &err), ANT_EIO, "r0.s1.aj");
    setrlimit(RLIMIT_FSIZE, &old);
    answer = answer_to(3, text);
    assert_int_equal(ant_journal_add(journal, &answer, &err), 0);
    ant_journal_close(journal);
    struct ant_journal_entry *entries = replay(&n, &dropped);
    assert_int_equal(n, 2);
    assert_int_equal(dropped, 0);
    assert_int_equal(entries[0].row, 1);
    assert_int_equal(entries[1].row, 3);
    free(entries);
}

static void foreign_files_are_left_alone(void **state)
{
    (void)state;
    static const char *const names[] = {"r01.s1.aj", "r1.s1.aj.bak", "r-1.s1.aj", "r1.s1", "x"};
    size_t n;
    uint64_t dropped;

    struct ant_journal_entry *none = replay(&n, &dropped); /* no folder at all */
    free(none);
    assert_int_equal(n, 0);
    prepare(1);
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        assert_int_equal(ant_file_write(inside(names[i]), "x", 1, &err), 0);
    none = replay(&n, &dropped);
    free(none);
    assert_int_equal(n, 0);
    assert_int_equal(dropped, 0);
    assert_error(ant_journal_remove(out, &err), ANT_EIO, "cannot remove '");
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        assert_int_equal(access(inside(names[i]), F_OK), 0);
}

/* A file of another job, put into the folder: its rows would be taken for this job's. */
static void rows_of_another_job_are_refused(void **state)
{
    (void)state;
    struct ant_journal_index index = {0};

    prepare(1);
    add_rows(3, 1, 10, 20);
    assert_int_equal(ant_journal_replay(&index, out, 0, 1, &err), 0);
    assert_int_equal(ant_journal_index_check(&index, out, 10, 20, 3, &err), 0);
    assert_error(ant_journal_index_check(&index, out, 10, 19, 3, &err), ANT_EDATA,
                 "r3.s1.aj' is of another job: it has sample 2 of row 29");
    assert_error(ant_journal_index_check(&index, out, 11, 20, 3, &err), ANT_EDATA, "of row 10");
    assert_error(ant_journal_index_check(&index, out, 10, 20, 2, &err), ANT_EDATA,
                 "sample 2 of row 11");
    ant_journal_index_release(&index);
}

/* What a kill leaves of a file that was to be written whole does not keep the folder. */
static void beginnings_of_files_go_with_the_rest(void **state)
{
    (void)state;
    struct ant_error ignored;

    prepare(1);
    assert_int_equal(ant_file_write(inside("manifest.json.17-000000004.part"), "{", 1, &ignored),
                     0);
    assert_int_equal(ant_file_write(inside("halt.18-000000005.part"), "", 0, &ignored), 0);
    if (ant_journal_remove(out, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(access(inside(""), F_OK), -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_added_is_read_back),
        TEST(frame_is_as_documented),
        TEST(torn_tails_lose_one_row),
        TEST(every_flipped_bit_is_seen),
        TEST(other_kinds_are_stepped_over),
        TEST(lies_behind_a_good_checksum_end_the_file),
        TEST(first_done_frame_wins),
        TEST(ranks_share_the_replay),
        TEST(parts_lead_as_far_as_they_can),
        TEST(parts_that_lie_are_not_believed),
        TEST(damaged_parts_give_only_right_tokens),
        TEST(more_files_than_are_kept_open),
        TEST(a_restart_must_be_the_same_job),
        TEST(manifest_is_read_back),
        TEST(broken_manifests_are_named),
        TEST(a_kill_loses_nothing_that_was_added),
        TEST(a_full_disk_tears_nothing),
        TEST(foreign_files_are_left_alone),
        TEST(rows_of_another_job_are_refused),
        TEST(beginnings_of_files_go_with_the_rest),
    };
    return cmocka_run_group_tests_name("journal", tests, NULL, NULL);
}
