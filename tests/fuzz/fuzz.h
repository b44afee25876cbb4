/* SPDX-License-Identifier: Apache-2.0 */
/* What a fuzz target defines: give `data` to a parser, which may refuse it in
 * any way but must not crash, hang or leak. Returns 0. The name is libFuzzer's. */
#ifndef ANT_TESTS_FUZZ_H
#define ANT_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

#endif
