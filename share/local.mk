# SPDX-License-Identifier: Apache-2.0
# What is installed beside the program: documentation, completion, modulefile, job templates.

examplesdir = $(pkgdatadir)/examples
dist_examples_DATA = share/examples/prompts.jsonl
