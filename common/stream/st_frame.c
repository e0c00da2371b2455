/* SPDX-License-Identifier: MIT
 * st_frame: little-endian integers, the digest frame and the seek table; see st_priv.h. */
#include "stream/st_priv.h"

#include <xxhash.h>

void st_put_u32(struct buf *b, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        buf_putc(b, (char)(v >> (8 * i)));
}

void st_put_u64(struct buf *b, uint64_t v)
{
    st_put_u32(b, (uint32_t)v);
    st_put_u32(b, (uint32_t)(v >> 32));
}

uint32_t st_get_u32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint64_t st_get_u64(const unsigned char *p)
{
    return st_get_u32(p) | (uint64_t)st_get_u32(p + 4) << 32;
}

void st_put_digest(struct buf *b, uint64_t digest)
{
    st_put_u32(b, ST_DIGEST_MAGIC);
    st_put_u32(b, ST_DIGEST_LEN - 8);
    buf_puts(b, ST_DIGEST_TAG);
    st_put_u64(b, digest);
}

static void put_entry(struct buf *b, struct st_entry x)
{
    st_put_u32(b, x.compressed);
    st_put_u32(b, x.decompressed);
    st_put_u32(b, x.checksum);
}

void st_put_seek_table(struct buf *b, const struct st_entry *entry, size_t n)
{
    enum { ENTRY_LEN = 12, FOOTER_LEN = 9, HAS_CHECKSUMS = 0x80 };
    st_put_u32(b, ST_SEEK_MAGIC);
    st_put_u32(b, (uint32_t)((n + 1) * ENTRY_LEN + FOOTER_LEN));
    for (size_t i = 0; i < n; i++)
        put_entry(b, entry[i]);
    put_entry(b, (struct st_entry){ST_DIGEST_LEN, 0, (uint32_t)XXH64("", 0, 0)});
    st_put_u32(b, (uint32_t)(n + 1));
    buf_putc(b, (char)HAS_CHECKSUMS);
    st_put_u32(b, ST_SEEKABLE_MAGIC);
}
