# SPDX-License-Identifier: Apache-2.0
# TAP for test scripts: `. "$TOP_SRCDIR/tests/tap.sh"`, then any of these, then `done_testing`.
#   ok WHAT               passed
#   not_ok WHAT [WHY]     failed; WHY may have many lines
#   empty WHAT TEXT       passed when TEXT is empty, else failed with TEXT as the reason
#   skip NEED WHAT WHY    could not run for lack of NEED (slurm, cuda, ...): a failure when
#                         ANTIPHON_REQUIRE names NEED

tap_count=0
tap_failed=0

ok() {
    tap_count=$((tap_count + 1))
    echo "ok $tap_count - $1"
}

not_ok() {
    tap_count=$((tap_count + 1))
    tap_failed=$((tap_failed + 1))
    echo "not ok $tap_count - $1"
    [ -z "${2:-}" ] || printf '%s\n' "$2" | sed 's/^/# /'
}

empty() {
    if [ -z "$2" ]; then ok "$1"; else not_ok "$1" "$2"; fi
}

skip() {
    case " ${ANTIPHON_REQUIRE:-} " in
    *" $1 "*) not_ok "$2" "$1 is required here: $3" ;;
    *)
        tap_count=$((tap_count + 1))
        echo "ok $tap_count - $2 # SKIP $3"
        ;;
    esac
}

done_testing() {
    echo "1..$tap_count"
    [ "$tap_failed" -eq 0 ]
}
