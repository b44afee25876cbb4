#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The recipes of packages: each is at least read by something that knows its language, and says the
# version that configure says.
set -u
: "${TOP_SRCDIR:=$(cd "$(dirname "$0")/../.." && pwd)}"
. "$TOP_SRCDIR/tests/tap.sh"

folder=$TOP_SRCDIR/share/packaging
version=$(sed -n 's/^AC_INIT(\[antiphon\], *\[\([^]]*\)\].*/\1/p' "$TOP_SRCDIR/configure.ac")
for file in spack/package.py easybuild/Antiphon-"$version"-foss-2023b.eb reframe/antiphon_check.py; do
    if ! command -v python3 >/dev/null; then
        skip python3 "$file is Python" "no python3"
    elif why=$(python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read())' "$folder/$file" 2>&1); then
        ok "$file is Python"
    else
        not_ok "$file is Python" "$why"
    fi
done
missing=$(for file in spack/package.py easybuild/Antiphon-"$version"-foss-2023b.eb \
    apptainer/antiphon.def debian/changelog; do
    grep -q "$version" "$folder/$file" || echo "$file"
done)
empty "recipes say version $version" "$missing"
# What configure is told there, it knows.
unknown=$(grep -ohE -e '--with(out)?-[a-z0-9]+' "$folder"/*/* | sed 's/--with\(out\)*-//' | sort -u |
    while read -r name; do
        grep -qE "(ANT_WITH|ANT_LIBRARY|AC_ARG_WITH)\(\[$name\]" "$TOP_SRCDIR"/m4/*.m4 || echo "$name"
    done)
empty "options of configure in recipes exist" "$unknown"
if command -v dpkg-parsechangelog >/dev/null; then
    read_version=$(dpkg-parsechangelog -l "$folder/debian/changelog" -S Version)
    if [ "$read_version" = "$version-1" ]; then
        ok "Debian's changelog"
    else
        not_ok "Debian's changelog" "$read_version"
    fi
else
    skip dpkg-dev "Debian's changelog" "no dpkg-parsechangelog"
fi
done_testing
