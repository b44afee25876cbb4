/* SPDX-License-Identifier: Apache-2.0 */
/* answers [--backend NAME] NAME MODEL EXPECTED [NAME MODEL EXPECTED]...
 *
 * Token ids, logits and greedy answers of models against those of an independent implementation,
 * as TAP. Each answer is forced: whatever is drawn, the expected id is what goes on, so that one
 * near-tie does not hide what comes after it. The way there mixes what the engine mixes: prompts in
 * several chunks, half of the answer as one chunk, the other half in steps of one row a sequence
 * with all sequences together. */
#include "config.h"

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "expected.h"
#include "model/model.h"
#include "text/tokenizer.h"

/* How far logits may be off, relative to their own norm. The stored weights are the same numbers in
 * both implementations. In plain C with a float32 cache only the order of sums differs, and
 * activations are rounded to 16 bits before quantized weights; elsewhere the cache, and activations
 * before other weights, are rounded to bf16. (The other implementation made to round like that, to
 * bf16 throughout, is off by up to 4e-2 from itself on SmolLM2.) */
#define TOLERANCE       2e-2
#define TOLERANCE_EXACT 5e-4
/* What share of the logits' width the gap of a near-tie may have. The GPU also rounds weights of
 * more bits to bf16 (tiny qwen2 has float32). */
#define TIE        4e-3
#define TIE_DEVICE 2e-2

enum { CHUNK = 37, MAX_ROWS = 64, MAX_SEQS = 32, MAX_SAMPLED = 64, MAX_PAGES = 4096 };

static const char *backend = "cpu";
static double tie = TIE;
static int n_cases, n_failed;

static void __attribute__((format(printf, 2, 3))) check(bool passed, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    printf("%sok %d - ", passed ? "" : "not ", ++n_cases);
    vprintf(format, args);
    printf("\n");
    fflush(stdout);
    va_end(args);
    n_failed += !passed;
}

static void must(int rc, const struct ant_error *err)
{
    if (rc < 0) {
        printf("Bail out! %s\n", err->text);
        exit(1);
    }
}

/* ---- a look at the logits: they can be read only before the end of a step -------------------- */

static struct {
    struct ant_backend_ops ops; /* the backend's, with a step_end of our own */
    const struct ant_backend_ops *real;
    float *logits; /* (vocab) of the first sampled row of the step, if not NULL */
    int vocab;
} spy;

static void spy_step_end(struct ant_backend *be)
{
    struct ant_error err;

    if (spy.logits)
        must(spy.real->read_slot(be, ANT_SLOT_LOGITS, 0, spy.logits, spy.vocab, &err), &err);
    spy.real->step_end(be);
}

/* ---- one model with room for all prompts ----------------------------------------------------- */

struct golden {
    const char *name;
    struct ant_checkpoint *checkpoint;
    struct ant_tokenizer *tokenizer;
    struct ant_backend *be;
    struct ant_model *model;
    struct expected expected;
    int pages_each, n_pages;
    double tolerance;
};

static void open_model(struct golden *golden, enum ant_kv_type kv_type, bool reads_slots)
{
    struct ant_error err;
    struct ant_backend_config config = {
        .arch = ant_checkpoint_arch(golden->checkpoint),
        .max_rows = MAX_ROWS,
        .max_seqs = MAX_SEQS,
        .max_sampled = MAX_SAMPLED,
        .max_context = (int)golden->expected.longest,
        .n_threads = 2,
        .kv_type = kv_type,
        .reads_slots = reads_slots,
    };

    spy.vocab = config.arch->vocab;
    golden->pages_each = (config.max_context + ANT_PAGE_TOKENS - 1) / ANT_PAGE_TOKENS;
    golden->n_pages = golden->pages_each * golden->expected.n_prompts;
    if (golden->n_pages > MAX_PAGES || golden->expected.n_prompts > MAX_SEQS) {
        printf("Bail out! more prompts than there is room for\n");
        exit(1);
    }
    must(ant_backend_choose(&spy.real, backend, &err), &err);
    must(spy.real->open(&golden->be, &config, &err), &err);
    spy.ops = *spy.real;
    spy.ops.step_end = spy_step_end;
    golden->be->ops = &spy.ops;
    must(ant_model_load(&golden->model, golden->checkpoint, NULL, NULL, golden->be,
                        &(struct ant_loading){.n_threads = 2}, &err),
         &err);
    must(golden->be->ops->kv_open(golden->be, golden->n_pages, &err), &err);

    struct ant_backend_facts facts;
    golden->be->ops->facts(golden->be, &facts);
    bool is_exact = kv_type == ANT_KV_F32 && strcmp(facts.level, "c") == 0;
    golden->tolerance = is_exact ? TOLERANCE_EXACT : TOLERANCE;
    printf("# %s: %s\n", golden->name, facts.device);
}

