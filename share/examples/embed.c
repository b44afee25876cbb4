/* SPDX-License-Identifier: Apache-2.0 */
/* An example of a program with Antiphon inside: the ranks of a job hold a model, answer prompts
 * from memory, and exchange messages.
 *
 *     cc embed.c -o embed $(pkg-config --cflags --libs antiphon)
 *     srun --mpi=pmix -n4 ./embed MODEL [TP] */
#include <antiphon.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_PROMPTS = 6 };

static const char *const texts[N_PROMPTS] = {
    "Once upon a time", "The largest ocean",  "To make bread, take",
    "A good map shows", "The first computer", "In winter the birds",
};

static antiphon_text error;

static void must(int result)
{
    if (result < 0) {
        fprintf(stderr, "embed: %s\n", error);
        exit(1);
    }
}

/* Called on the rank that has an answer. `user` counts them. */
static void take(const struct antiphon_answer *answer, void *user)
{
    int64_t *n = user;

    printf("prompt %lld: %s, %zu tokens: %.*s\n", (long long)answer->prompt,
           answer->error ? answer->error : answer->finish, answer->n_tokens, (int)answer->bytes,
           answer->text ? answer->text : "");
    *n += answer->error == NULL;
}

/* The first half of the prompts to the first replica, and so on. */
static int halves(struct antiphon_rows *rows, char *why, size_t why_size)
{
    (void)why, (void)why_size;
    for (int64_t i = 0; i < rows->n_rows; i++)
        rows->replica[i] = (int32_t)(i * rows->n_replicas / rows->n_rows);
    return 0;
}

/* What need be done once only is rank 0's. */
static void describe(struct antiphon *antiphon)
{
    struct antiphon_parameter parameter;
    float first = 0, *row;

    must(antiphon_parameter(antiphon, 0, &parameter, error));
    row = calloc((size_t)parameter.cols, sizeof(*row));
    if (row) {
        must(antiphon_parameter_values(antiphon, 0, 0, 1, row, error));
        first = row[0];
    }
    printf("%lld parameters; the first is %s, %s, %lld x %lld, beginning with %g\n",
           (long long)antiphon_parameters(antiphon), parameter.name, parameter.type,
           (long long)parameter.rows, (long long)parameter.cols, (double)first);
    free(row);
}

int main(int argc, char **argv)
{
    struct antiphon_settings settings = {
        .version = ANTIPHON_API_VERSION,
        .model = argc > 1 ? argv[1] : NULL,
        .tp_size = argc > 2 ? atoi(argv[2]) : 1,
        .max_model_len = 64,
    };
    struct antiphon_prompt prompts[N_PROMPTS];
    struct antiphon_place place;
    struct antiphon *antiphon;
    int64_t mine = 0, *all, total = 0;

    must(antiphon_open(&antiphon, &settings, error));
    antiphon_where(antiphon, &place);
    if (place.rank == 0)
        describe(antiphon);
    for (int i = 0; i < N_PROMPTS; i++)
        prompts[i] = (struct antiphon_prompt){
            .text = texts[i], .bytes = strlen(texts[i]), .max_tokens = 12, .temperature = 0};
    must(antiphon_generate(antiphon, prompts, N_PROMPTS, halves, take, &mine, error));

    all = calloc((size_t)place.size, sizeof(*all));
    if (!all)
        return 1;
    must(antiphon_all_gather(antiphon, ANTIPHON_WORLD, &mine, sizeof(mine), all, error));
    for (int i = 0; i < place.size; i++)
        total += all[i];
    printf("rank %d of %d (dp %d, tp %d): %lld answers of %lld\n", place.rank, place.size,
           place.dp_rank, place.tp_rank, (long long)mine, (long long)total);
    free(all);
    antiphon_close(antiphon);
    return total == N_PROMPTS ? 0 : 1;
}
