/* SPDX-License-Identifier: Apache-2.0 */
/* libantiphon in a process that is alone: what a program gets wrong is refused in words. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "antiphon.h"
#include "base/mem.h"
#include "fixture.h"

static void refuses(const struct antiphon_settings *settings, const char *text)
{
    struct antiphon *antiphon;
    antiphon_text error = "";

    assert_true(antiphon_open(&antiphon, settings, error) < 0);
    assert_null(antiphon);
    if (!strstr(error, text))
        fail_msg("'%s' does not say '%s'", error, text);
}

static void settings_in_words(void **state)
{
    const char *stops[] = {"a", NULL};
    struct antiphon_settings settings = {.version = ANTIPHON_API_VERSION + 1, .model = "m"};

    (void)state;
    refuses(&settings, "made for version");
    settings.version = ANTIPHON_API_VERSION;
    settings.threads = -1;
    refuses(&settings, "no negative number");
    settings.threads = 0;
    settings.backend = "abacus";
    refuses(&settings, "abacus");
    settings.backend = NULL;
    settings.stop_texts = stops;
    settings.n_stop_texts = 2;
    refuses(&settings, "stop_texts[1] is NULL");
}

/* Keeps what each prompt came to. */
static void keep(const struct antiphon_answer *answer, void *user)
{
    char **words = user;

    words[answer->prompt] = ant_xstrdup(answer->error ? answer->error : answer->finish);
}

static void prompts_one_by_one(void **state)
{
    enum { N = 5 };
    const char *wanted[N] = {"LENGTH", "top_p -1", "min_p", "typical_p", "max_tokens"};
    struct antiphon_prompt prompts[N];
    char *words[N] = {NULL}, *model = source_path("tests/golden/tiny/llama");
    struct antiphon_settings settings = {
        .version = ANTIPHON_API_VERSION, .model = model, .max_model_len = 64, .threads = 1};
    struct antiphon *antiphon;
    antiphon_text error = "";

    (void)state;
    for (int i = 0; i < N; i++)
        prompts[i] = (struct antiphon_prompt){.text = "ab", .bytes = 2, .max_tokens = 1};
    prompts[1].top_p = -1;
    prompts[2].min_p = -0.5F;
    prompts[3].typical_p = __builtin_nanf("");
    prompts[4].max_tokens = -3;
    if (antiphon_open(&antiphon, &settings, error) < 0)
        fail_msg("%s", error);
    if (antiphon_generate(antiphon, prompts, N, NULL, keep, words, error) < 0)
        fail_msg("%s", error);
    antiphon_close(antiphon);
    for (int i = 0; i < N; i++) {
        if (!words[i] || !strstr(words[i], wanted[i]))
            fail_msg("prompt %d: '%s' does not say '%s'", i, words[i] ? words[i] : "", wanted[i]);
        free(words[i]);
    }
    free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings_in_words),
        cmocka_unit_test(prompts_one_by_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
