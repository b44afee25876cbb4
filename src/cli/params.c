/* SPDX-License-Identifier: Apache-2.0 */
/* antiphon params: what a model file holds. */
#include "config.h"

#include "cli/cli.h"

#include "base/mem.h"
#include "base/option.h"
#include "model/checkpoint.h"

#include <jansson.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct params_settings {
    const char *model;
    bool json;
};

static const struct ant_option options[] = {
    {ANT_OPTION_TEXT, 'm', "model", "PATH", offsetof(struct params_settings, model),
     .required = true,
     .help = "GGUF file, or Hugging Face folder with config.json and *.safetensors."},
    {ANT_OPTION_FLAG, 0, "json", NULL, offsetof(struct params_settings, json),
     .help = "Print one JSON object instead of a table."},
    {0},
};

static const struct ant_command_help help = {
    .name = "params",
    .summary = "list the parameters of a model",
    .synopsis = "--model PATH [--json]",
    .purpose = "List every parameter of a model: name, type, shape and bytes in the file.",
};

static void add_shape(struct ant_buf *buf, const struct ant_tensor *tensor)
{
    ant_buf_printf(buf, "(");
    for (int i = 0; i < tensor->n_dims; i++)
        ant_buf_printf(buf, i ? ", %" PRId64 : "%" PRId64, tensor->shape[i]);
    ant_buf_printf(buf, ")");
}

static void print_table(const struct ant_checkpoint *checkpoint)
{
    const struct ant_arch *arch = ant_checkpoint_arch(checkpoint);
    size_t count = ant_checkpoint_count(checkpoint), bytes = 0;
    struct ant_buf shape = {0};
    int64_t total = 0;
    int width = 0;
    for (size_t i = 0; i < count; i++) {
        int length = (int)strlen(ant_checkpoint_tensor(checkpoint, i)->name);
        width = length > width ? length : width;
    }
    for (size_t i = 0; i < count; i++) {
        const struct ant_tensor *tensor = ant_checkpoint_tensor(checkpoint, i);
        shape.len = 0;
        add_shape(&shape, tensor);
        printf("%-*s  %-4s  %-16.*s  %12zu\n", width, tensor->name, ant_types[tensor->type].name,
               (int)shape.len, shape.data, tensor->bytes);
        total += ant_tensor_elements(tensor);
        bytes += tensor->bytes;
    }
    ant_buf_release(&shape);
    printf("total: %zu tensors, %" PRId64 " parameters, %zu bytes (%s, %s, %d layers)\n", count,
           total, bytes, ant_checkpoint_format(checkpoint), arch->family, arch->n_layers);
}

static void print_json(const struct ant_checkpoint *checkpoint)
{
    size_t count = ant_checkpoint_count(checkpoint), bytes = 0;
    json_t *list = json_array();
    int64_t total = 0;
    for (size_t i = 0; i < count; i++) {
        const struct ant_tensor *tensor = ant_checkpoint_tensor(checkpoint, i);
        json_t *shape = json_array();
        for (int j = 0; j < tensor->n_dims; j++)
            json_array_append_new(shape, json_integer(tensor->shape[j]));
        json_array_append_new(list, json_pack("{s:s, s:s, s:o, s:I}", "name", tensor->name, "type",
                                              ant_types[tensor->type].name, "shape", shape, "bytes",
                                              (json_int_t)tensor->bytes));
        total += ant_tensor_elements(tensor);
        bytes += tensor->bytes;
    }
    json_t *root =
        json_pack("{s:s, s:s, s:o, s:I, s:I}", "format", ant_checkpoint_format(checkpoint),
                  "family", ant_checkpoint_arch(checkpoint)->family, "tensors", list,
                  "total_parameters", (json_int_t)total, "total_bytes", (json_int_t)bytes);
    json_dumpf(root, stdout, JSON_INDENT(1));
    printf("\n");
    json_decref(root);
}

static int params(void *data, char **operands, int n, struct ant_error *err)
{
    const struct params_settings *settings = data;
    struct ant_checkpoint *checkpoint;

    (void)operands, (void)n;
    ANT_TRY(ant_checkpoint_open(&checkpoint, settings->model, err));
    if (settings->json)
        print_json(checkpoint);
    else
        print_table(checkpoint);
    ant_checkpoint_close(checkpoint);
    return 0;
}

static int params_main(int argc, char **argv)
{
    struct params_settings settings = {0};

    return ant_cli_main(&ant_command_params, &settings, params, argc, argv);
}

const struct ant_command ant_command_params = {params_main, options, &help, {0, 0, NULL}};
