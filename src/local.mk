# SPDX-License-Identifier: Apache-2.0
# libantiphon.a and the program, which is the library's commands: add a module's files in the block
# of its folder.

bin_PROGRAMS += src/antiphon
src_antiphon_SOURCES = src/main.c
src_antiphon_LDADD = $(ANT_LDADD)

# What programs of others may include.
include_HEADERS = src/antiphon.h

libantiphon_a_SOURCES =
libantiphon_a_LIBADD = $(CUDA_OBJECTS)

# api
noinst_HEADERS += src/api/api.h
libantiphon_a_SOURCES += src/api/api.c src/api/api_generate.c

# cli
noinst_HEADERS += \
	src/cli/bench.h src/cli/cli.h src/cli/history.h src/cli/run.h
noinst_HEADERS += src/cli/plan.h src/cli/plan_input.h src/cli/template.h
libantiphon_a_SOURCES += \
	src/cli/answer.c src/cli/bench.c src/cli/bench_report.c src/cli/bench_work.c src/cli/chat.c \
	src/cli/cli.c src/cli/constrain.c src/cli/deal.c src/cli/export.c src/cli/halt.c src/cli/history.c \
	src/cli/history_chart.c src/cli/history_command.c src/cli/history_export.c src/cli/history_page.c \
	src/cli/manual.c src/cli/merge.c src/cli/pack.c src/cli/params.c src/cli/provenance.c \
	src/cli/logprobs.c src/cli/pulse.c src/cli/record.c src/cli/report.c src/cli/rules.c src/cli/rules_row.c \
	src/cli/run.c src/cli/score.c src/cli/setup.c \
	src/cli/shard.c src/cli/show.c src/cli/top.c src/cli/trace.c src/cli/verify.c
noinst_HEADERS += src/cli/doctor.h
libantiphon_a_SOURCES += src/cli/doctor.c src/cli/doctor_files.c src/cli/doctor_gpu.c \
	src/cli/doctor_host.c src/cli/doctor_net.c
libantiphon_a_SOURCES += src/cli/plan.c src/cli/plan_cost.c src/cli/plan_input.c \
	src/cli/plan_machine.c src/cli/plan_run.c src/cli/template.c

# The job templates as C, so that the program needs no file to find.
nodist_libantiphon_a_SOURCES = src/cli/template_texts.c
CLEANFILES += src/cli/template_texts.c
src/cli/template_texts.c: $(dist_templates_DATA) $(srcdir)/src/cli/template_texts.awk
	@$(MKDIR_P) $(@D)
	$(AM_V_GEN)cd $(srcdir) && $(AWK) -f src/cli/template_texts.awk $(dist_templates_DATA) \
	  >$(abs_builddir)/$@.new && mv -f $(abs_builddir)/$@.new $(abs_builddir)/$@
EXTRA_DIST += src/cli/template_texts.awk

# base
noinst_HEADERS += \
	src/base/checksum.h src/base/clock.h src/base/deadline.h src/base/error.h src/base/failpoint.h \
	src/base/file.h src/base/log.h src/base/logprobs.h src/base/mem.h src/base/nap.h src/base/option.h src/base/ring.h src/base/version.h
libantiphon_a_SOURCES += \
	src/base/checksum.c src/base/clock.c src/base/deadline.c src/base/error.c src/base/failpoint.c \
	src/base/file.c src/base/log.c src/base/logprobs.c src/base/mem.c src/base/nap.c src/base/option.c src/base/option_help.c src/base/option_settings.c \
	src/base/ring.c src/base/version.c

