/* SPDX-License-Identifier: Apache-2.0 */
/* What programs of others may use of antiphon. The only header that is installed.
 *
 * A partition of your own: `antiphon run --partition plugin:PATH` loads a shared object that
 * defines antiphon_partition. It is called once, on rank 0, before the model is loaded; its outcome
 * is given to all ranks.
 *
 *     cc -shared -fPIC -o partition.so partition.c        (see share/examples) */
#ifndef ANTIPHON_H
#define ANTIPHON_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ANTIPHON_PARTITION_VERSION 1

/* All arrays have n_rows elements, one a row of the input from first_row on. */
struct antiphon_rows {
    int32_t version; /* ANTIPHON_PARTITION_VERSION; members are only ever added at the end */
    int32_t n_replicas;
    int64_t first_row, n_rows;  /* first_row is not 0 in a job with --shard */
    const int64_t *prompt_size; /* bytes of the text, or number of tokens */
    const int64_t *max_tokens;  /* longest answer: the row's own, or --max-tokens */
    double *priority;           /* higher goes first; as in the input, 0 without; may be changed */
    int32_t *replica;           /* to be filled: 0 to n_replicas - 1 */
};

/* Return 0, or anything else with a reason in `error` (a text of at most error_size bytes with its
 * NUL): the job then ends with that text. Rows that an earlier start of the job has finished are
 * there too; what is said of them has no effect. */
int antiphon_partition(struct antiphon_rows *rows, char *error, size_t error_size);

/* ---- libantiphon.a: a model on the ranks of a job, for a program of your own -----------------
 *
 *     cc program.c $(pkg-config --cflags --libs antiphon)
 *     srun --mpi=pmix -n4 ./a.out                           (see share/examples/embed.c)
 *
 * Every rank calls antiphon_open with the same settings, once in the life of a process; then come
 * calls that all ranks make in the same order, where it says collective, and others. Thread: the
 * one that opened. Where a function may fail it returns 0 or a negative number and writes one line
 * of text to `error` (antiphon_text bytes, never NULL). After an error that says collective on one
 * rank, close and exit. Nothing is printed below warnings. */
#define ANTIPHON_API_VERSION 1

typedef char antiphon_text[512];

struct antiphon;

/* What is 0 or NULL is as `antiphon run` has it by default. */
struct antiphon_settings {
    int32_t version;   /* ANTIPHON_API_VERSION; members are only ever added at the end */
    const char *model; /* GGUF file or folder */
    int32_t dp_size, tp_size, pp_size;
    const char *ep_scope; /* whole experts to each rank of a "replica" or of the "job" */
    const char *backend;  /* "auto", "cpu", "cuda" */
    int32_t threads, max_model_len, max_num_seqs;
    int64_t kv_memory;             /* bytes a rank */
    const char *const *stop_texts; /* (n_stop_texts) which end an answer; they must live as long */
    int32_t n_stop_texts;
};

/* Collective. Ready when it returns: weights are loaded, the engine runs. */
int antiphon_open(struct antiphon **out, const struct antiphon_settings *settings,
                  antiphon_text error);
void antiphon_close(struct antiphon *antiphon); /* collective, unless an error came before */

/* Who this rank is: rank = (dp_rank * pp_size + pp_rank) * tp_size + tp_rank. */
struct antiphon_place {
    int32_t rank, size;           /* in the job */
    int32_t node_rank, node_size; /* among those on this host */
    int32_t dp_rank, dp_size, tp_rank, tp_size, pp_rank, pp_size;
};
void antiphon_where(const struct antiphon *antiphon, struct antiphon_place *out);

/* Groups of ranks for messages in host memory (UCX). All members of a group make the same calls of
 * it in the same order. A member that died makes them fail. */
enum antiphon_group {
    ANTIPHON_WORLD,   /* all ranks, by rank */
    ANTIPHON_NODE,    /* those of this host */
    ANTIPHON_REPLICA, /* those that hold one model together, by pp_rank * tp_size + tp_rank */
};
int antiphon_group_size(const struct antiphon *antiphon, enum antiphon_group group);
int antiphon_group_rank(const struct antiphon *antiphon, enum antiphon_group group);
int antiphon_barrier(struct antiphon *antiphon, enum antiphon_group group, antiphon_text error);
int antiphon_broadcast(struct antiphon *antiphon, enum antiphon_group group, int root, void *data,
                       size_t bytes, antiphon_text error);
/* `all` (size * bytes), in group order. */
int antiphon_all_gather(struct antiphon *antiphon, enum antiphon_group group, const void *mine,
                        size_t bytes, void *all, antiphon_text error);
/* The same ranks for device memory: *comm becomes an ncclComm_t of your own, on this rank's GPU,
 * which is the calling thread's current device afterwards. Made at the first call, which is
 * collective over the group; lives until antiphon_close. Fails where the backend is no GPU. */
int antiphon_device_group(struct antiphon *antiphon, enum antiphon_group group, void **comm,
                          antiphon_text error);

/* Parameters of the model as its files have them; every rank sees all. */
struct antiphon_parameter {
    const char *name, *type; /* as `antiphon params` prints them */
    int32_t n_dims;
    int64_t shape[4];   /* slowest first */
    int64_t rows, cols; /* as a matrix: all but the last dimension, and the last */
};
int64_t antiphon_parameters(const struct antiphon *antiphon); /* how many */
int antiphon_parameter(const struct antiphon *antiphon, int64_t i, struct antiphon_parameter *out,
                       antiphon_text error);
/* Rows [first, first + n) as floats to out (n * cols). */
int antiphon_parameter_values(const struct antiphon *antiphon, int64_t i, int64_t first, int64_t n,
                              float *out, antiphon_text error);

/* What is 0 is as `antiphon run` has it by default, but for temperature and seed. */
struct antiphon_prompt {
    const char *text;      /* (bytes), or */
    const int32_t *tokens; /* (n_tokens) of the model; NULL: the text */
    size_t bytes, n_tokens;
    int32_t max_tokens, min_tokens, top_k;
    float temperature, top_p, min_p; /* temperature 0: the most probable token each time */
    float typical_p;
    uint64_t seed;
    double priority; /* higher is begun first */
};

struct antiphon_answer {
    int64_t prompt;        /* its index */
    const char *error;     /* NULL, or why there is no answer */
    const char *finish;    /* "STOP", "LENGTH", ... */
    const int32_t *tokens; /* (n_tokens) as they were drawn, what ended the answer included */
    const char *text;      /* (bytes) without it; not ended by NUL */
    size_t n_tokens, bytes;
    int32_t n_prompt_tokens;
};
/* Called on the first rank of the replica that answered, in the order the answers come. What it
 * points at is gone afterwards. */
typedef void antiphon_answer_fn(const struct antiphon_answer *answer, void *user);
/* As antiphon_partition above; called on rank 0 alone. */
typedef int antiphon_partition_fn(struct antiphon_rows *rows, char *error, size_t error_size);

/* Collective: answer prompts (n), the same ones on every rank. Without `partition` prompt i goes to
 * replica i % dp_size. An answer is the one that `antiphon run` gives to this prompt. */
int antiphon_generate(struct antiphon *antiphon, const struct antiphon_prompt *prompts, int64_t n,
                      antiphon_partition_fn *partition, antiphon_answer_fn *take, void *user,
                      antiphon_text error);

#ifdef __cplusplus
}
#endif

#endif
