/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "backend/cpu/cpu_level.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

const char *const ant_cpu_level_names[ANT_CPU_N_LEVELS] = {"c", "avx2", "avx512", "amx"};

#if defined(__x86_64__)

enum { ARCH_GET_XCOMP_PERMISSION = 0x1022, ARCH_REQUEST_XCOMP_PERMISSION = 0x1023, XTILEDATA = 18 };

/* What configure found the compiler able to build. */
static const bool is_built[ANT_CPU_N_LEVELS] = {
    [ANT_CPU_C] = true,
#ifdef WITH_AVX2
    [ANT_CPU_AVX2] = true,
#endif
#ifdef WITH_AVX512
    [ANT_CPU_AVX512] = true,
#endif
#ifdef WITH_AMX
    [ANT_CPU_AMX] = true,
#endif
};

/* State that the operating system saves: bits of XCR0. */
#define XCR0_AVX    0x6ull
#define XCR0_AVX512 (XCR0_AVX | 0xe0ull)
#define XCR0_AMX    (XCR0_AVX512 | 0x60000ull)

struct features {
    unsigned c1, b7, c7, d7, a7_1; /* CPUID leaf 1 ecx; leaf 7 ebx, ecx, edx; leaf 7.1 eax */
    unsigned long long xcr0;
};

static void read_features(struct features *f)
{
    unsigned a, b, c, d;
    *f = (struct features){0};
    if (!__get_cpuid(1, &a, &b, &f->c1, &d))
        return;
    if (__get_cpuid_count(7, 0, &a, &f->b7, &f->c7, &f->d7) && a >= 1)
        __get_cpuid_count(7, 1, &f->a7_1, &b, &c, &d);
    if (f->c1 & bit_OSXSAVE) {
        unsigned low, high;
        __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
        f->xcr0 = (unsigned long long)high << 32 | low;
    }
}

static bool all(unsigned have, unsigned want)
{
    return (have & want) == want;
}

static bool has_avx2(const struct features *f)
{
    return (f->xcr0 & XCR0_AVX) == XCR0_AVX && all(f->c1, bit_FMA | bit_F16C | bit_AVX) &&
           all(f->b7, bit_AVX2);
}

static bool has_avx512(const struct features *f)
{
    enum { AVX512_BF16 = 1 << 5 }; /* leaf 7.1 eax */
    return (f->xcr0 & XCR0_AVX512) == XCR0_AVX512 &&
           all(f->b7, bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ | bit_AVX512CD) &&
           all(f->c7, bit_AVX512VNNI) && all(f->a7_1, AVX512_BF16);
}

void ant_cpu_request_amx(void)
{
    /* Refusal is seen by has_amx. */
    syscall(SYS_arch_prctl, ARCH_REQUEST_XCOMP_PERMISSION, XTILEDATA);
}

#ifdef ANT_AMX_EMULATED /* by tests, in AVX-512 */
static bool has_amx(const struct features *f)
{
    return has_avx512(f);
}
#else
static bool has_amx(const struct features *f)
{
    enum { AMX_BF16 = 1 << 22, AMX_TILE = 1 << 24, AMX_INT8 = 1 << 25 }; /* leaf 7 edx */
    unsigned long long granted = 0;
    ant_cpu_request_amx(); /* for programs whose main has not; asking again changes nothing */
    return (f->xcr0 & XCR0_AMX) == XCR0_AMX && all(f->d7, AMX_BF16 | AMX_TILE | AMX_INT8) &&
           syscall(SYS_arch_prctl, ARCH_GET_XCOMP_PERMISSION, &granted) == 0 &&
           (granted >> XTILEDATA & 1);
}
#endif

enum ant_cpu_level ant_cpu_best(void)
{
    struct features f;
    read_features(&f);
    const bool has[ANT_CPU_N_LEVELS] = {true, has_avx2(&f), has_avx512(&f), has_amx(&f)};
    int best = ANT_CPU_C;
    while (best + 1 < ANT_CPU_N_LEVELS && is_built[best + 1] && has[best + 1])
        best++;
    return (enum ant_cpu_level)best;
}

void ant_cpu_brand(char *text, size_t bytes)
{
    unsigned words[12] = {0};
    char brand[49];
    for (unsigned i = 0; i < 3; i++)
        if (!__get_cpuid(0x80000002u + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2],
                         &words[4 * i + 3]))
            words[0] = 0;
    memcpy(brand, words, 48);
    brand[48] = 0;
    const char *from = brand + strspn(brand, " ");
    size_t end = strlen(from);
    while (end > 0 && from[end - 1] == ' ')
        end--;
    snprintf(text, bytes, "%.*s", end ? (int)end : 6, end ? from : "x86_64");
}

#else

void ant_cpu_request_amx(void)
{
}

enum ant_cpu_level ant_cpu_best(void)
{
    return ANT_CPU_C;
}

void ant_cpu_brand(char *text, size_t bytes)
{
    struct utsname name;
    snprintf(text, bytes, "%s", uname(&name) == 0 ? name.machine : "CPU");
}

#endif

int ant_cpu_choose(enum ant_cpu_level *out, struct ant_error *err)
{
    enum ant_cpu_level best = ant_cpu_best();
    const char *name = getenv("ANTIPHON_CPU");
    if (name == NULL || *name == 0) {
        *out = best;
        return 0;
    }
    for (int i = 0; i < ANT_CPU_N_LEVELS; i++) {
        if (strcmp(name, ant_cpu_level_names[i]) != 0)
            continue;
        if (i > (int)best)
            return ant_fail(err, ANT_EUSAGE,
                            "ANTIPHON_CPU=%s asks for more than there is: the level here is '%s'",
                            name, ant_cpu_level_names[best]);
        *out = (enum ant_cpu_level)i;
        return 0;
    }
    return ant_fail(err, ANT_EUSAGE, "ANTIPHON_CPU='%s' is none of c, avx2, avx512, amx", name);
}

void ant_cpu_dsp(enum ant_cpu_level level, struct ant_dsp *out)
{
    ant_dsp_init_c(out);
    (void)level;
#ifdef WITH_AVX2
    if (level >= ANT_CPU_AVX2)
        ant_dsp_init_avx2(out);
#endif
#ifdef WITH_AVX512
    if (level >= ANT_CPU_AVX512)
        ant_dsp_init_avx512(out);
#endif
#ifdef WITH_AMX
    if (level >= ANT_CPU_AMX)
        ant_dsp_init_amx(out);
#endif
}