# job
noinst_HEADERS += src/job/group.h src/job/launch.h src/job/layout.h src/job/shared.h src/job/work.h
libantiphon_a_SOURCES += src/job/shared.c src/job/work.c
noinst_HEADERS += src/job/stop.h src/job/time_limit.h
libantiphon_a_SOURCES += src/job/stop.c src/job/time_limit.c
noinst_HEADERS += src/job/counter.h src/job/deal.h src/job/plugin.h
libantiphon_a_SOURCES += src/job/counter.c src/job/deal.c src/job/plugin.c
noinst_HEADERS += src/job/calls.h src/job/card.h src/job/company.h src/job/device_group.h src/job/group_internal.h src/job/heart.h src/job/parallel.h src/job/transport.h src/job/watch.h
libantiphon_a_SOURCES += \
	src/job/calls.c src/job/card.c src/job/company.c src/job/device_group.c src/job/group.c src/job/launch.c src/job/layout.c \
	src/job/heart.c src/job/parallel.c src/job/watch.c
if HAVE_UCX
libantiphon_a_SOURCES += src/job/transport.c
else
libantiphon_a_SOURCES += src/job/transport_none.c
endif

# store
noinst_HEADERS += \
	src/store/exchange.h src/store/exchange_source.h \
	src/store/h5.h src/store/journal.h src/store/journal_folder.h src/store/journal_frame.h \
	src/store/prompts.h src/store/prompts_number.h src/store/prompts_text.h \
	src/store/results.h src/store/results_file.h src/store/results_layout.h src/store/results_logprobs.h src/store/timeline.h
libantiphon_a_SOURCES += \
	src/store/exchange.c src/store/exchange_batch.c src/store/exchange_csv.c \
	src/store/exchange_export.c \
	src/store/exchange_json.c src/store/exchange_pack.c src/store/exchange_shape.c \
	src/store/h5.c src/store/journal.c src/store/journal_folder.c src/store/journal_frame.c \
	src/store/journal_owner.c src/store/journal_read.c src/store/prompts.c src/store/prompts_number.c src/store/prompts_text.c \
	src/store/results.c src/store/results_file.c src/store/results_layout.c \
	src/store/results_check.c src/store/results_merge.c src/store/results_read.c \
	src/store/results_performance.c src/store/results_logprobs.c src/store/results_reopen.c src/store/results_slice.c \
	src/store/timeline.c

# text
noinst_HEADERS += src/text/added.h src/text/bpe.h src/text/charsmap.h src/text/chat.h src/text/cuts.h \
	src/text/automaton.h src/text/constraint.h \
	src/text/decode.h src/text/grammar.h src/text/grammar_json.h src/text/grammar_number.h \
	src/text/grammar_read.h src/text/grammar_tree.h src/text/jinja.h src/text/jinja_tree.h src/text/jinja_value.h \
	src/text/normal.h src/text/pattern.h src/text/pipeline_json.h src/text/pre.h \
	src/text/sentencepiece.h src/text/split.h src/text/token_tree.h src/text/tokenizer.h src/text/unicode.h \
	src/text/unigram.h src/text/vocab.h
libantiphon_a_SOURCES += src/text/added.c src/text/automaton.c src/text/bpe.c src/text/charsmap.c src/text/cuts.c \
	src/text/chat.c src/text/chat_find.c src/text/constraint.c src/text/decode.c \
	src/text/grammar.c src/text/grammar_compile.c src/text/grammar_json.c src/text/grammar_number.c \
	src/text/grammar_regex.c src/text/grammar_schema.c src/text/jinja.c src/text/jinja_eval.c src/text/jinja_filter.c \
	src/text/jinja_lex.c src/text/jinja_method.c src/text/jinja_operator.c \
	src/text/jinja_parse.c src/text/jinja_sort.c src/text/jinja_test.c src/text/jinja_text.c \
	src/text/jinja_value.c src/text/normal.c src/text/pattern.c src/text/pipeline_json.c \
	src/text/pre.c src/text/regex.c src/text/sentencepiece.c src/text/split.c \
	src/text/token_tree.c src/text/tokenizer.c src/text/tokenizer_config.c src/text/tokenizer_gguf.c \
	src/text/tokenizer_json.c src/text/tokenizer_model.c src/text/unicode.c \
	src/text/unigram.c src/text/vocab.c

