/* SPDX-License-Identifier: Apache-2.0 */
/* antiphon score: the main job, of continuations that are given. */
#include "config.h"

#include "base/clock.h"
#include "cli/cli.h"
#include "cli/run.h"

static const struct ant_command_help help = {
    .name = "score",
    .summary = "how likely a model finds given continuations of prompts",
    .synopsis = "--model PATH --input FILE --output FILE [options]",
    .purpose =
        "Score the column 'continuation' of a prompt file: for each row the sum of the log "
        "probabilities of its tokens, and whether each is the most probable one there. Started, "
        "stopped and gone on with like run; prompts that begin alike are computed once.",
    .epilog =
        "The results have, a row: logprob_sum, is_greedy (0 or 1), completion_tokens, and a "
        "token of the\ncontinuation: tokens, logprobs, top_ids, top_logprobs. 'antiphon pack' "
        "makes the input of JSON lines\nwith \"prompt\" and \"continuation\".",
    .hides_draws = true,
};

static int score_main(int argc, char **argv)
{
    struct run run = {.argc = argc, .argv = argv, .start = ant_now(), .is_scored = true};

    return ant_run_main(&run, &ant_command_score);
}

const struct ant_command ant_command_score = {score_main, ant_run_options, &help};
