/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/checksum.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/mem.h"

/* ---- CRC32C ---------------------------------------------------------------------------------- */

static const uint32_t polynomial = 0x82F63B78; /* Castagnoli, lowest bit first */

typedef uint32_t crc_function(uint32_t crc, const unsigned char *data, size_t bytes);

/* table[k][b]: what byte b contributes when k more bytes follow it. */
static uint32_t table[8][256];
static crc_function *crc_best;
static pthread_once_t crc_once = PTHREAD_ONCE_INIT;

static uint32_t crc_portable(uint32_t crc, const unsigned char *data, size_t bytes)
{
    for (; bytes >= 8; data += 8, bytes -= 8) {
        uint64_t word;
        memcpy(&word, data, 8);
        word = le64toh(word) ^ crc;
        crc = 0;
        for (int i = 0; i < 8; i++)
            crc ^= table[7 - i][(word >> (8 * i)) & 255];
    }
    for (; bytes > 0; data++, bytes--)
        crc = (crc >> 8) ^ table[0][(crc ^ *data) & 255];
    return crc;
}

#if defined __x86_64__
#include <nmmintrin.h>

__attribute__((target("sse4.2"))) static uint32_t crc_sse42(uint32_t crc, const unsigned char *data,
                                                            size_t bytes)
{
    uint64_t wide = crc;
    for (; bytes >= 8; data += 8, bytes -= 8) {
        uint64_t word;
        memcpy(&word, data, 8);
        wide = _mm_crc32_u64(wide, word);
    }
    crc = (uint32_t)wide;
    for (; bytes > 0; data++, bytes--)
        crc = _mm_crc32_u8(crc, *data);
    return crc;
}
#endif

static void crc_start(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (crc & 1 ? polynomial : 0);
        table[0][byte] = crc;
    }
    for (int k = 1; k < 8; k++)
        for (int byte = 0; byte < 256; byte++)
            table[k][byte] = (table[k - 1][byte] >> 8) ^ table[0][table[k - 1][byte] & 255];

    crc_best = crc_portable;
#if defined __x86_64__
    if (__builtin_cpu_supports("sse4.2"))
        crc_best = crc_sse42;
#endif
}

uint32_t ant_crc32c(uint32_t crc, const void *data, size_t bytes)
{
    pthread_once(&crc_once, crc_start);
    return ~crc_best(~crc, data, bytes);
}

uint32_t ant_crc32c_portable(uint32_t crc, const void *data, size_t bytes)
{
    pthread_once(&crc_once, crc_start);
    return ~crc_portable(~crc, data, bytes);
}

/* The product of two polynomials modulo the checksum's; bit 31 is the constant term. */
static uint32_t multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0;

    for (uint32_t bit = 1U << 31; bit; bit >>= 1) {
        if (a & bit)
            product ^= b;
        b = (b >> 1) ^ (b & 1 ? polynomial : 0);
    }
    return product;
}

/* Behind the first piece come so many zero bits, which multiply it by a power of x. */
uint32_t ant_crc32c_combine(uint32_t first, uint32_t second, uint64_t second_bytes)
{
    uint32_t power = 1U << (31 - 8); /* x to the 8: one byte */

    for (; second_bytes; second_bytes >>= 1) {
        if (second_bytes & 1)
            first = multiply(first, power);
        power = multiply(power, power);
    }
    return first ^ second;
}

/* ---- digests --------------------------------------------------------------------------------- */

static struct ant_digest from_xxh(XXH128_hash_t hash)
{
    return (struct ant_digest){hash.high64, hash.low64};
}

struct ant_digest ant_digest(const void *data, size_t bytes)
{
    return from_xxh(XXH3_128bits(data, bytes));
}

static int digest_open_file(struct ant_digest *out, int fd, const char *path, struct ant_error *err)
{
    enum { CHUNK = 1 << 20 };
    int code = 0;
    unsigned char *chunk = ant_xmalloc(CHUNK);
    XXH3_state_t *state = XXH3_createState();
    if (!state || XXH3_128bits_reset(state) != XXH_OK) {
        code = ant_fail(err, ANT_ENOMEM, "no memory for the digest of '%s'", path);
        goto done;
    }
    for (;;) {
        ssize_t n = read(fd, chunk, CHUNK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            code = ant_fail(err, ANT_EIO, "cannot read '%s': %s", path, strerror(errno));
            goto done;
        }
        if (n == 0)
            break;
        XXH3_128bits_update(state, chunk, (size_t)n);
    }
    *out = from_xxh(XXH3_128bits_digest(state));
done:
    XXH3_freeState(state);
    free(chunk);
    return code;
}

int ant_digest_file(struct ant_digest *out, const char *path, struct ant_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ant_fail(err, errno == ENOENT ? ANT_ENOENT : ANT_EIO, "cannot open '%s': %s", path,
                        strerror(errno));
    int code = digest_open_file(out, fd, path, err);
    close(fd);
    return code;
}

void ant_digest_text(char text[ANT_DIGEST_TEXT], struct ant_digest digest)
{
    snprintf(text, ANT_DIGEST_TEXT, "%016" PRIx64 "%016" PRIx64, digest.high, digest.low);
}
