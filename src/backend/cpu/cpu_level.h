/* SPDX-License-Identifier: Apache-2.0 */
/* Which instruction-set level this process runs on.
 *
 * A level is the whole feature set that its file is compiled with, offered by the CPU (CPUID),
 * kept by the operating system across context switches (XGETBV) and, for AMX, granted to the
 * process (arch_prctl). AVX-512 here means with BF16 and VNNI: CPUs that have AVX-512 without them
 * (Skylake-X, Cascade Lake) run the AVX2 level, since its float arithmetic at half the vector
 * length is what their frequency and our one 512-bit code path leave.
 * ANTIPHON_CPU=c|avx2|avx512|amx lowers the level. Thread: ant_cpu_request_amx first thing in
 * main; the rest any. */
#ifndef ANT_BACKEND_CPU_CPU_LEVEL_H
#define ANT_BACKEND_CPU_CPU_LEVEL_H

#include "base/error.h"
#include "cpu/dsp.h"

enum ant_cpu_level {
    ANT_CPU_C,
    ANT_CPU_AVX2,
    ANT_CPU_AVX512,
    ANT_CPU_AMX,
    ANT_CPU_N_LEVELS,
};

extern const char *const ant_cpu_level_names[ANT_CPU_N_LEVELS];

/* Ask the kernel for the AMX registers: a main does so before any library installs a small signal
 * stack, which would make the kernel refuse. The first look at the level asks too. Harmless where
 * there is no AMX. */
void ant_cpu_request_amx(void);

/* The highest level that this machine, this build and the kernel offer. */
enum ant_cpu_level ant_cpu_best(void);

/* The level to use: the best one, or what ANTIPHON_CPU names; ANT_EUSAGE when that is unknown or
 * more than there is. */
int ant_cpu_choose(enum ant_cpu_level *out, struct ant_error *err);

/* The table of a level that is not above the best. */
void ant_cpu_dsp(enum ant_cpu_level level, struct ant_dsp *out);

/* "AMD EPYC 9654 96-Core Processor", or the architecture's name where the CPU does not say. */
void ant_cpu_brand(char *text, size_t bytes);

#endif
