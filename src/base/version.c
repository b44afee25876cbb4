/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/version.h"

#include "base/commit.h"

#ifdef HAVE_PARALLEL_HDF5
#define HDF5 "parallel-hdf5"
#else
#define HDF5 "serial-hdf5"
#endif
#ifdef HAVE_PMIX
#define PMIX " pmix"
#else
#define PMIX ""
#endif
#ifdef HAVE_UCX
#define UCX " ucx"
#else
#define UCX ""
#endif
#ifdef HAVE_CUDA
#define CUDA " cuda"
#else
#define CUDA ""
#endif
#ifdef HAVE_NCCL
#define NCCL " nccl"
#else
#define NCCL ""
#endif
#ifdef WITH_AVX2
#define AVX2 " avx2"
#else
#define AVX2 ""
#endif
#ifdef WITH_AVX512
#define AVX512 " avx512"
#else
#define AVX512 ""
#endif
#ifdef WITH_AMX
#define AMX " amx"
#else
#define AMX ""
#endif

#ifdef __clang__
#define COMPILER "clang " __clang_version__
#elif defined __GNUC__
#define COMPILER "gcc " __VERSION__
#else
#define COMPILER "unknown compiler"
#endif

const char ant_version[] = PACKAGE_VERSION;
const char ant_version_commit[] = ANT_COMMIT;
const char ant_version_features[] = HDF5 PMIX UCX CUDA NCCL AVX2 AVX512 AMX;
const char ant_version_compiler[] = COMPILER;
const char ant_version_options[] = ANT_BUILD_OPTIONS;
