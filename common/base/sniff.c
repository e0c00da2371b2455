/* SPDX-License-Identifier: MIT
 * sniff: files known by their first bytes; see sniff.h. */
#include "base/sniff.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define BYTES(s) s, sizeof(s) - 1

static const struct {
    const char *magic;
    size_t len;
    const char *what;
} known[] = {
    {BYTES("version https://git-lfs.github.com/"),
     "a git-lfs pointer, not the file: git lfs pull"},
    {BYTES("GGUF"), "a GGUF file"},
    {BYTES("lmgg"), "a GGML file, from before GGUF"},
    {BYTES("fmgg"), "a GGML file, from before GGUF"},
    {BYTES("tjgg"), "a GGML file, from before GGUF"},
    {BYTES("\x1f\x8b\x08"), "a gzip file"},
    {BYTES("\x28\xb5\x2f\xfd"), "a zstd file"},
    {BYTES("\x50\x2a\x4d\x18"), "a zstd file"}, /* a skippable frame first */
    {BYTES("\xfd"
           "7zXZ"),
     "an xz file"},
    {BYTES("BZh"), "a bzip2 file"},
    {BYTES("PAR1"), "a Parquet file"},
    {BYTES("ARROW1"), "an Arrow file"},
    {BYTES("PK\x03\x04"), "a zip archive"}, /* torch.save's, too */
    {BYTES("\x80\x02\x8a\x0a"), "a pickle"},
    {BYTES("\x80\x04\x95"), "a pickle"},
    {BYTES("\x89HDF\r\n"), "an HDF5 file"},
    {BYTES("\x93NUMPY"), "a NumPy file"},
    {BYTES("\x89PNG"), "a PNG image"},
    {BYTES("%PDF"), "a PDF"},
    {BYTES("<?xml"), "an XML page"},
    {BYTES("SQLite format 3"), "an SQLite database"},
    {BYTES("Obj\x01"), "an Avro file"},
    {BYTES("\x04\x22\x4d\x18"), "an lz4 file"},
    {BYTES("\xff\xfe"), "text in UTF-16: iconv -f UTF-16 -t UTF-8"},
    {BYTES("\xfe\xff"), "text in UTF-16: iconv -f UTF-16 -t UTF-8"},
    /* What a server says in place of a file. */
    {BYTES("Entry not found"), "a server's answer that there is no such file"},
    {BYTES("404: Not Found"), "a server's answer that there is no such file"},
    {BYTES("Repository not found"), "a server's answer that there is no such repository"},
    {BYTES("Invalid username or password."), "a server's answer that a login is wanted"},
    {BYTES("Access to "), "a server's answer that access is to be asked for"},
};

/* Text that begins, after blanks, as a page of the web does; in any case of letters. */
static bool is_html(const unsigned char *p, size_t len)
{
    static const char *const starts[] = {"<!doctype html", "<html", "<head"};
    size_t at = 0;
    while (at < len && isspace(p[at]))
        at++;
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        size_t n = strlen(starts[i]);
        if (len - at >= n && !strncasecmp((const char *)p + at, starts[i], n))
            return true;
    }
    return false;
}

const char *sniff(const void *head, size_t len)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (len >= known[i].len && !memcmp(head, known[i].magic, known[i].len))
            return known[i].what;
    return is_html(head, len) ? "an HTML page" : NULL;
}

const char *sniff_file(const char *path)
{
    unsigned char head[SNIFF_BYTES];
    struct stat st;
    FILE *f = !stat(path, &st) && S_ISREG(st.st_mode) ? fopen(path, "rb") : NULL;
    size_t n = f ? fread(head, 1, sizeof head, f) : 0;
    if (f)
        fclose(f);
    return n ? sniff(head, n) : NULL;
}
