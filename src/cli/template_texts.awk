# SPDX-License-Identifier: Apache-2.0
# Job templates as strings of C: src/cli/template.h.
BEGIN {
    print "/* Made by template_texts.awk of the folder job-templates. */"
    print "#include \"config.h\"\n\n#include <stddef.h>\n\n#include \"cli/template.h\"\n"
    print "const struct ant_template ant_templates[] = {"
}
FNR == 1 {
    if (NR > 1)
        print "    },"
    name = FILENAME
    sub(/.*\//, "", name)
    sub(/\.sbatch$/, "", name)
    printf "    {\n        \"%s\",\n", name
}
{
    gsub(/\\/, "&&")
    gsub(/"/, "\\\"")
    printf "        \"%s\\n\"\n", $0
}
END { print "    },\n    {NULL, NULL},\n};" }
