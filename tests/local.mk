# SPDX-License-Identifier: Apache-2.0
# Every test speaks TAP. `make check` runs them all; a test that cannot run says why it skips.

LOG_DRIVER = env AM_TAP_AWK='$(AWK)' $(SHELL) $(top_srcdir)/m4/build-aux/tap-driver.sh
LOG_DRIVER_FLAGS = --comments
TEST_EXTENSIONS = .sh
SH_LOG_DRIVER = $(LOG_DRIVER)
SH_LOG_DRIVER_FLAGS = $(LOG_DRIVER_FLAGS)
AM_TESTS_ENVIRONMENT = \
	CMOCKA_MESSAGE_OUTPUT=TAP; export CMOCKA_MESSAGE_OUTPUT; \
	TOP_SRCDIR='$(abs_top_srcdir)'; export TOP_SRCDIR; \
	TOP_BUILDDIR='$(abs_top_builddir)'; export TOP_BUILDDIR;

# Unit tests: one file a module, tests/unit/test_<module>.c, is one line here.
UNIT_TESTS =

# Fuzz targets: tests/fuzz/fuzz_<what>.c with LLVMFuzzerTestOneInput, its corpus in
# tests/fuzz/corpus/<what>/. Two lines each: its name here, and its _LDFLAGS.
FUZZ_TARGETS =

AM_CPPFLAGS += $(CMOCKA_CFLAGS)
LDADD += $(CMOCKA_LIBS)
if HAVE_CMOCKA
check_PROGRAMS += $(UNIT_TESTS)
TESTS += $(UNIT_TESTS)
endif

# Expected answers of independent implementations; the scripts made them.
EXTRA_DIST += \
	tests/golden/make_smollm2.py tests/golden/smollm2.json tests/golden/smollm2_prompts.jsonl \
	tests/golden/make_tiny.py \
	tests/golden/tiny/llama/config.json tests/golden/tiny/llama/generation_config.json \
	tests/golden/tiny/llama/tokenizer.json tests/golden/tiny/llama/model.safetensors.index.json \
	tests/golden/tiny/llama/model-00001-of-00002.safetensors \
	tests/golden/tiny/llama/model-00002-of-00002.safetensors \
	tests/golden/tiny/llama/expected.json \
	tests/golden/tiny/mistral/config.json tests/golden/tiny/mistral/generation_config.json \
	tests/golden/tiny/mistral/tokenizer.json tests/golden/tiny/mistral/model.safetensors \
	tests/golden/tiny/mistral/expected.json \
	tests/golden/tiny/qwen2/config.json tests/golden/tiny/qwen2/generation_config.json \
	tests/golden/tiny/qwen2/tokenizer.json tests/golden/tiny/qwen2/model.safetensors \
	tests/golden/tiny/qwen2/expected.json
