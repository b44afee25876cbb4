# SPDX-License-Identifier: Apache-2.0
# Every test speaks TAP. `make check` runs them all; a test that cannot run says why it skips.

LOG_DRIVER = env AM_TAP_AWK='$(AWK)' $(SHELL) $(top_srcdir)/m4/build-aux/tap-driver.sh
LOG_DRIVER_FLAGS = --comments
TEST_EXTENSIONS = .sh
SH_LOG_DRIVER = $(LOG_DRIVER)
SH_LOG_DRIVER_FLAGS = $(LOG_DRIVER_FLAGS)
SH_LOG_COMPILER = $(SHELL)
LOG_COMPILER = $(SHELL) $(srcdir)/tests/unit/run.sh
AM_TESTS_ENVIRONMENT = \
	CMOCKA_MESSAGE_OUTPUT=TAP; export CMOCKA_MESSAGE_OUTPUT; \
	TOP_SRCDIR='$(abs_top_srcdir)'; export TOP_SRCDIR; \
	TOP_BUILDDIR='$(abs_top_builddir)'; export TOP_BUILDDIR; \
	ANT_CC='$(CC) $(SANITIZE_FLAGS) $(DEFS) $(DEFAULT_INCLUDES) $(AM_CPPFLAGS) $(CPPFLAGS)'; export ANT_CC; \
	ANT_CFLAGS='$(CC) $(CFLAGS)'; export ANT_CFLAGS; \
	ANT_KERNEL_ARCHIVES='$(KERNEL_ARCHIVES)'; export ANT_KERNEL_ARCHIVES; \
	ANT_HAVE_CUDA='$(CUDA_HOME)'; export ANT_HAVE_CUDA; \
	FUZZ_TARGETS='$(FUZZ_TARGETS)'; export FUZZ_TARGETS;

# GNU make would make a file x from x.sh, also where x is a folder to be distributed.
%: %.sh

# Unit tests: one file a module, tests/unit/test_<module>.c, is one line here. One that cannot run
# prints "skip: WHY" and calls skip().
UNIT_TESTS =
UNIT_TESTS += tests/unit/test_arch
UNIT_TESTS += tests/unit/test_base_checksum
UNIT_TESTS += tests/unit/test_base_clock
UNIT_TESTS += tests/unit/test_base_error
UNIT_TESTS += tests/unit/test_base_file
UNIT_TESTS += tests/unit/test_base_log
UNIT_TESTS += tests/unit/test_base_mem
UNIT_TESTS += tests/unit/test_base_option
UNIT_TESTS += tests/unit/test_base_ring
UNIT_TESTS += tests/unit/test_api
UNIT_TESTS += tests/unit/test_bench
UNIT_TESTS += tests/unit/test_chat
UNIT_TESTS += tests/unit/test_checkpoint
UNIT_TESTS += tests/unit/test_constraint
if HAVE_CUDA
UNIT_TESTS += tests/unit/test_cuda_draws
endif
UNIT_TESTS += tests/unit/test_gguf
UNIT_TESTS += tests/unit/test_grammar
UNIT_TESTS += tests/unit/test_safetensors
UNIT_TESTS += tests/unit/test_deal
UNIT_TESTS += tests/unit/test_jinja_golden
UNIT_TESTS += tests/unit/test_launch
UNIT_TESTS += tests/unit/test_layout
UNIT_TESTS += tests/unit/test_journal
UNIT_TESTS += tests/unit/test_timeline
UNIT_TESTS += tests/unit/test_journal_owner
tests_unit_test_journal_owner_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=fcntl,--wrap=fcntl64 \
	-Wl,--wrap=clock_gettime
UNIT_TESTS += tests/unit/test_plan
UNIT_TESTS += tests/unit/test_plan_cost
UNIT_TESTS += tests/unit/test_doctor
UNIT_TESTS += tests/unit/test_prompts
UNIT_TESTS += tests/unit/test_results
UNIT_TESTS += tests/unit/test_exchange
noinst_HEADERS += tests/unit/answers.h tests/unit/h5_make.h tests/unit/journal_files.h
UNIT_TESTS += tests/unit/test_edits
UNIT_TESTS += tests/unit/test_engine
UNIT_TESTS += tests/unit/test_pipeline
UNIT_TESTS += tests/unit/test_sampling
UNIT_TESTS += tests/unit/test_sched
UNIT_TESTS += tests/unit/test_shard
UNIT_TESTS += tests/unit/test_stop
UNIT_TESTS += tests/unit/test_tensor
UNIT_TESTS += tests/unit/test_text_golden
UNIT_TESTS += tests/unit/test_text_pattern
UNIT_TESTS += tests/unit/test_text_tokenizer
UNIT_TESTS += tests/unit/test_work

