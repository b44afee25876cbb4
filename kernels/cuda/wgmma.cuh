/* SPDX-License-Identifier: Apache-2.0 */
/* Hopper's asynchronous matrix instructions and barriers, as little of them as
 * is needed here. Only code compiled for sm_90a may call these. */
#ifndef ANT_WGMMA_CUH
#define ANT_WGMMA_CUH

#include <stdint.h>

/* Shared memory operand in 128-byte rows, the 16-byte units of each XORed with
 * the row's number in its group of eight; groups of eight rows follow each
 * other. `lead`: bytes between blocks of 64 elements (operands that lie across
 * the sum). Bytes / 16 may be added to its low half to move on. */
__device__ __forceinline__ uint32_t wgmma_operand(uint32_t address, uint32_t lead)
{
    return address >> 4 | lead >> 4 << 16;
}

__device__ __forceinline__ uint64_t wgmma_descriptor(uint32_t operand)
{
    return (uint64_t)(1u << 30 | 1024 >> 4) << 32 | operand;
}

__device__ __forceinline__ void wgmma_begin()
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ __forceinline__ void wgmma_commit()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

template <int PENDING> __device__ __forceinline__ void wgmma_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

/* The compiler must neither move nor copy registers that the unit works on. */
template <int N> __device__ __forceinline__ void wgmma_hold(float (&c)[N][4])
{
#pragma unroll
    for (int n = 0; n < N; n++)
        asm volatile("" : "+f"(c[n][0]), "+f"(c[n][1]), "+f"(c[n][2]), "+f"(c[n][3])::"memory");
}

template <int N> __device__ __forceinline__ void wgmma_hold(uint32_t (&a)[N][4])
{
#pragma unroll
    for (int n = 0; n < N; n++)
        asm volatile("" : "+r"(a[n][0]), "+r"(a[n][1]), "+r"(a[n][2]), "+r"(a[n][3])::"memory");
}

#define C4(n) "+f"(c[n][0]), "+f"(c[n][1]), "+f"(c[n][2]), "+f"(c[n][3])
#define C16   C4(0), C4(1), C4(2), C4(3)
#define C32   C16, C4(4), C4(5), C4(6), C4(7)
#define C48   C32, C4(8), C4(9), C4(10), C4(11)
#define C64   C32, C4(8), C4(9), C4(10), C4(11), C4(12), C4(13), C4(14), C4(15)
#define C96   C64, C4(16), C4(17), C4(18), C4(19), C4(20), C4(21), C4(22), C4(23)
#define C128  C96, C4(24), C4(25), C4(26), C4(27), C4(28), C4(29), C4(30), C4(31)
#define R16   "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define R32                                                                                        \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, "   \
    "%20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define R64                                                                                        \
    R32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, "  \
        "%49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"

#define R48 R32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define R96                                                                                        \
    R64 ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, "  \
        "%81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define R128                                                                                       \
    R96 ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, " \
        "%111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, "     \
        "%125, %126, %127"

/* c (64 x COLUMNS) = a (64 x 16) b (COLUMNS x 16)^T, added to c when `add`; both in shared memory,
 * rows along the sum. A, B and ADD are the numbers of operands behind those of c. */
#define WGMMA_PRODUCT(EIGHTS, COLUMNS, OUTPUTS, REGISTERS, A, B, ADD)                              \
    __device__ __forceinline__ void wgmma_product(float(&c)[EIGHTS][4], uint32_t a, uint32_t b,    \
                                                  int add)                                         \
    {                                                                                              \
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" ADD ", 0;\n"                             \
                     "wgmma.mma_async.sync.aligned.m64n" COLUMNS "k16.f32.bf16.bf16 {" REGISTERS   \
                     "}, %" A ", %" B ", p, 1, 1, 0, 0;\n}"                                        \
                     : OUTPUTS                                                                     \
                     : "l"(wgmma_descriptor(a)), "l"(wgmma_descriptor(b)), "r"(add));              \
    }

WGMMA_PRODUCT(4, "32", C16, R16, "16", "17", "18")
WGMMA_PRODUCT(8, "64", C32, R32, "32", "33", "34")
WGMMA_PRODUCT(12, "96", C48, R48, "48", "49", "50")
WGMMA_PRODUCT(16, "128", C64, R64, "64", "65", "66")
WGMMA_PRODUCT(24, "192", C96, R96, "96", "97", "98")
WGMMA_PRODUCT(32, "256", C128, R128, "128", "129", "130")

#undef WGMMA_PRODUCT

/* c (64 x 64) = a (64 x 16) b (64 x 16)^T, added to c when `add`; a in registers, rows of b along
 * the sum. */
__device__ __forceinline__ void wgmma_scores(float (&c)[8][4], const uint32_t (&a)[4], uint32_t b,
                                             int add)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" R32
                 "}, {%32, %33, %34, %35}, %36, p, 1, 1, 0;\n}"
                 : C32
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(wgmma_descriptor(b)), "r"(add));
}

/* c (64 x N) = a (64 x 16) b (16 x N), added to c when `add`; a in registers, rows of b across the
 * sum. */
