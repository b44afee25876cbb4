#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# An installation as a user meets it: it works after its prefix has moved, every command has its
# page, the completion completes, and both kinds of modulefile load and unload without a trace.
set -u
: "${TOP_SRCDIR:=$(cd "$(dirname "$0")/../.." && pwd)}"
: "${TOP_BUILDDIR:=$PWD}"
# shellcheck source=tests/tap.sh
. "$TOP_SRCDIR/tests/tap.sh"

tmp=$(mktemp -d "${TMPDIR:-/tmp}/antiphon-install.XXXXXX") || exit 1
trap 'chmod -R u+w "$tmp"; rm -rf "$tmp"' EXIT
unset PMIX_NAMESPACE SLURM_JOB_ID MAKEFLAGS MFLAGS MAKELEVEL

if ! log=$(make -C "$TOP_BUILDDIR" -s install DESTDIR="$tmp/stage" 2>&1); then
    not_ok "make install" "$log"
    done_testing
    exit
fi
ok "make install"
# Moved: nothing of the prefix that configure was told is left in the way.
built=$(cd "$tmp/stage" && find . -path '*/bin/antiphon' -type f)
mv "$tmp/stage/${built%/bin/antiphon}" "$tmp/moved"
prefix=$tmp/moved
find "$prefix" -type f -exec sh -c 'cksum "$@" | sort' - {} + >"$tmp/before"
chmod -R a-w "$prefix"

commands=$("$prefix/bin/antiphon" --help | sed -n 's/^  \([a-z]*\) .*/\1/p')
if [ -n "$commands" ]; then ok "the moved program runs"; else not_ok "the moved program runs"; fi

# ---- the library ----
if ! command -v pkg-config >/dev/null; then
    skip pkg-config "a program links with the moved library" "no pkg-config"
else
    pc=$(find "$prefix" -name antiphon.pc)
    # shellcheck disable=SC2046
    if log=$($ANT_CC -o "$tmp/embed" "$prefix/share/antiphon/examples/embed.c" \
        $(PKG_CONFIG_PATH=${pc%/*} pkg-config --cflags --libs antiphon) 2>&1); then
        ok "a program links with the moved library"
    else
        not_ok "a program links with the moved library" "$log"
    fi
fi

# ---- manual ----
missing=
for name in $commands; do
    [ -s "$prefix/share/man/man1/antiphon-$name.1" ] || missing="$missing $name"
done
empty "every command has a page" "$missing"
if command -v groff >/dev/null; then
    complaints=$(for page in "$prefix"/share/man/man*/antiphon*; do
        groff -man -Tutf8 -ww "$page" 2>&1 >/dev/null
    done)
    empty "groff has nothing to say against the pages" "$complaints"
else
    skip groff "groff has nothing to say against the pages" "no groff"
fi

# ---- completion ----
# complete WORDS...: what bash offers for the last word.
complete_words() {
    bash -c '. "$1"; shift; COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _antiphon; echo "${COMPREPLY[*]}"' \
        - "$prefix/share/bash-completion/completions/antiphon" "$@"
}
# offers WHAT EXPECTED WORDS...
offers() {
    what=$1 expected=$2
    shift 2
    offered=$(complete_words "$@" 2>&1)
    if [ "$offered" = "$expected" ]; then ok "$what"; else not_ok "$what" "$offered"; fi
}
if command -v bash >/dev/null; then
    offers "a command" "merge" antiphon me
    offers "an option" "--max-tokens" antiphon run --max-t
    offers "a choice" "bf16" antiphon run --kv-type b
    offers "a choice after an equals sign" "cpu cuda" antiphon run --backend = c
else
    skip bash completion "no bash"
fi

# ---- modules ----
modules=$prefix/share/antiphon/modulefiles
# What a shell's environment is like, without what changes by itself.
environment='env | grep -v -e "^_=" -e "^SHLVL=" -e "^__" -e "^BASH_FUNC" | sort'
# module_test TOOL COMMAND: COMMAND prints shell code for the words of `module` that follow it.
module_test() {
    tool=$1 script="module() { eval \"\$($2 \"\$@\" 2>/dev/null)\"; }
        module use '$modules'
        $environment >'$tmp/start'
        module load antiphon
        command -v antiphon
        echo \"\$MANPATH\"
        $environment | grep ^LD_LIBRARY_PATH
        complete -p antiphon
        COMP_WORDS=(antiphon me) COMP_CWORD=1 && _antiphon && echo \"completed: \${COMPREPLY[*]}\"
        module unload antiphon
        complete -p antiphon 2>/dev/null
        declare -F _antiphon
        $environment >'$tmp/end'"
    out=$(env -u LD_LIBRARY_PATH -u MANPATH -u MODULEPATH -u LOADEDMODULES PATH=/usr/bin:/bin bash -c "$script" 2>&1)
    case $out in
    "$prefix/bin/antiphon
$prefix/share/man:"*) ok "$tool finds program and pages" ;;
    *) not_ok "$tool finds program and pages" "$out" ;;
    esac
    case $out in
    *LD_LIBRARY_PATH*) not_ok "$tool leaves LD_LIBRARY_PATH alone" "$out" ;;
    *) ok "$tool leaves LD_LIBRARY_PATH alone" ;;
    esac
    case $out in
    *"complete -o default -F _antiphon antiphon
completed: merge") ok "$tool brings the completion, and takes it away" ;;
    *) not_ok "$tool brings the completion, and takes it away" "$out" ;;
    esac
    # Lmod keeps a table of its own and an empty list of modules.
    empty "$tool unloads without a trace" "$(
        sed -i -e '/^_ModuleTable/d' -e '/^LOADEDMODULES=$/d' -e '/^_LMFILES_=$/d' "$tmp/start" "$tmp/end"
        diff "$tmp/start" "$tmp/end")"
}
tcl=
for file in /usr/lib/*/modulecmd.tcl /usr/lib/modulecmd.tcl /usr/share/Modules/libexec/modulecmd.tcl \
    "${MODULESHOME:-/nonexistent}/libexec/modulecmd.tcl"; do
    [ -x "$file" ] && tcl=$file
done
if [ -n "$tcl" ]; then
    module_test "Environment Modules" "$tcl bash"
else
    skip modules "Environment Modules" "not installed"
fi
: "${LMOD_CMD:=/usr/share/lmod/lmod/libexec/lmod}"
if [ -e "$LMOD_CMD" ]; then
    export LMOD_CMD
    module_test Lmod "$LMOD_CMD bash"
else
    skip lmod Lmod "not installed (LMOD_CMD names it elsewhere)"
fi

# ---- nothing is written under the prefix ----
find "$prefix" -type f -exec sh -c 'cksum "$@" | sort' - {} + >"$tmp/after"
empty "nothing was written under the prefix" "$(diff "$tmp/before" "$tmp/after")"

done_testing
