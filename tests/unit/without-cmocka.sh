#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
set -u
. "$TOP_SRCDIR/tests/tap.sh"
skip cmocka "unit tests" "configure found no cmocka"
done_testing