# model
noinst_HEADERS += src/model/arch.h src/model/checkpoint.h src/model/model.h src/model/tensor.h \
	src/model/model_internal.h
noinst_HEADERS += src/model/plan.h src/model/replica.h src/model/shard.h
libantiphon_a_SOURCES += src/model/forward.c src/model/load.c src/model/plan.c src/model/replica.c \
	src/model/shard.c
noinst_HEADERS += src/model/dummy.h src/model/family.h src/model/gguf.h src/model/json.h \
	src/model/names.h src/model/role.h src/model/safetensors.h
libantiphon_a_SOURCES += src/model/arch.c src/model/arch_gguf.c src/model/checkpoint.c \
	src/model/config.c src/model/config_rope.c src/model/dummy.c src/model/family.c \
	src/model/gguf.c src/model/json.c src/model/names.c src/model/role.c \
	src/model/safetensors.c src/model/tensor.c

# engine
noinst_HEADERS += \
	src/engine/edits.h src/engine/engine.h src/engine/guide.h src/engine/lookup.h src/engine/outlook.h \
	src/engine/pages.h src/engine/queue.h src/engine/sampling.h src/engine/sched.h \
	src/engine/step.h src/engine/stop.h
libantiphon_a_SOURCES += \
	src/engine/edits.c src/engine/engine.c src/engine/guide.c src/engine/lookup.c src/engine/outlook.c \
	src/engine/pages.c src/engine/queue.c src/engine/request.c src/engine/sampling.c \
	src/engine/sched.c src/engine/step.c src/engine/stop.c

# backend
noinst_HEADERS += src/backend/backend.h src/backend/gpu.h src/backend/tally.h
libantiphon_a_SOURCES += src/backend/backend.c

# backend/cuda
noinst_HEADERS += src/backend/cuda/attn_plan.h src/backend/cuda/cuda.h src/backend/cuda/gemm_plan.h
if HAVE_CUDA
libantiphon_a_SOURCES += \
	src/backend/cuda/attn_plan.c src/backend/cuda/cuda.c src/backend/cuda/cuda_draws.c src/backend/cuda/cuda_look.c src/backend/cuda/cuda_meter.c src/backend/cuda/cuda_moe.c src/backend/cuda/cuda_ops.c \
	src/backend/cuda/cuda_parallel.c src/backend/cuda/cuda_peers.c src/backend/cuda/cuda_share.c src/backend/cuda/cuda_spread.c \
	src/backend/cuda/cuda_step.c src/backend/cuda/cuda_weight.c src/backend/cuda/gemm_plan.c
else
libantiphon_a_SOURCES += src/backend/gpu_none.c
endif

# backend/cpu
noinst_HEADERS += src/backend/cpu/cpu.h src/backend/cpu/cpu_level.h src/backend/cpu/team.h
libantiphon_a_SOURCES += \
	src/backend/cpu/cpu.c src/backend/cpu/cpu_attention.c src/backend/cpu/cpu_gemm.c \
	src/backend/cpu/cpu_level.c src/backend/cpu/cpu_memory.c src/backend/cpu/cpu_parallel.c src/backend/cpu/cpu_moe.c src/backend/cpu/cpu_spread.c \
	src/backend/cpu/cpu_norm.c src/backend/cpu/cpu_weight.c \
	src/backend/cpu/team.c

# The commit is looked up at every make, the header rewritten only when it has changed.
BUILT_SOURCES += src/base/commit.h
CLEANFILES += src/base/commit.h
src/base/commit.h: FORCE
	@$(MKDIR_P) $(@D)
	@echo "#define ANT_COMMIT \"`$(SHELL) $(srcdir)/m4/commit.sh $(srcdir)`\"" >$@.new
	@if cmp -s $@.new $@; then rm -f $@.new; else mv -f $@.new $@; fi
src/base/version.$(OBJEXT): src/base/commit.h
FORCE:
.PHONY: FORCE
