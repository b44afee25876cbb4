/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <stdio.h>

#include "base/version.h"

int main(void)
{
    printf("antiphon %s (%s)\n", ant_version, ant_version_commit);
    return 0;
}