__device__ __forceinline__ void wgmma_values(float (&c)[8][4], const uint32_t (&a)[4], uint32_t b,
                                             int add)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" R32
                 "}, {%32, %33, %34, %35}, %36, p, 1, 1, 1;\n}"
                 : C32
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(wgmma_descriptor(b)), "r"(add));
}

__device__ __forceinline__ void wgmma_values(float (&c)[16][4], const uint32_t (&a)[4], uint32_t b,
                                             int add)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" R64
                 "}, {%64, %65, %66, %67}, %68, p, 1, 1, 1;\n}"
                 : C64
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(wgmma_descriptor(b)), "r"(add));
}

#undef C4
#undef C16
#undef C48
#undef R16
#undef R48
#undef C32
#undef C64
#undef C96
#undef C128
#undef R32
#undef R64
#undef R96
#undef R128

/* Barriers in shared memory, by address. */
__device__ __forceinline__ void barrier_init(uint32_t barrier, int count)
{
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
}

__device__ __forceinline__ void barrier_arrive(uint32_t barrier)
{
    asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(barrier) : "memory");
}

/* Arrive, and expect so many bytes of bulk copies before the phase is complete. */
__device__ __forceinline__ void barrier_arrive_expecting(uint32_t barrier, int bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
                 : "memory");
}

/* Start the copy of a box of a tensor of five dimensions whose first element is at (x, 0, 0, y, z);
 * `map`: its tensor map. It counts towards the barrier. */
__device__ __forceinline__ void copy_box(uint32_t to, const void *map, int x, int y, int z,
                                         uint32_t barrier)
{
    asm volatile("cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%2, %6, %6, %3, %4}], [%5];" ::"r"(to),
                 "l"(map), "r"(x), "r"(y), "r"(z), "r"(barrier), "r"(0)
                 : "memory");
}

/* The same of a tensor of two dimensions, from (x, y) on. */
__device__ __forceinline__ void copy_rows(uint32_t to, const void *map, int x, int y,
                                          uint32_t barrier)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%2, %3}], [%4];" ::"r"(to),
                 "l"(map), "r"(x), "r"(y), "r"(barrier)
                 : "memory");
}

/* Eight rows of eight 16-bit values each, four such matrices, transposed: lane 8 m + i has the
 * address of column i of matrix m. */
__device__ __forceinline__ void store_matrices_transposed(uint32_t address, uint32_t a, uint32_t b,
                                                          uint32_t c, uint32_t d)
{
    asm volatile(
        "stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address),
        "r"(a), "r"(b), "r"(c), "r"(d)
        : "memory");
}

/* Wait until `threads` threads have come to named barrier `id`. */
__device__ __forceinline__ void barrier_threads(int id, int threads)
{
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

/* Whether the phase of this parity is complete; may wait a little. */
__device__ __forceinline__ bool barrier_test(uint32_t barrier, uint32_t parity)
{
    uint32_t done;
    asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared.b64 p, [%1], %2;\n"
                 "selp.u32 %0, 1, 0, p;\n}"
                 : "=r"(done)
                 : "r"(barrier), "r"(parity)
                 : "memory");
    return done;
}

__device__ __forceinline__ void barrier_wait(uint32_t barrier, uint32_t parity)
{
    while (!barrier_test(barrier, parity))
        ;
}

/* Arrive once all copies that this thread has started are complete. */
__device__ __forceinline__ void barrier_arrive_after_copies(uint32_t barrier)
{
    asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(barrier) : "memory");
}

/* Order what is known to be written to shared memory before what the matrix unit reads. */
__device__ __forceinline__ void matrix_unit_fence()
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

template <int REGISTERS> __device__ __forceinline__ void registers_lower()
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

template <int REGISTERS> __device__ __forceinline__ void registers_raise()
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

/* Clusters: blocks whose shared memory the others can reach. All threads of all of them come here.
 */
__device__ __forceinline__ void barrier_cluster()
{
    asm volatile("barrier.cluster.arrive.release.aligned;\n"
                 "barrier.cluster.wait.acquire.aligned;" ::
                     : "memory");
}

/* Arrive at a barrier of a block of the cluster, by its address in this one. What is ordered are
 * reads of shared memory, which are over: to release to the whole cluster would wait for all of the
 * thread's accesses to memory, too. */
__device__ __forceinline__ void barrier_arrive_at(uint32_t barrier, int rank)
{
    asm volatile("{\n.reg .b32 there;\n"
                 "mapa.shared::cluster.u32 there, %0, %1;\n"
                 "mbarrier.arrive.shared::cluster.b64 _, [there];\n}" ::"r"(barrier),
                 "r"(rank)
                 : "memory");
}

/* As copy_box(), to the same place of both blocks of a cluster, and towards the barrier of each. */
__device__ __forceinline__ void copy_box_to_both(uint32_t to, const void *map, int x, int y, int z,
                                                 uint32_t barrier)
{
    asm volatile("cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes"
                 ".multicast::cluster [%0], [%1, {%2, %6, %6, %3, %4}], [%5], %7;" ::"r"(to),
                 "l"(map), "r"(x), "r"(y), "r"(z), "r"(barrier), "r"(0), "h"((uint16_t)3)
                 : "memory");
}

#endif
