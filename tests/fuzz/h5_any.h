/* SPDX-License-Identifier: Apache-2.0 */
/* HDF5 files whose datasets and attributes are of any type, shape and size, as bytes say. HDF5's
 * own parser is not what is tried here, but what we make of what it finds. Included by one file a
 * program. */
#ifndef ANT_TESTS_FUZZ_H5_ANY_H
#define ANT_TESTS_FUZZ_H5_ANY_H

#include <hdf5.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/error.h"
#include "base/mem.h"

/* What the file is made of; zeros behind the end. */
struct bytes {
    const uint8_t *data;
    size_t n, at;
};

static unsigned next(struct bytes *in)
{
    return in->at < in->n ? in->data[in->at++] : 0;
}

static hid_t any_string(struct bytes *in)
{
    static const H5T_str_t pads[] = {H5T_STR_NULLTERM, H5T_STR_NULLPAD, H5T_STR_SPACEPAD};
    hid_t type = H5Tcopy(H5T_C_S1);
    unsigned size = next(in);

    H5Tset_size(type, size < 64    ? H5T_VARIABLE
                      : size < 240 ? size - 63
                                   : (size_t)1 << (size - 240 + 15)); /* up to 1 GB */
    H5Tset_strpad(type, pads[next(in) % 3]);
    return type;
}

static hid_t any_enum(void)
{
    hid_t type = H5Tenum_create(H5T_STD_U8LE);

    for (uint8_t i = 0; i < 6; i++)
        H5Tenum_insert(type, (const char[2]){(char)('a' + i), 0}, &i);
    return type;
}

static hid_t any_array(struct bytes *in)
{
    hsize_t dims[2] = {next(in) % 5 + 1, next(in) % 3 + 1};
    hid_t numbers[] = {H5T_STD_I32LE, H5T_IEEE_F32LE, H5T_STD_U8LE};

    return H5Tarray_create2(numbers[next(in) % 3], next(in) % 4 ? 1 : 2, dims);
}

static hid_t any_compound(void)
{
    hid_t type = H5Tcreate(H5T_COMPOUND, 8);

    H5Tinsert(type, "a", 0, H5T_STD_I32LE);
    H5Tinsert(type, "b", 4, H5T_IEEE_F32LE);
    return type;
}

/* Close with H5Tclose. */
static hid_t any_type(struct bytes *in)
{
    hid_t numbers[] = {H5T_STD_I8LE,   H5T_STD_U8BE,  H5T_STD_I16LE, H5T_STD_U16LE, H5T_STD_I32BE,
                       H5T_STD_U32LE,  H5T_STD_I64LE, H5T_STD_U64LE, H5T_STD_I64BE, H5T_IEEE_F32LE,
                       H5T_IEEE_F64BE, H5T_STD_B8LE,  H5T_UNIX_D32LE};
    unsigned kind = next(in) % 24;
    hid_t type = H5I_INVALID_HID;

    if (kind < sizeof(numbers) / sizeof(*numbers))
        return H5Tcopy(numbers[kind]);
    switch (kind) {
    case 13:
        return any_enum();
    case 14:
        return any_array(in);
    case 15:
        return any_compound();
    case 16:
        return H5Tvlen_create(H5T_STD_I32LE);
    case 17:
        type = H5Tcreate(H5T_OPAQUE, next(in) % 20 + 1);
        H5Tset_tag(type, "x");
        return type;
    case 18:
        type = H5Tcopy(H5T_STD_I64LE);
        H5Tset_size(type, next(in) % 20 + 1);
        return type;
    case 19:
        return H5Tcopy(H5T_STD_REF_OBJ);
    default:
        return any_string(in);
    }
}

/* Close with H5Sclose. *n: elements. */
static hid_t any_space(struct bytes *in, hsize_t usual, hsize_t *n)
{
    hsize_t dims[2] = {usual, 2};
    unsigned kind = next(in);

    *n = 0;
    if (kind == 1)
        return H5Screate(H5S_SCALAR);
    if (kind == 2)
        return H5Screate(H5S_NULL);
    if (kind == 3)
        return H5Screate_simple(2, dims, NULL);
    if (kind > 240)
        dims[0] = (hsize_t)1 << (kind - 240) * 4; /* up to 2^60 */
    else if (kind > 200)
        dims[0] = kind - 200;
    *n = dims[0];
    return H5Screate_simple(1, dims, NULL);
}

/* Values for `n` elements of a type: bytes as they come; texts where a pointer is wanted. */
static void write_values(hid_t dataset, hid_t type, hsize_t n, struct bytes *in)
{
    static const char *const texts[] = {"", "a", "[1]", "{\"5\":1}", "[\"x\"]", NULL};
    size_t width = H5Tis_variable_str(type) > 0 ? sizeof(char *) : H5Tget_size(type);
    H5T_class_t class = H5Tget_class(type);

    if (n == 0 || n > 64 || width > 4096 || class == H5T_VLEN || class == H5T_REFERENCE)
        return; /* it reads as zeros */
    char *values = ant_xcalloc(n, width);
    for (hsize_t i = 0; i < n; i++)
        if (H5Tis_variable_str(type) > 0)
            ((const char **)(void *)values)[i] = texts[next(in) % 6];
        else
            for (size_t k = 0; k < width; k++)
                values[i * width + k] = k < 2 || next(in) % 8 == 0 ? (char)next(in) : 0;
    H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
    free(values);
}