# Kernel tests: each level of the CPU that the machine has.
noinst_HEADERS += tests/kernel/random.h
UNIT_TESTS += tests/kernel/test_cpu_backend
UNIT_TESTS += tests/kernel/test_cpu_dsp
UNIT_TESTS += tests/kernel/test_cpu_team
check_PROGRAMS += tests/kernel/bench_cpu

# Level amx where there is no AMX: its sources once more, with tiles in memory. What is installed has
# nothing of it.
TESTS += tests/emulated/amx.sh tests/emulated/smollm2.sh
EXTRA_DIST += tests/emulated/amx.sh tests/emulated/smollm2.sh
if WITH_AMX
check_LIBRARIES += libemulatedamx.a
libemulatedamx_a_SOURCES = tests/emulated/amx.c kernels/cpu/dsp_amx.c kernels/cpu/quant_amx.c
libemulatedamx_a_CPPFLAGS = $(AM_CPPFLAGS) -DANT_AMX_EMULATED
libemulatedamx_a_CFLAGS = $(AM_CFLAGS) $(ANT_AVX512_CFLAGS)

EMULATED_LEVEL = src/backend/cpu/cpu_level.c
EMULATED_LDADD = libemulatedamx.a $(LDADD)
check_PROGRAMS += tests/emulated/answers
tests_emulated_answers_SOURCES = $(tests_golden_answers_SOURCES) $(EMULATED_LEVEL)
tests_emulated_answers_CPPFLAGS = $(AM_CPPFLAGS) -DANT_AMX_EMULATED
tests_emulated_answers_LDADD = $(EMULATED_LDADD)
if HAVE_CMOCKA
check_PROGRAMS += tests/emulated/test_cpu_backend tests/emulated/test_cpu_dsp
tests_emulated_test_cpu_backend_SOURCES = tests/kernel/test_cpu_backend.c $(EMULATED_LEVEL)
tests_emulated_test_cpu_backend_CPPFLAGS = $(AM_CPPFLAGS) -DANT_AMX_EMULATED
tests_emulated_test_cpu_backend_LDADD = $(EMULATED_LDADD)
tests_emulated_test_cpu_dsp_SOURCES = tests/kernel/test_cpu_dsp.c $(EMULATED_LEVEL)
tests_emulated_test_cpu_dsp_CPPFLAGS = $(AM_CPPFLAGS) -DANT_AMX_EMULATED
tests_emulated_test_cpu_dsp_LDADD = $(EMULATED_LDADD)
endif
endif

# Kernels of the GPU, then whole jobs of several ranks: `make check-gpu`, with GPU_ARGS=--bench for
# the speed of kernels.
EXTRA_DIST += \
	tests/gpu/jobs.sh tests/gpu/parallel.sh tests/gpu/shapes.sh tests/gpu/alike.py tests/gpu/make_model.py \
	tests/gpu/reference.py
noinst_HEADERS += tests/gpu/check.h
EXTRA_PROGRAMS =
if HAVE_CUDA
EXTRA_PROGRAMS += tests/gpu/check-gpu
check-gpu: tests/gpu/check-gpu src/antiphon
	tests/gpu/check-gpu $(GPU_ARGS) || test $$? = 77
	for part in parallel shapes; do \
	    TOP_SRCDIR=$(abs_top_srcdir) TOP_BUILDDIR=$(abs_top_builddir) \
	    $(SHELL) $(top_srcdir)/tests/gpu/$$part.sh || exit 1; \
	done
else
check-gpu:
	@echo 'skipped: built without CUDA'
endif
tests_gpu_check_gpu_SOURCES = \
	tests/gpu/check.c tests/gpu/check_attention.c tests/gpu/check_e4m3.c tests/gpu/check_gemm.c \
	tests/gpu/check_model.c tests/gpu/check_moe.c tests/gpu/check_peers.c tests/gpu/check_rows.c \
	tests/gpu/check_sampling.c tests/gpu/check_spread.c
CLEANFILES += tests/gpu/check-gpu
.PHONY: check-gpu

