# SPDX-License-Identifier: Apache-2.0
# What is installed beside the program: manual, completion, modulefiles, job templates.

dist_doc_DATA += share/doc/tutorial

examplesdir = $(pkgdatadir)/examples
dist_examples_DATA = share/examples/embed.c share/examples/partition_cost.c share/examples/prompts.jsonl \
	share/examples/harness.py

templatesdir = $(pkgdatadir)/job-templates
dist_templates_DATA = job-templates/array.sbatch job-templates/chain.sbatch job-templates/cpu.sbatch \
	job-templates/experts.sbatch job-templates/gpu.sbatch job-templates/multi-node.sbatch \
	job-templates/requeue.sbatch job-templates/resilient.sbatch job-templates/tensor.sbatch

dist_noinst_SCRIPTS += share/quickstart share/install-packages share/get-smollm2 \
	share/private-slurm
dist_noinst_SCRIPTS += share/benchmarks/scaling share/benchmarks/side-by-side
EXTRA_DIST += share/packages.debian share/benchmarks/peer.py

# The pages of the commands and the completion are written by the program itself, out of the tables
# that parse the command line; a cross compiler's program cannot be asked.
dist_man1_MANS = share/man/antiphon.1
dist_man5_MANS = share/man/antiphon-hdf5.5
dist_man7_MANS = share/man/antiphon-slurm.7
completiondir = $(datadir)/bash-completion/completions
if !CROSS_COMPILING
COMMAND_PAGES = \
	share/man/antiphon-bench.1 \
	share/man/antiphon-doctor.1 \
	share/man/antiphon-export.1 \
	share/man/antiphon-halt.1 \
	share/man/antiphon-manual.1 \
	share/man/antiphon-merge.1 \
	share/man/antiphon-pack.1 \
	share/man/antiphon-params.1 \
	share/man/antiphon-plan.1 \
	share/man/antiphon-report.1 \
	share/man/antiphon-score.1 \
	share/man/antiphon-run.1 \
	share/man/antiphon-show.1 \
	share/man/antiphon-template.1 \
	share/man/antiphon-top.1 \
	share/man/antiphon-verify.1
man1_MANS = $(COMMAND_PAGES)
completion_DATA = share/completion/antiphon
CLEANFILES += $(COMMAND_PAGES) share/completion/antiphon

$(COMMAND_PAGES): src/antiphon$(EXEEXT)
	@$(MKDIR_P) $(@D)
	$(AM_V_GEN)name=`basename $@ .1`; \
	src/antiphon$(EXEEXT) manual $${name#antiphon-} >$@.new && mv -f $@.new $@

share/completion/antiphon: src/antiphon$(EXEEXT)
	@$(MKDIR_P) $(@D)
	$(AM_V_GEN)src/antiphon$(EXEEXT) manual --completion >$@.new && mv -f $@.new $@
endif

# For programs that link with libantiphon.a.
pkgconfigdir = $(libdir)/pkgconfig
pkgconfig_DATA = share/antiphon.pc
EXTRA_DIST += share/antiphon.pc.in
CLEANFILES += $(pkgconfig_DATA)
share/antiphon.pc: $(srcdir)/share/antiphon.pc.in Makefile
	@$(MKDIR_P) $(@D)
	$(AM_V_GEN)$(SED) -e 's|@VERSION[@]|$(VERSION)|' \
	  -e "s|@to_include[@]|`realpath -m --relative-to='$(pkgconfigdir)' '$(includedir)'`|" \
	  -e "s|@archives[@]|`echo $(lib_LIBRARIES) | $(SED) 's/lib\(antiphon[a-z0-9_]*\)\.a/-l\1/g'`|" \
	  -e 's|@libs[@]|$(ANT_LIBS)|' $(srcdir)/share/antiphon.pc.in >$@.new && mv -f $@.new $@

# `module use PREFIX/share/antiphon/modulefiles`: Lmod takes the .lua file, Environment Modules the
# other. They hold paths relative to their own.
moduledir = $(pkgdatadir)/modulefiles/antiphon
module_DATA = share/modulefiles/$(VERSION) share/modulefiles/$(VERSION).lua
EXTRA_DIST += share/modulefiles/antiphon.tcl.in share/modulefiles/antiphon.lua.in
CLEANFILES += $(module_DATA)
MODULE_EDIT = $(SED) -e 's|@VERSION[@]|$(VERSION)|' \
	-e "s|@to_prefix[@]|`realpath -m --relative-to='$(moduledir)' '$(prefix)'`|" \
	-e "s|@to_bin[@]|`realpath -m --relative-to='$(prefix)' '$(bindir)'`|" \
	-e "s|@to_man[@]|`realpath -m --relative-to='$(prefix)' '$(mandir)'`|" \
	-e "s|@to_completion[@]|`realpath -m --relative-to='$(prefix)' '$(completiondir)'`|"

share/modulefiles/$(VERSION): $(srcdir)/share/modulefiles/antiphon.tcl.in Makefile
	@$(MKDIR_P) $(@D)
	$(AM_V_GEN)$(MODULE_EDIT) $(srcdir)/share/modulefiles/antiphon.tcl.in >$@

share/modulefiles/$(VERSION).lua: $(srcdir)/share/modulefiles/antiphon.lua.in Makefile
	@$(MKDIR_P) $(@D)
	$(AM_V_GEN)$(MODULE_EDIT) $(srcdir)/share/modulefiles/antiphon.lua.in >$@
