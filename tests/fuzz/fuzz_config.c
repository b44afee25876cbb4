/* SPDX-License-Identifier: Apache-2.0 */
/* config.json: what is accepted must be a model that the rest can work with. */
#include "config.h"

#include <stdlib.h>

#include "fuzz.h"
#include "model/family.h"

static void use(const struct ant_arch *arch)
{
    float table[4 * ANT_MAX_HEAD_DIM];
    if (arch->n_heads % arch->n_kv_heads != 0 || arch->rope.dim > arch->head_dim ||
        arch->window < 0 || ant_arch_parameters(arch) <= 0 || !(ant_arch_token_flops(arch) > 0))
        abort();
    ant_rope_table(&arch->rope, 4, table);
    ant_rope_table(&arch->local_rope, 4, table);
    for (int layer = 0; layer < arch->n_layers; layer++)
        if (ant_arch_window(arch, layer) < 0)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    json_t *root;
    struct ant_arch arch;
    struct ant_error err;
    if (ant_json_parse(&root, (const char *)data, bytes, "config", &err) < 0)
        return 0;
    if (ant_arch_read_config(&arch, (struct ant_json){root, "config"}, &err) == 0)
        use(&arch);
    json_decref(root);
    return 0;
}
