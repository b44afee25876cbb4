/* SPDX-License-Identifier: Apache-2.0 */
/* What a backend counts of its work: by the thread that takes steps, while another may look. */
#ifndef ANT_BACKEND_TALLY_H
#define ANT_BACKEND_TALLY_H

#include <stdatomic.h>

#include "backend/backend.h"

/* Those of struct ant_backend_counts. */
struct ant_tally {
    _Atomic double weight_bytes, kv_bytes, flops;
    _Atomic double seconds_gemm, seconds_attention, seconds_other;
};

/* By one thread alone. */
static inline void ant_tally_add(_Atomic double *sum, double more)
{
    double before = atomic_load_explicit(sum, memory_order_relaxed);
    atomic_store_explicit(sum, before + more, memory_order_relaxed);
}

/* By any. */
static inline struct ant_backend_counts ant_tally_read(const struct ant_tally *tally)
{
    return (struct ant_backend_counts){
        .weight_bytes = atomic_load_explicit(&tally->weight_bytes, memory_order_relaxed),
        .kv_bytes = atomic_load_explicit(&tally->kv_bytes, memory_order_relaxed),
        .flops = atomic_load_explicit(&tally->flops, memory_order_relaxed),
        .seconds_gemm = atomic_load_explicit(&tally->seconds_gemm, memory_order_relaxed),
        .seconds_attention = atomic_load_explicit(&tally->seconds_attention, memory_order_relaxed),
        .seconds_other = atomic_load_explicit(&tally->seconds_other, memory_order_relaxed),
    };
}

#endif
