/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "store/results_logprobs.h"

#include <stdlib.h>

#include "base/mem.h"

enum { AHEAD = 16 << 10 }; /* tokens read at once */

static int open_rows(struct ant_h5_column *out, hid_t *rows, int *n_top, hid_t number, hid_t file,
                     const char *path, const char *prefix, const char *name, struct ant_error *err)
{
    char *full = ant_xasprintf("/results/%s%s", prefix, name);
    int rc = H5Lexists(file, full, H5P_DEFAULT) > 0
                 ? ant_h5_rows_open(out, rows, n_top, number, file, full, path, full, err)
                 : 0;

    free(full);
    return rc;
}

static int open_values(struct ant_results_logprobs *logprobs, hid_t file, const char *path,
                       const char *prefix, struct ant_error *err)
{
    char *full = ant_xasprintf("/results/%slogprobs", prefix);
    int rc = 0;

    if (H5Lexists(file, full, H5P_DEFAULT) > 0)
        rc = ant_h5_column_open(&logprobs->values, file, full, path, full, err);
    if (rc == 0 && ant_h5_column_is_open(&logprobs->values) && logprobs->values.kind != ANT_H5_REAL)
        rc = ant_fail(err, ANT_EDATA, "%s must hold reals", logprobs->values.label);
    free(full);
    return rc;
}

static int open_all(struct ant_results_logprobs *logprobs, hid_t file, const char *path,
                    const char *prefix, struct ant_error *err)
{
    struct ant_results_logprobs *l = logprobs;
    int n_top = 0;

    ANT_TRY(open_values(l, file, path, prefix, err));
    if (!ant_h5_column_is_open(&l->values))
        return 0;
    ANT_TRY(open_rows(&l->top_ids, &l->id_rows, &l->n_top, H5T_NATIVE_INT32, file, path, prefix,
                      "top_ids", err));
    ANT_TRY(open_rows(&l->top, &l->value_rows, &n_top, H5T_NATIVE_FLOAT, file, path, prefix,
                      "top_logprobs", err));
    if (n_top != l->n_top || (n_top > 0 && (l->top.n != l->values.n || l->top_ids.n != l->top.n)))
        return ant_fail(err, ANT_EDATA, "'%s': the top ids do not belong to %s", path,
                        l->values.label);
    return 1;
}

int ant_results_logprobs_open(struct ant_results_logprobs *out, hid_t file, const char *path,
                              const char *prefix, struct ant_error *err)
{
    struct ant_results_logprobs logprobs = {.id_rows = H5I_INVALID_HID,
                                            .value_rows = H5I_INVALID_HID};
    int rc = open_all(&logprobs, file, path, prefix, err);

    if (rc < 0)
        ant_results_logprobs_close(&logprobs);
    *out = logprobs;
    return rc;
}

void ant_results_logprobs_close(struct ant_results_logprobs *logprobs)
{
    if (ant_h5_column_is_open(&logprobs->values)) {
        ant_h5_close(logprobs->id_rows);
        ant_h5_close(logprobs->value_rows);
    }
    ant_h5_column_close(&logprobs->values);
    ant_h5_column_close(&logprobs->top_ids);
    ant_h5_column_close(&logprobs->top);
    ant_buf_release(&logprobs->held_values.data);
    ant_buf_release(&logprobs->held_ids.data);
    ant_buf_release(&logprobs->held_top.data);
}

int ant_results_logprobs_read(struct ant_results_logprobs *logprobs, int64_t first, int64_t n,
                              const struct ant_logprobs **out, struct ant_error *err)
{
    struct ant_results_logprobs *l = logprobs;
    const char *values = NULL, *ids = NULL, *top = NULL;
    size_t width = 4 * (size_t)l->n_top;

    *out = NULL;
    if (!ant_h5_column_is_open(&l->values))
        return 0;
    if (first > l->values.n || n > l->values.n - first)
        return ant_fail(err, ANT_EDATA, "%s has %lld elements, there are %lld tokens",
                        l->values.label, (long long)l->values.n, (long long)(first + n));
    ANT_TRY(ant_h5_hold(&l->held_values, &l->values, first, n, AHEAD, H5T_NATIVE_FLOAT, 4, &values,
                        err));
    if (l->n_top > 0) {
        ANT_TRY(
            ant_h5_hold(&l->held_ids, &l->top_ids, first, n, AHEAD, l->id_rows, width, &ids, err));
        ANT_TRY(
            ant_h5_hold(&l->held_top, &l->top, first, n, AHEAD, l->value_rows, width, &top, err));
    }
    l->view = (struct ant_logprobs){.values = (float *)(void *)values,
                                    .top_ids = (int32_t *)(void *)ids,
                                    .top = (float *)(void *)top,
                                    .n = (uint32_t)n,
                                    .n_top = l->n_top};
    *out = &l->view;
    return 0;
}
