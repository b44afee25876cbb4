/* SPDX-License-Identifier: Apache-2.0 */
/* Launches that overlap the end of the kernel before them on the stream.
 *
 * Such a kernel starts when every block of the one before has started and said so, or ended. Until
 * it has waited it may touch nothing that an earlier kernel writes, and write nothing at all;
 * weights and the step's descriptor, which no kernel writes, it may read. Every block waits, also
 * one without work, for the kernels after it rely on the wait being done here. GPUs before Hopper
 * run kernels one after another as ever. */
#ifndef ANT_LAUNCH_CUH
#define ANT_LAUNCH_CUH

#include "config.h"

#include <cuda_runtime.h>

/* The next kernel may start. */
__device__ __forceinline__ void start_next()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/* What earlier kernels have written is there. */
__device__ __forceinline__ void wait_before()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/* A property of the current GPU; 0 when it cannot be asked for. */
static inline int device_property(cudaDeviceAttr which)
{
    int device, value;

    if (cudaGetDevice(&device) != cudaSuccess ||
        cudaDeviceGetAttribute(&value, which, device) != cudaSuccess)
        return 0;
    return value;
}

/* Whether the current GPU runs what was compiled for sm_90a. Others run code for 8.0 or what the
 * driver makes of it, a Hopper, too, where the build has no sm_90a. */
static inline bool runs_sm90a()
{
#ifdef HAVE_SM90A
    return device_property(cudaDevAttrComputeCapabilityMajor) == 9;
#else
    return false;
#endif
}

template <typename... P, typename... A>
static cudaError_t launch_early(void (*kernel)(P...), dim3 grid, int threads, size_t smem_bytes,
                                cudaStream_t stream, const A &...args)
{
    cudaLaunchAttribute attribute = {};
    cudaLaunchConfig_t config = {};

    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    config.gridDim = grid;
    config.blockDim = dim3(threads);
    config.dynamicSmemBytes = smem_bytes;
    config.stream = stream;
    config.attrs = &attribute;
    config.numAttrs = runs_sm90a(); /* older code does not wait */
    return cudaLaunchKernelEx(&config, kernel, P(args)...);
}

#endif
