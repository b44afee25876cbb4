/* SPDX-License-Identifier: Apache-2.0 */
/* A tokenizer.json. */
#include "config.h"

#include "fuzz.h"
#include "tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    return fuzz_tokenizer(ant_tokenizer_open_json, data, bytes);
}