static void close_model(struct golden *golden)
{
    ant_model_close(golden->model);
    golden->be->ops->close(golden->be);
}

/* ---- steps ----------------------------------------------------------------------------------- */

struct step {
    int n_rows, n_seqs, n_sampled, n_pages;
    int32_t tokens[MAX_ROWS], positions[MAX_ROWS], row_start[MAX_SEQS + 1], context[MAX_SEQS];
    int32_t page_start[MAX_SEQS + 1], pages[MAX_PAGES], sampled[MAX_SAMPLED];
    struct ant_draw draws[MAX_SAMPLED];
};

/* Rows of a sequence: `tokens` from `position` on, of which the last `n_sampled` are sampled. */
static void step_add(struct step *step, const struct golden *golden, int seq, size_t position,
                     const int32_t *tokens, int n, int n_sampled)
{
    int context = (int)position + n, needed = (context + ANT_PAGE_TOKENS - 1) / ANT_PAGE_TOKENS;

    for (int i = 0; i < n; i++) {
        int row = step->n_rows++;
        step->tokens[row] = tokens[i];
        step->positions[row] = (int32_t)position + i;
        if (i >= n - n_sampled)
            step->sampled[step->n_sampled++] = row;
    }
    /* Sequences lie in the cache backwards and interleaved: no page is where a mistake would look
     * for it. */
    for (int i = 0; i < needed; i++)
        step->pages[step->n_pages++] = golden->n_pages - 1 - (i * golden->expected.n_prompts + seq);
    step->context[step->n_seqs++] = context;
    step->row_start[step->n_seqs] = step->n_rows;
    step->page_start[step->n_seqs] = step->n_pages;
}

static struct ant_drawn step_run(const struct step *step, struct golden *golden)
{
    struct ant_error err;
    struct ant_drawn drawn = {0};
    struct ant_batch batch = {
        .n_rows = step->n_rows,
        .n_seqs = step->n_seqs,
        .n_sampled = step->n_sampled,
        .tokens = step->tokens,
        .positions = step->positions,
        .row_start = step->row_start,
        .context = step->context,
        .page_start = step->page_start,
        .pages = step->pages,
        .sampled = step->sampled,
        .draws = step->draws,
    };

    ant_model_forward(golden->model, &batch);
    must(ant_model_wait(golden->model, &drawn, &err), &err);
    return drawn;
}

/* ---- answers --------------------------------------------------------------------------------- */

struct tally {
    int n_near, n_wrong;
    char first_wrong[128];
};

static void tally_add(struct tally *tally, const struct expected_prompt *prompt, size_t i,
                      int32_t drawn)
{
    if (drawn == prompt->output.data[i])
        return;
    if (drawn == prompt->second.data[i] && prompt->gap[i] < tie * prompt->width) {
        tally->n_near++;
    } else if (tally->n_wrong++ == 0) {
        snprintf(tally->first_wrong, sizeof(tally->first_wrong),
                 ", position %zu: %d instead of %d (gap %.3f)", i, drawn, prompt->output.data[i],
                 (double)prompt->gap[i]);
    }
}

static void check_first(const struct golden *golden, int seq, const float *logits)
{
    const struct expected_prompt *prompt = &golden->expected.prompts[seq];
    double squares = 0, all = 0;

    for (size_t i = 0; i < prompt->ids.len; i++) {
        double off = (double)logits[prompt->ids.data[i]] - (double)prompt->logits[i];
        squares += off * off;
        all += (double)prompt->logits[i] * (double)prompt->logits[i];
    }
    double off = sqrt(squares / all);
    check(off <= golden->tolerance, "%s prompt %d: logits of the first position, off by %.1e",
          golden->name, seq, off);
}

