/* SPDX-License-Identifier: Apache-2.0 */
/* The job templates of the folder job-templates, as they were when the program was built: the build
 * makes template_texts.c of them, so that the program needs no file to find. */
#ifndef ANT_CLI_TEMPLATE_H
#define ANT_CLI_TEMPLATE_H

struct ant_template {
    const char *name, *text; /* "cpu"; the whole of cpu.sbatch */
};
extern const struct ant_template ant_templates[]; /* by name, ended by NULLs */

#endif