/* Takes `type` over. */
static void put_dataset(hid_t where, const char *name, hid_t type, hid_t space, hsize_t n,
                        struct bytes *in)
{
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    hsize_t chunk = next(in) % 8 + 1;

    if (n > 0 && next(in) % 8 == 1)
        H5Pset_chunk(creation, 1, &chunk);
    hid_t dataset = H5Dcreate2(where, name, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    if (dataset >= 0) {
        write_values(dataset, type, n, in);
        H5Dclose(dataset);
    }
    H5Pclose(creation);
    H5Tclose(type);
}

/* A dataset as it should be, of `n` elements of `proper`; now and then none, one of another kind,
 * or something else. */
static void put_any(hid_t where, const char *name, hid_t proper, hsize_t n, unsigned oddness,
                    struct bytes *in)
{
    unsigned kind = next(in);
    hsize_t got = n;
    bool is_proper = kind >= oddness;
    hid_t space = is_proper || kind % 3 ? H5Screate_simple(1, &n, NULL) : any_space(in, n, &got);

    if (is_proper || kind % 8 > 2)
        put_dataset(where, name, is_proper ? H5Tcopy(proper) : any_type(in), space, got, in);
    else if (kind % 8 == 2)
        H5Gclose(H5Gcreate2(where, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    else if (kind % 8 == 1)
        H5Lcreate_soft("/nowhere", where, name, H5P_DEFAULT, H5P_DEFAULT);
    H5Sclose(space);
}

/* Likewise an attribute; `text` NULL: the number. */
static void put_any_attribute(hid_t object, const char *name, const char *text, int64_t number,
                              unsigned oddness, struct bytes *in)
{
    unsigned kind = next(in);
    hsize_t n = 2;
    hid_t type, space = kind < oddness && kind % 8 == 0 ? H5Screate_simple(1, &n, NULL)
                                                        : H5Screate(H5S_SCALAR);
    char room[4096] = "";

    if (kind < oddness && kind % 4 == 1) {
        H5Sclose(space);
        return;
    }
    if (kind >= oddness && text) {
        type = H5Tcopy(H5T_C_S1);
        H5Tset_size(type, strlen(text) + 1);
        snprintf(room, sizeof(room), "%s", text);
    } else if (kind >= oddness) {
        type = H5Tcopy(H5T_NATIVE_INT64);
        memcpy(room, &number, sizeof(number));
    } else {
        type = any_type(in);
        for (size_t i = 0; i < 16; i++)
            room[i] = (char)next(in);
    }
    hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    H5T_class_t class = H5Tget_class(type);
    bool has_pointers = class == H5T_VLEN || class == H5T_REFERENCE || H5Tis_variable_str(type) > 0;
    if (attribute >= 0 && !has_pointers && H5Tget_size(type) * n <= sizeof(room))
        H5Awrite(attribute, type, room);
    if (attribute >= 0)
        H5Aclose(attribute);
    H5Tclose(type);
    H5Sclose(space);
}

/* At most 8 integers of a range; offsets go up. */
static void put_numbers(hid_t group, const char *name, hid_t type, hsize_t n, unsigned most,
                        bool go_up, unsigned oddness, struct bytes *in)
{
    int64_t values[8], sum = 0;

    if (next(in) < oddness) {
        put_any(group, name, type, n, 255, in);
        return;
    }
    for (hsize_t i = 0; i < n; i++) {
        values[i] = next(in) % (most + 1);
        sum += go_up && i > 0 ? values[i] : 0;
        values[i] = go_up ? sum : values[i];
    }
    hid_t space = H5Screate_simple(1, &n, NULL);
    hid_t dataset = H5Dcreate2(group, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Dwrite(dataset, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
    if (next(in) % 8 == 1)
        put_any_attribute(dataset, "crc32c", NULL, next(in), oddness, in);
    if (next(in) % 8 == 1)
        put_any_attribute(dataset, "_FillValue", NULL, next(in), oddness, in);
    H5Dclose(dataset);
    H5Sclose(space);
}

static char fuzz_folder[] = "/tmp/antiphon-fuzz-h5-XXXXXX";

static void remove_folder(void)
{
    rmdir(fuzz_folder);
}

/* A file in a folder of its own, as small as it is wanted. Small files must not take much memory: 3
 * GB end the program, where no sanitizer needs more. */
static const char *fuzz_file(void)
{
    static char path[64];
#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
    const struct rlimit limit = {(rlim_t)3 << 30, (rlim_t)3 << 30};

    setrlimit(RLIMIT_AS, &limit);
#endif
    if (!*path) {
        H5Eset_auto2(H5E_DEFAULT, NULL, NULL); /* ours is set when the first file is opened */
        if (!mkdtemp(fuzz_folder))
            abort();
        atexit(remove_folder);
        snprintf(path, sizeof(path), "%s/f.h5", fuzz_folder);
    }
    return path;
}

/* What went wrong is told in one line, by one of the codes for what is wrong with a file. */
static void expect_error(int rc, const struct ant_error *err)
{
    if (rc >= 0)
        return;
    if (!*err->text || strchr(err->text, '\n') || rc == ANT_EBUG)
        abort();
}

#endif
