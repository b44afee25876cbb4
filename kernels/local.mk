# SPDX-License-Identifier: Apache-2.0
# Inner kernels. Each instruction-set level of the CPU is an archive of its own with flags of its
# own, so that no other object can come to contain its instructions; only the level's init functions
# are external.

# CPU
KERNEL_CPPFLAGS = -I$(srcdir)/src -I$(srcdir)/kernels

noinst_HEADERS += \
	kernels/cpu/amx.h kernels/cpu/block512.h kernels/cpu/dsp.h kernels/cpu/panel.h \
	kernels/cpu/vec256.h kernels/cpu/vec512.h
libantiphon_a_SOURCES += kernels/cpu/dsp_c.c kernels/cpu/quant_c.c kernels/cpu/panel.c

if WITH_AVX2
lib_LIBRARIES += libantiphon_avx2.a
KERNEL_ARCHIVES += libantiphon_avx2.a
libantiphon_avx2_a_SOURCES = kernels/cpu/dsp_avx2.c kernels/cpu/quant_avx2.c
libantiphon_avx2_a_CFLAGS = $(AM_CFLAGS) $(ANT_AVX2_CFLAGS)
endif

if WITH_AVX512
lib_LIBRARIES += libantiphon_avx512.a
KERNEL_ARCHIVES += libantiphon_avx512.a
libantiphon_avx512_a_SOURCES = kernels/cpu/dsp_avx512.c kernels/cpu/quant_avx512.c
libantiphon_avx512_a_CFLAGS = $(AM_CFLAGS) $(ANT_AVX512_CFLAGS)
endif

if WITH_AMX
lib_LIBRARIES += libantiphon_amx.a
KERNEL_ARCHIVES += libantiphon_amx.a
libantiphon_amx_a_SOURCES = kernels/cpu/dsp_amx.c kernels/cpu/quant_amx.c
libantiphon_amx_a_CFLAGS = $(AM_CFLAGS) $(ANT_AMX_CFLAGS)
endif

# CUDA: name a .cu file in CUDA_KERNELS, headers in noinst_HEADERS; that is all.
CUDA_KERNELS =
CUDA_KERNELS += \
	kernels/cuda/attn_decode.cu kernels/cuda/attn_prefill.cu kernels/cuda/attn_prefill90.cu kernels/cuda/attn_shared.cu \
	kernels/cuda/attn_e4m3.cu kernels/cuda/digest.cu kernels/cuda/e4m3.cu kernels/cuda/edit.cu \
	kernels/cuda/chain.cu kernels/cuda/few_rows.cu kernels/cuda/few_rows_e4m3.cu kernels/cuda/grouped.cu kernels/cuda/grouped90.cu \
	kernels/cuda/norm.cu kernels/cuda/peers.cu kernels/cuda/rope.cu kernels/cuda/route.cu kernels/cuda/rows.cu kernels/cuda/sample.cu kernels/cuda/spread.cu
noinst_HEADERS += \
	kernels/cuda/attn_tile.cuh kernels/cuda/attn_warp.cuh kernels/cuda/grouped.cuh kernels/cuda/kern.h kernels/cuda/launch.cuh kernels/cuda/peers.cuh kernels/cuda/prefill.cuh kernels/cuda/vec.cuh \
	kernels/cuda/wgmma.cuh kernels/cuda/attn_parts.cuh kernels/cuda/e4m3.cuh kernels/cuda/sample.cuh kernels/cuda/few_rows.cuh

EXTRA_DIST += $(CUDA_KERNELS)
if HAVE_CUDA
CUDA_OBJECTS = $(CUDA_KERNELS:.cu=.o)
endif

NVCC_COMPILE = $(NVCC) $(NVCC_GENCODE) -std=c++17 -DHAVE_CONFIG_H -I. $(KERNEL_CPPFLAGS) \
	$(CUDA_CPPFLAGS) -Xcompiler -Wall,-fno-exceptions $(NVCC_WARNINGS) $(NVCCFLAGS)
AM_V_NVCC = $(am__v_NVCC_@AM_V@)
am__v_NVCC_ = $(am__v_NVCC_@AM_DEFAULT_V@)
am__v_NVCC_0 = @echo "  NVCC    " $@;
am__v_NVCC_1 =

SUFFIXES = .cu
.cu.o:
	@$(MKDIR_P) $(@D)
	$(AM_V_NVCC)$(NVCC_COMPILE) -MD -MP -MF $@.d -c $< -o $@
-include $(wildcard kernels/cuda/*.o.d)

# automake does not clean what a rule of our own makes.
CLEANFILES += kernels/cuda/*.o kernels/cuda/*.o.d
