/* SPDX-License-Identifier: Apache-2.0 */
/* A tokenizer.model. */
#include "config.h"

#include "fuzz.h"
#include "tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    return fuzz_tokenizer(ant_tokenizer_open_model, data, bytes);
}
