/* SPDX-License-Identifier: Apache-2.0 */
/* Prompt files whose columns are of any type, shape and size. */
#include "config.h"

#include <unistd.h>

#include "fuzz.h"
#include "h5_any.h"

#include "store/prompts.h"

enum { ROWS = 6, ODD = 40 }; /* ODD of 256 columns are not as they should be */

static void put_columns(hid_t group, struct bytes *in)
{
    static const char *const integers[] = {"max_tokens", "min_tokens",      "top_k", "seed",
                                           "logprobs",   "prompt_logprobs", "n",     "rank"};
    static const char *const reals[] = {"temperature",
                                        "top_p",
                                        "min_p",
                                        "typical_p",
                                        "repetition_penalty",
                                        "presence_penalty",
                                        "frequency_penalty",
                                        "priority"};
    static const char *const texts[] = {
        "id",        "error",  "continuation",      "stop",  "system",     "logit_bias",
        "bad_words", "choice", "allowed_token_ids", "regex", "json_schema"};
    hid_t string = H5Tcopy(H5T_C_S1);

    H5Tset_size(string, H5T_VARIABLE);
    for (size_t i = 0; i < sizeof(integers) / sizeof(*integers); i++)
        if (next(in) % 2)
            put_numbers(group, integers[i], H5T_STD_I64LE, ROWS, 200, false, ODD, in);
    for (size_t i = 0; i < sizeof(reals) / sizeof(*reals); i++)
        if (next(in) % 2)
            put_any(group, reals[i], H5T_IEEE_F64LE, ROWS, ODD, in);
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        if (next(in) % 4 == 1)
            put_any(group, texts[i], string, ROWS, ODD, in);
    H5Tclose(string);
}

/* The prompts themselves, in one of the forms they may have. */
static void put_prompts(hid_t group, struct bytes *in)
{
    hid_t string = any_string(in);

    switch (next(in) % 4) {
    case 0:
        put_any(group, "tokens", H5T_STD_I32LE, 24, ODD, in);
        put_numbers(group, "tokens_offsets", H5T_STD_I64LE, ROWS + 1, 4, true, ODD, in);
        break;
    case 1:
        put_any(group, "text", H5T_STD_U8LE, 64, ODD, in);
        put_numbers(group, "text_offsets", H5T_STD_U16LE, ROWS + 1, 10, true, ODD, in);
        break;
    default:
        put_any(group, "text", string, ROWS, ODD, in);
    }
    H5Tclose(string);
}

static void make_file(const char *path, struct bytes *in)
{
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);

    if (next(in) % 16 == 15) {
        put_any(file, "prompts", H5T_STD_I8LE, ROWS, 200, in);
    } else {
        hid_t group = H5Gcreate2(file, "prompts", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        put_prompts(group, in);
        put_columns(group, in);
        put_any_attribute(group, "format", "text", 0, ODD, in);
        put_any_attribute(group, "schema", "antiphon-prompts", 0, ODD, in);
        put_any_attribute(group, "version", NULL, 1, ODD, in);
        H5Gclose(group);
    }
    H5Fclose(file);
}

static void read_row(struct ant_prompts *prompts, int64_t row)
{
    struct ant_prompt prompt;
    struct ant_error err = {{0}};
    int rc = ant_prompts_read(prompts, row, &prompt, &err);
    unsigned sum = 0;

    expect_error(rc, &err);
    for (size_t i = 0; rc == 0 && prompt.text && i < prompt.text_bytes; i++)
        sum += (unsigned char)prompt.text[i];
    for (size_t i = 0; rc == 0 && i < prompt.n_tokens; i++)
        sum += (unsigned)prompt.tokens[i];
    for (size_t i = 0; rc == 0 && i < prompt.stop_bytes; i++)
        sum += (unsigned char)prompt.stop[i];
    *(volatile unsigned *)&sum = sum;
}

static void read_columns(struct ant_prompts *prompts, int64_t n)
{
    struct ant_error err = {{0}};
    int64_t *sizes = ant_xcalloc((size_t)n + 1, sizeof(*sizes));
    int64_t *most = ant_xcalloc((size_t)n + 1, sizeof(*most)), *offsets = NULL;
    int32_t *ranks = ant_xcalloc((size_t)n + 1, sizeof(*ranks));
    double *priorities = ant_xcalloc((size_t)n + 1, sizeof(*priorities));
    char *bytes = NULL;

    expect_error(ant_prompts_sizes(prompts, 0, n, sizes, most, &err), &err);
    expect_error(ant_prompts_ranks(prompts, 0, n, ranks, &err), &err);
    expect_error(ant_prompts_ids(prompts, 0, n, sizes, &bytes, &offsets, &err), &err);
    expect_error(ant_prompts_most(prompts, ANT_HAS_LOGPROBS, 20, most, &err), &err);
    if (ant_prompts_have_priority(prompts))
        expect_error(ant_prompts_priorities(prompts, 0, n, priorities, &err), &err);
    free(bytes);
    free(offsets);
    free(priorities);
    free(ranks);
    free(most);
    free(sizes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct bytes in = {data, bytes, 0};
    struct ant_prompts *prompts = NULL;
    struct ant_error err = {{0}};
    const char *path = fuzz_file();

    make_file(path, &in);
    int rc = ant_prompts_open(&prompts, path, &err);
    expect_error(rc, &err);
    if (rc == 0) {
        int64_t n = ant_prompts_count(prompts), some = n < 3 * ROWS ? n : 3 * ROWS;
        for (int64_t i = 0; i < some; i++)
            read_row(prompts, i);
        for (int64_t i = some - 1; i >= 0; i--)
            read_row(prompts, n - 1 - i * 2 % some);
        read_columns(prompts, some);
    }
    ant_prompts_close(prompts);
    unlink(path);
    return 0;
}
