#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# commit.sh SOURCE-FOLDER: print the git commit of these sources, "-dirty" behind it when files
# were changed since; a tarball's own commit when it has one; else "unknown".
set -u
srcdir=$1

# Only a repository of our own counts, not one that a tarball was unpacked inside of.
if [ -e "$srcdir/.git" ] &&
    commit=$(git -C "$srcdir" describe --always --abbrev=12 --exclude='*' --dirty 2>/dev/null); then
    echo "$commit"
elif [ -r "$srcdir/.tarball-commit" ]; then
    cat "$srcdir/.tarball-commit"
else
    echo unknown
fi