/* The prompt in chunks and half of its answer in one; the first position's logits on the way. */
static void run_first_half(struct golden *golden, int seq, bool reads_slots, struct tally *tally)
{
    const struct expected_prompt *prompt = &golden->expected.prompts[seq];
    size_t n_prompt = prompt->tokens.len, half = prompt->output.len / 2;
    float *logits = ant_xcalloc((size_t)spy.vocab, sizeof(*logits));
    struct ant_drawn drawn = {0};

    for (size_t done = 0, n; done < n_prompt; done += n) {
        struct step step = {0};
        n = n_prompt - done < CHUNK ? n_prompt - done : CHUNK;
        bool is_last = done + n == n_prompt;
        step_add(&step, golden, seq, done, prompt->tokens.data + done, (int)n, is_last);
        spy.logits = is_last && reads_slots ? logits : NULL;
        drawn = step_run(&step, golden);
        spy.logits = NULL;
    }
    if (reads_slots)
        check_first(golden, seq, logits);
    tally_add(tally, prompt, 0, drawn.ids[0]);

    struct step step = {0};
    step_add(&step, golden, seq, n_prompt, prompt->output.data, (int)half, (int)half);
    drawn = step_run(&step, golden);
    for (size_t i = 0; i < half; i++)
        tally_add(tally, prompt, i + 1, drawn.ids[i]);
    free(logits);
}

/* The other half, one token of every sequence a step. */
static void run_second_half(struct golden *golden, struct tally *tallies)
{
    const struct expected *expected = &golden->expected;
    size_t n = expected->prompts[0].output.len;

    for (size_t i = n / 2; i + 1 < n; i++) {
        struct step step = {0};
        for (int seq = 0; seq < expected->n_prompts; seq++) {
            const struct expected_prompt *prompt = &expected->prompts[seq];
            step_add(&step, golden, seq, prompt->tokens.len + i, prompt->output.data + i, 1, 1);
        }
        struct ant_drawn drawn = step_run(&step, golden);
        for (int seq = 0; seq < expected->n_prompts; seq++)
            tally_add(&tallies[seq], &expected->prompts[seq], i + 1, drawn.ids[seq]);
    }
}

static void check_answers(struct golden *golden, bool reads_slots, const char *how)
{
    int n_prompts = golden->expected.n_prompts;
    struct tally *tallies = ant_xcalloc((size_t)n_prompts, sizeof(*tallies));

    for (int seq = 0; seq < n_prompts; seq++)
        run_first_half(golden, seq, reads_slots, &tallies[seq]);
    run_second_half(golden, tallies);
    for (int seq = 0; seq < n_prompts; seq++)
        check(tallies[seq].n_wrong == 0,
              "%s prompt %d: %zu ids of the answer, %s, %d near-ties, %d wrong%s", golden->name,
              seq, golden->expected.prompts[seq].output.len, how, tallies[seq].n_near,
              tallies[seq].n_wrong, tallies[seq].first_wrong);
    free(tallies);
}

/* ---- the same bits in any batch -------------------------------------------------------------- */

/* Log-probabilities of what follows each token of a prompt, computed in chunks of it alone. */
static void score_alone(struct golden *golden, int seq, float *scores)
{
    const struct expected_prompt *prompt = &golden->expected.prompts[seq];

    for (size_t done = 0, n; done < prompt->tokens.len; done += n) {
        struct step step = {0};
        n = prompt->tokens.len - done < CHUNK ? prompt->tokens.len - done : CHUNK;
        step_add(&step, golden, seq, done, prompt->tokens.data + done, (int)n, (int)n);
        struct ant_drawn drawn = step_run(&step, golden);
        memcpy(scores + done, drawn.logprobs, n * sizeof(*scores));
    }
}

/* The same with one token of every prompt a step, the prompts in the opposite order. */
static void score_together(struct golden *golden, float **scores)
{
    const struct expected *expected = &golden->expected;

    for (size_t i = 0; i < expected->longest; i++) {
        struct step step = {0};
        int who[MAX_SEQS];
        for (int seq = expected->n_prompts - 1; seq >= 0; seq--) {
            const struct ant_ids *tokens = &expected->prompts[seq].tokens;
            if (i >= tokens->len)
                continue;
            who[step.n_seqs] = seq;
            step_add(&step, golden, seq, i, tokens->data + i, 1, 1);
        }
        if (step.n_seqs == 0)
            return;
        struct ant_drawn drawn = step_run(&step, golden);
        for (int s = 0; s < step.n_seqs; s++)
            scores[who[s]][i] = drawn.logprobs[s];
    }
}

