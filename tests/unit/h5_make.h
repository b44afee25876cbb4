/* SPDX-License-Identifier: Apache-2.0 */
/* HDF5 files for tests: datasets, columns and attributes in one call each. Any failure fails the
 * test. */
#ifndef TESTS_UNIT_H5_MAKE_H
#define TESTS_UNIT_H5_MAKE_H

#include <hdf5.h>
#include <stdint.h>
#include <string.h>

static hid_t h5_space(hsize_t n)
{
    hid_t space = H5Screate_simple(1, &n, NULL);

    assert_true(space >= 0);
    return space;
}

/* `chunk` 0: contiguous. */
static void h5_put_chunked(hid_t where, const char *name, hid_t file_type, hid_t memory_type,
                           hsize_t n, hsize_t chunk, const void *data)
{
    hid_t space = h5_space(n), creation = H5Pcreate(H5P_DATASET_CREATE);

    if (chunk) {
        H5Pset_chunk(creation, 1, &chunk);
        H5Pset_deflate(creation, 1);
    }
    hid_t dataset = H5Dcreate2(where, name, file_type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    assert_true(dataset >= 0);
    if (n)
        assert_true(H5Dwrite(dataset, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    H5Dclose(dataset);
    H5Pclose(creation);
    H5Sclose(space);
}

static inline void h5_put(hid_t where, const char *name, hid_t file_type, hid_t memory_type,
                          hsize_t n, const void *data)
{
    h5_put_chunked(where, name, file_type, memory_type, n, 0, data);
}

/* Strings of variable length (size 0) or fixed. */
static inline hid_t h5_string_type(size_t size, H5T_str_t pad, H5T_cset_t set)
{
    hid_t type = H5Tcopy(H5T_C_S1);

    H5Tset_size(type, size ? size : H5T_VARIABLE);
    H5Tset_strpad(type, pad);
    H5Tset_cset(type, set);
    return type;
}

static inline void h5_put_strings(hid_t where, const char *name, hsize_t n,
                                  const char *const *strings)
{
    hid_t type = h5_string_type(0, H5T_STR_NULLTERM, H5T_CSET_UTF8);

    h5_put(where, name, type, type, n, strings);
    H5Tclose(type);
}

static inline void h5_put_attribute(hid_t object, const char *name, hid_t type, const void *value)
{
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);

    assert_true(H5Awrite(attribute, type, value) >= 0);
    H5Aclose(attribute);
    H5Sclose(space);
}

static inline void h5_put_text_attribute(hid_t object, const char *name, const char *value)
{
    hid_t type = h5_string_type(strlen(value) + 1, H5T_STR_NULLTERM, H5T_CSET_ASCII);

    h5_put_attribute(object, name, type, value);
    H5Tclose(type);
}

#endif
