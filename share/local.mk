# SPDX-License-Identifier: Apache-2.0
# What is installed beside the program: documentation, completion, modulefile, job templates.

examplesdir = $(pkgdatadir)/examples
dist_examples_DATA = share/examples/prompts.jsonl

templatesdir = $(pkgdatadir)/job-templates
dist_templates_DATA = job-templates/cpu.sbatch

dist_noinst_SCRIPTS += share/quickstart share/install-packages share/get-smollm2 \
	share/private-slurm
EXTRA_DIST += share/packages.debian