/* Of tiny models: with real ones it would take long, and tell nothing more. */
static void check_batches(struct golden *golden, const char *how)
{
    const struct expected *expected = &golden->expected;
    float *alone[MAX_SEQS], *together[MAX_SEQS];

    if ((int)expected->prompts[0].ids.len != spy.vocab)
        return;
    for (int seq = 0; seq < expected->n_prompts; seq++) {
        alone[seq] = ant_xcalloc(expected->prompts[seq].tokens.len, sizeof(float));
        together[seq] = ant_xcalloc(expected->prompts[seq].tokens.len, sizeof(float));
        score_alone(golden, seq, alone[seq]);
    }
    score_together(golden, together);
    for (int seq = 0; seq < expected->n_prompts; seq++) {
        size_t n = expected->prompts[seq].tokens.len;
        check(memcmp(alone[seq], together[seq], n * sizeof(float)) == 0,
              "%s prompt %d: the same bits in chunks alone as in a batch, %s", golden->name, seq,
              how);
        free(alone[seq]);
        free(together[seq]);
    }
}

static void check_tokens(const struct golden *golden)
{
    struct ant_error err;

    for (int seq = 0; seq < golden->expected.n_prompts; seq++) {
        const struct expected_prompt *prompt = &golden->expected.prompts[seq];
        struct ant_ids ids = {0};
        must(ant_tokenizer_encode(golden->tokenizer, prompt->text, strlen(prompt->text), false,
                                  &ids, &err),
             &err);
        check(ids.len == prompt->tokens.len &&
                  memcmp(ids.data, prompt->tokens.data, ids.len * sizeof(int32_t)) == 0,
              "%s prompt %d: %zu ids of the text", golden->name, seq, prompt->tokens.len);
        ant_ids_release(&ids);
    }
}

static void check_model(const char *name, const char *model, const char *expected)
{
    /* A device has one type of cache, but other ways for steps whose slots nobody reads. */
    static const struct {
        const char *backend;
        enum ant_kv_type type;
        bool reads_slots;
        const char *name;
    } ways[] = {{"cpu", ANT_KV_F32, true, "f32 cache"},
                {"cpu", ANT_KV_BF16, true, "bf16 cache"},
                {"cuda", ANT_KV_BF16, true, "operation by operation"},
                {"cuda", ANT_KV_BF16, false, "captured steps"}};
    struct golden golden = {.name = name};
    struct ant_error err;

    must(ant_checkpoint_open(&golden.checkpoint, model, &err), &err);
    must(ant_checkpoint_tokenizer(golden.checkpoint, &golden.tokenizer, &err), &err);
    expected_load(&golden.expected, expected, ant_checkpoint_arch(golden.checkpoint)->vocab);
    check_tokens(&golden);
    for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
        if (strcmp(ways[i].backend, backend) != 0)
            continue;
        open_model(&golden, ways[i].type, ways[i].reads_slots);
        check_answers(&golden, ways[i].reads_slots, ways[i].name);
        check_batches(&golden, ways[i].name);
        close_model(&golden);
    }
    expected_free(&golden.expected);
    ant_tokenizer_close(golden.tokenizer);
    ant_checkpoint_close(golden.checkpoint);
}

int main(int argc, char **argv)
{
    int first = 1;

    if (argc > 2 && strcmp(argv[1], "--backend") == 0) {
        backend = argv[2];
        tie = strcmp(backend, "cpu") == 0 ? TIE : TIE_DEVICE;
        first = 3;
    }
    if (argc < first + 3 || (argc - first) % 3 != 0) {
        fprintf(stderr,
                "Usage: answers [--backend NAME] NAME MODEL EXPECTED [NAME MODEL EXPECTED]...\n");
        return 2;
    }
    for (int i = first; i < argc; i += 3)
        check_model(argv[i], argv[i + 1], argv[i + 2]);
    printf("1..%d\n", n_cases);
    return n_failed > 0;
}