# Fuzz targets: tests/fuzz/fuzz_<what>.c defines what fuzz.h declares, its corpus lies in
# tests/fuzz/corpus/<what>/. Two lines each, here and in the block of _LDFLAGS:
#   FUZZ_TARGETS += tests/fuzz/fuzz_gguf
#   tests_fuzz_fuzz_gguf_LDFLAGS = $(FUZZ_LINK)
FUZZ_TARGETS =
FUZZ_LINK = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
FUZZ_TARGETS += tests/fuzz/fuzz_config
tests_fuzz_fuzz_config_LDFLAGS = $(FUZZ_LINK)
FUZZ_TARGETS += tests/fuzz/fuzz_constraint
tests_fuzz_fuzz_constraint_LDFLAGS = $(FUZZ_LINK)
FUZZ_TARGETS += tests/fuzz/fuzz_gguf
tests_fuzz_fuzz_gguf_LDFLAGS = $(FUZZ_LINK)
FUZZ_TARGETS += tests/fuzz/fuzz_jinja
tests_fuzz_fuzz_jinja_LDFLAGS = $(FUZZ_LINK)
FUZZ_TARGETS += tests/fuzz/fuzz_journal
tests_fuzz_fuzz_journal_LDFLAGS = $(FUZZ_LINK)
FUZZ_TARGETS += tests/fuzz/fuzz_jsonl
tests_fuzz_fuzz_jsonl_LDFLAGS = $(FUZZ_LINK)
FUZZ_TARGETS += tests/fuzz/fuzz_prompts
tests_fuzz_fuzz_prompts_LDFLAGS = $(FUZZ_LINK)
FUZZ_TARGETS += tests/fuzz/fuzz_results
tests_fuzz_fuzz_results_LDFLAGS = $(FUZZ_LINK)
FUZZ_TARGETS += tests/fuzz/fuzz_safetensors
tests_fuzz_fuzz_safetensors_LDFLAGS = $(FUZZ_LINK)
FUZZ_TARGETS += tests/fuzz/fuzz_option
tests_fuzz_fuzz_option_LDFLAGS = $(FUZZ_LINK)
FUZZ_TARGETS += tests/fuzz/fuzz_tokenizer_json
tests_fuzz_fuzz_tokenizer_json_LDFLAGS = $(FUZZ_LINK)
FUZZ_TARGETS += tests/fuzz/fuzz_tokenizer_model
tests_fuzz_fuzz_tokenizer_model_LDFLAGS = $(FUZZ_LINK)

# Tests that are scripts. The launch tests run the real thing under srun and mpirun
# (tests/launch/lib.sh), the golden ones a model against an independent implementation (SmolLM2 where
# ANTIPHON_MODEL names it), tests/cli the commands around a job.
SCRIPT_TESTS =
SCRIPT_TESTS += tests/gates/lint.sh tests/gates/objects.sh tests/gates/packaging.sh \
	tests/gates/source.sh
SCRIPT_TESTS += tests/fuzz/replay.sh
SCRIPT_TESTS += tests/golden/smollm2.sh tests/golden/tiny.sh
SCRIPT_TESTS += tests/launch/balance.sh tests/launch/bench.sh tests/launch/doctor.sh \
	tests/launch/embed.sh tests/launch/experts.sh tests/launch/faults.sh tests/launch/group.sh \
	tests/launch/kills.sh tests/launch/parallel.sh tests/launch/restart.sh tests/launch/results.sh \
	tests/launch/run.sh tests/launch/samples.sh tests/launch/sbatch.sh tests/launch/shards.sh \
	tests/launch/templates.sh tests/launch/top.sh tests/launch/tutorial.sh
SCRIPT_TESTS += tests/cli/batch.sh tests/cli/bench.sh tests/cli/chat.sh tests/cli/constrain.sh \
	tests/cli/exchange.sh tests/cli/install.sh tests/cli/over.sh tests/cli/plan.sh \
	tests/cli/report.sh tests/cli/rules.sh tests/cli/score.sh tests/cli/verify.sh tests/cli/words.sh
SCRIPT_TESTS += tests/interop/h5py.sh
TESTS += $(SCRIPT_TESTS)
EXTRA_DIST += $(SCRIPT_TESTS)

