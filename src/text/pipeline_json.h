/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of a tokenizer.json that say what happens before and after the model, each into the
 * steps of a struct ant_vocab. `part` is its value in the file, NULL when absent. Errors: what is
 * not known, by its name; they do not name the file. Thread: that of the vocabulary. */
#ifndef ANT_TEXT_PIPELINE_JSON_H
#define ANT_TEXT_PIPELINE_JSON_H

#include <jansson.h>

#include "text/vocab.h"

int ant_pipeline_normalizer(struct ant_vocab *vocab, const json_t *part, struct ant_error *err);
int ant_pipeline_pre_tokenizer(struct ant_vocab *vocab, const json_t *part, struct ant_error *err);
int ant_pipeline_decoder(struct ant_vocab *vocab, const json_t *part, struct ant_error *err);
/* After the tokens are known: its ids must be among them. */
int ant_pipeline_post_processor(struct ant_vocab *vocab, const json_t *part, struct ant_error *err);

/* A flag of `object`: `otherwise` when it is absent or null, ANT_EDATA when it is no flag. */
int ant_json_flag(const json_t *object, const char *key, bool otherwise, bool *out,
                  struct ant_error *err);

#endif
