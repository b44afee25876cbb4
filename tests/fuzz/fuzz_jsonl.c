/* SPDX-License-Identifier: Apache-2.0 */
/* Prompts in any format (the first byte chooses it) out of any bytes. What is read is exported as
 * JSON, which must be JSON, and as CSV, which must read back the same. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "fuzz.h"
#include "store/exchange.h"

static const struct ant_results_id no_id = {.kind = ANT_ID_NONE, .text = ""};

static void check_json(const struct ant_answer *answer, const struct ant_exchange_row *row)
{
    const struct ant_results_id id = {.kind = row->id_kind == ANT_ID_STRING ? ANT_ID_STRING
                                                                            : ANT_ID_NONE,
                                      .text = row->id_text ? row->id_text : "",
                                      .bytes = row->id_bytes};
    struct ant_buf line = {0};
    json_error_t why;

    ant_exchange_put_json(&line, answer, &id, false);
    json_t *json = json_loadb(line.data, line.len, JSON_ALLOW_NUL, &why);
    if (!json || memchr(line.data, '\n', line.len - 1))
        abort();
    json_decref(json);
    ant_buf_release(&line);
}

static void check_csv(const struct ant_answer *answer)
{
    const struct ant_exchange_settings settings = {.format = ANT_EXCHANGE_CSV, .column = "text"};
    struct ant_exchange_reader *reader = NULL;
    struct ant_exchange_row row;
    struct ant_error err;
    struct ant_buf csv = {0};

    ant_exchange_put_csv_header(&csv, false);
    ant_exchange_put_csv(&csv, answer, &no_id, false);
    FILE *file = fmemopen(csv.data, csv.len, "r");
    if (!file || ant_exchange_open(&reader, file, "csv", &settings, &err) < 0 ||
        ant_exchange_next(reader, &row, &err) != 1 || row.prompt.text_bytes != answer->text_bytes ||
        memcmp(row.prompt.text, answer->text, answer->text_bytes) != 0)
        abort();
    ant_exchange_close(reader);
    fclose(file);
    ant_buf_release(&csv);
}

static void check_row(const struct ant_exchange_row *row)
{
    const struct ant_answer answer = {.row = 1,
                                      .text = row->prompt.text,
                                      .text_bytes = (uint32_t)row->prompt.text_bytes,
                                      .error = row->prompt.text,
                                      .error_bytes = (uint32_t)row->prompt.text_bytes / 2};

    check_json(&answer, row);
    check_csv(&answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const char *const ignored[] = {"stop"};
    struct ant_exchange_settings settings = {.ignored = ignored, .n_ignored = 1};
    struct ant_exchange_reader *reader = NULL;
    struct ant_exchange_row row;
    struct ant_error err;

    if (bytes < 2)
        return 0;
    settings.format = (enum ant_exchange_format)(data[0] % (ANT_EXCHANGE_FILE + 1));
    FILE *file = fmemopen((void *)(data + 1), bytes - 1, "r");
    if (!file)
        abort();
    if (ant_exchange_open(&reader, file, "input", &settings, &err) == 0)
        while (ant_exchange_next(reader, &row, &err) > 0)
            check_row(&row);
    ant_exchange_close(reader);
    fclose(file);
    return 0;
}