# What they share and compare with, and the scripts that made expected answers once.
EXTRA_DIST += tests/first-run tests/run tests/tap.sh
EXTRA_DIST += tests/unit/run.sh tests/unit/without-cmocka.sh
EXTRA_DIST += tests/fuzz/corpus
EXTRA_DIST += tests/golden/chat tests/golden/quants tests/golden/rope tests/golden/text \
	tests/golden/tiny tests/golden/logprobs.jsonl tests/golden/smollm2.json \
	tests/golden/smollm2_prompts.jsonl tests/golden/make_gguf.py tests/golden/make_logprobs.py \
	tests/golden/make_smollm2.py tests/golden/make_tiny.py
EXTRA_DIST += tests/launch/bad_node.c tests/launch/fail_write.c tests/launch/nfs_unlink.c \
	tests/launch/jobs.sh tests/launch/lib.sh
EXTRA_DIST += tests/cli/bench_check.py tests/cli/report_check.py tests/cli/score_check.py
EXTRA_DIST += tests/interop/h5py_files.py

# Programs that they run.
check_PROGRAMS += tests/golden/answers
tests_golden_answers_SOURCES = tests/golden/answers.c tests/golden/expected.c \
	tests/golden/expected.h
check_PROGRAMS += tests/launch/group_probe
tests_launch_group_probe_LDADD = $(ANT_LDADD)
check_PROGRAMS += tests/launch/results_probe
tests_launch_results_probe_LDADD = $(ANT_LDADD)

# Writes that fail and files that NFS keeps, for tests/launch/faults.sh, and nodes that are not as
# they should be, for doctor.sh.
check_DATA = tests/launch/fail_write.so tests/launch/nfs_unlink.so tests/launch/bad_node.so
CLEANFILES += $(check_DATA)
tests/launch/fail_write.so: tests/launch/fail_write.c
tests/launch/nfs_unlink.so: tests/launch/nfs_unlink.c
tests/launch/bad_node.so: tests/launch/bad_node.c
$(check_DATA):
	$(AM_V_CCLD)$(MKDIR_P) $(@D) && $(CC) $(ANT_WARNINGS) -O2 -shared -fPIC -o $@ \
		$(srcdir)/$(@:.so=.c) -ldl

# The long campaign; FAULT_TRIALS says how many kills.
FAULT_TRIALS = 200
CHECK_FAULTS = tests/launch/restart.sh tests/launch/templates.sh tests/launch/faults.sh \
	tests/launch/kills.sh
check-faults: $(check_DATA) src/antiphon$(EXEEXT)
	@for script in $(CHECK_FAULTS); do echo "$$script:"; \
	  $(AM_TESTS_ENVIRONMENT) \
	  FAULT_TRIALS=$(FAULT_TRIALS) $(SHELL) $(srcdir)/$$script || exit 1; done
.PHONY: check-faults

# The installed program answers.
installcheck-local:
	$(SHELL) $(srcdir)/tests/first-run "$(DESTDIR)$(bindir)/antiphon$(EXEEXT)"

AM_CPPFLAGS += $(CMOCKA_CFLAGS)
LDADD += $(CMOCKA_LIBS)
if HAVE_CMOCKA
check_PROGRAMS += $(UNIT_TESTS)
TESTS += $(UNIT_TESTS)
else
TESTS += tests/unit/without-cmocka.sh
endif

# What many tests begin with, and tiny models.
noinst_HEADERS += tests/unit/fixture.h tests/unit/model_files.h
if HAVE_CMOCKA
check_LIBRARIES += libfixture.a
LDADD += libfixture.a $(ANT_LDADD)
endif
libfixture_a_SOURCES = tests/unit/fixture.c tests/unit/model_files.c

# Without libFuzzer a main of our own feeds the targets; an archive gives it to those alone that
# have none.
noinst_HEADERS += tests/fuzz/fuzz.h tests/fuzz/h5_any.h tests/fuzz/tokenizer.h
check_PROGRAMS += $(FUZZ_TARGETS)
if !FUZZING
check_LIBRARIES += libfuzzdriver.a
LDADD += libfuzzdriver.a $(ANT_LDADD)
endif
libfuzzdriver_a_SOURCES = tests/fuzz/driver.c

# `make check-fuzz FUZZ_SECONDS=600` in a build with --enable-fuzzing.
FUZZ_SECONDS = 60
check-fuzz: $(FUZZ_TARGETS)
	$(AM_TESTS_ENVIRONMENT) FUZZ_SECONDS=$(FUZZ_SECONDS) $(SHELL) $(srcdir)/tests/fuzz/replay.sh
.PHONY: check-fuzz
