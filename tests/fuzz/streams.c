/* SPDX-License-Identifier: MIT
 * streams: targets of our own files.
 *
 * `forged` is aware of structure: its input is a program that changes a valid message of some
 * kind (a byte of a tensor, a shape, a dtype, a name, a value of the metadata, rows split over
 * shards), which is then written with the right checksums, digest and seek table, so that
 * mutations arrive at what reads the kinds. `frames` does the same a floor below: its input is
 * cut into frames. `part` puts such a message into the part of an unfinished run. */
#include "base/mem.h"
#include "features/embed_part.h"
#include "features/features.h"
#include "fuzz.h"
#include "learn/checkpoint.h"
#include "learn/learners.h"
#include "learn/untrained.h"
#include "plan/plan.h"
#include "policy/policy.h"
#include "stream/part.h"
#include "stream/st_cat.h"
#include "stream/st_csv.h"
#include "stream/st_priv.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>
#include <zstd.h>

static const char *const kinds[] = {"f",       "t",          "plan",     "ppo",
                                    "reward1", "checkpoint", "untrained"};
enum { N_BASES = sizeof kinds / sizeof *kinds };
static struct st_msg *base[N_BASES];
static char *base_text[N_BASES];

void fuzz_streams_set_up(void)
{
    for (int i = 0; i < N_BASES; i++) {
        struct err e = ERR_INIT;
        size_t len;
        char *name = mem_printf("fuzz/base/%s", kinds[i]);
        base_text[i] = fuzz_fixture(name, &len);
        if (!(base[i] = st_msg_parse(base_text[i], len, name, &e)))
            abort();
        free(name);
    }
}

void fuzz_streams_tear_down(void)
{
    for (int i = 0; i < N_BASES; i++) {
        st_msg_free(base[i]);
        free(base_text[i]);
    }
}

/* ---- streams ---- */

static void read_kinds(const char *path)
{
    struct err e = ERR_INIT;
    struct features f = {0};
    struct traj t = {0};
    struct plan p = {0};
    struct checkpoint c = {0};
    struct untrained u;
    if (features_read(&f, path, &e) == 0)
        features_free(&f);
    if (traj_read(&t, path, &e) == 0)
        traj_free(&t);
    if (plan_read(&p, path, &e) == 0)
        plan_free(&p);
    policy_free(policy_read(path, learners(), &e));
    (void)!checkpoint_read(&c, path, 0, &e);
    checkpoint_free(&c);
    if (untrained_read(&u, path, &e) == 0)
        untrained_free(&u);
}

bool run_stream(const uint8_t *data, size_t len)
{
    struct err e = ERR_INIT;
    char *path = fuzz_path("s.st.zst");
    fuzz_put("s.st.zst", data, len);
    struct st_msg *m = st_read(path, NULL, &e);
    bool is_read = m != NULL;
    st_msg_free(m);
    read_kinds(path);
    free(path);
    return is_read;
}

/* Frames of the pieces that 0xFF parts, the digest and the seek table as they should be. */
bool run_frames(const uint8_t *data, size_t len)
{
    struct buf b = {0};
    struct st_entry entry[16];
    size_t n = 0;
    ZSTD_CCtx *z = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(z, ZSTD_c_checksumFlag, 1);
    for (size_t at = 0; at < len && n < 16; n++) {
        const uint8_t *end = memchr(data + at, 0xFF, len - at);
        size_t k = end ? (size_t)(end - data) - at : len - at, start = b.len,
               cap = ZSTD_compressBound(k);
        MEM_GROW(b.data, b.cap, b.len + cap);
        size_t got = ZSTD_compress2(z, b.data + b.len, cap, data + at, k);
        if (ZSTD_isError(got))
            abort();
        b.len += got;
        entry[n] = (struct st_entry){(uint32_t)(b.len - start), (uint32_t)k,
                                     st_get_u32((unsigned char *)b.data + b.len - 4)};
        at += k + 1;
    }
    ZSTD_freeCCtx(z);
    st_put_digest(&b, XXH64(b.data ? b.data : "", b.len, 0));
    st_put_seek_table(&b, entry, n);
    bool is_read = run_stream((const uint8_t *)b.data, b.len);
    buf_free(&b);
    return is_read;
}

struct reader {
    const uint8_t *p;
    size_t len;
};
static unsigned next(struct reader *r)
{
    if (!r->len)
        return 0;
    r->len--;
    return *r->p++;
}

static void replace_meta(struct st_msg *m, struct reader *r)
{
    static const char *const odd[] = {
        "",          "0",     "-1", "1e400", "18446744073709551615",
        "nan",       "[{}]",  "[",  "ok",    "9223372036854775807",
        "ppo",       "a,b,a", ",",  "1.5",   "0123456789abcdef",
        "2147483648"};
    const char *key, *value;
    if (!st_msg_n_meta(m))
        return;
    st_msg_meta_at(m, (int64_t)next(r) % st_msg_n_meta(m), &key, &value);
    char *name = mem_strdup(key), *text = mem_strdup(value);
    unsigned how = next(r);
    if (how < 16)
        st_msg_set_meta(m, name, odd[how]);
    else if (how < 24)
        st_msg_unset_meta(m, name);
    else if (*text)
        text[next(r) % strlen(text)] = (char)(' ' + how % 95);
    if (how >= 24)
        st_msg_set_meta(m, name, text);
    free(name);
    free(text);
}

/* One tensor in the place of another's: other shape, dtype, name or bytes; NULL: left out. */
static void put_tensor(struct st_msg *dst, const struct st_tensor *t, struct reader *r,
                       bool is_changed)
{
    struct st_tensor x = *t;
    char *name = mem_strdup(t->name);
    unsigned how = is_changed ? next(r) % 6 : 6;
    if (how == 0 && x.n_dims)
        x.shape[next(r) % (unsigned)x.n_dims] = next(r) % 9;
    else if (how == 1)
        x.dtype = (enum st_dtype)(next(r) % ST_N_DTYPES);
    else if (how == 2)
        x.n_dims = (int)(next(r) % 4);
    else if (how == 3)
        name[next(r) % strlen(name)] = (char)('a' + next(r) % 26);
    size_t n = st_dtype_size(x.dtype);
    for (int i = 0; i < x.n_dims; i++) {
        x.shape[i] = i < t->n_dims ? x.shape[i] : 1;
        n *= (size_t)x.shape[i];
    }
    unsigned char *data = mem_zalloc(n, 1);
    memcpy(data, t->data, n < t->len ? n : t->len);
    for (unsigned k = 0; how == 4 && n && k < 8; k++)
        data[(next(r) | next(r) << 8) % n] = (unsigned char)next(r);
    if (how != 5 && !st_msg_find(dst, name))
        st_msg_add_copy(dst, name, x.dtype, x.n_dims, x.shape, data);
    free(data);
    free(name);
}

static struct st_msg *forge(const struct st_msg *from, struct reader *r)
{
    struct st_msg *m = st_msg_new();
    unsigned victim = next(r), n_meta = next(r) % 4;
    const char *key, *value;
    for (int64_t i = 0; i < st_msg_n_meta(from); i++) {
        st_msg_meta_at(from, i, &key, &value);
        st_msg_set_meta(m, key, value);
    }
    for (int64_t i = 0; i < st_msg_n_tensors(from); i++)
        put_tensor(m, st_msg_at(from, i), r,
                   i == (int64_t)victim % (st_msg_n_tensors(from) + 1));
    for (unsigned i = 0; i < n_meta; i++)
        replace_meta(m, r);
    return m;
}

bool run_forged(const uint8_t *data, size_t len)
{
    struct err e = ERR_INIT;
    struct reader r = {data, len};
    struct st_msg *m = forge(base[next(&r) % N_BASES], &r);
    char *path = fuzz_path("k.st.zst");
    struct st_writer *w = st_writer_open(path, 0, &e);
    if (!w)
        abort();
    unsigned n_shards = 1 + next(&r) % 3;
    int rc = 0;
    for (unsigned i = 0; !rc && i < n_shards; i++)
        rc = st_writer_put(w, m, &e);
    if (rc)
        st_writer_abort(w);
    else if (!(rc = st_writer_close(w, &e)))
        read_kinds(path);
    st_msg_free(m);
    free(path);
    return !rc;
}

/* A history of another program's, taken into one of ours. */
bool run_history(const uint8_t *data, size_t len)
{
    char *text = mem_strndup((const char *)data, len);
    struct st_msg *m = st_msg_new();
    struct prov *p = prov_new("fuzz", "fuzz", 1);
    prov_write(p, m, text);
    prov_free(p);
    st_msg_free(m);
    free(text);
    return true;
}

/* ---- the part of an unfinished run ---- */

static const char parameters[] = "dataset=1\nmodel=2\n";

static void take_entries(struct part *p)
{
    struct embed_options o = {.dim = 2};
    struct embed_rows rows;
    struct embed_drops drops = {0};
    embed_rows_start(&rows, &o);
    for (int64_t i = 0; i < part_n_entries(p); i++) {
        struct err e = ERR_INIT;
        char *data;
        size_t len;
        if (part_get(p, i, &data, &len, &e) < 0)
            abort();
        (void)!embed_part_unpack(&rows, &drops, data, len, "p.part", &e);
        free(data);
    }
    embed_rows_free(&rows);
    embed_drops_free(&drops);
}

static void put_window(struct part *p, struct reader *r)
{
    struct err e = ERR_INIT;
    struct st_msg *whole = st_msg_copy(base[0]);
    unsigned n = next(r) % 4;
    static const int64_t drop[] = {1, 2, 0, 3, 4, 1, 5, 6, 2};
    if (n)
        st_msg_add(whole, "drops", ST_I64, 2, (int64_t[]){n, 3}, drop);
    struct st_msg *m = forge(whole, r);
    char *data;
    size_t len;
    st_msg_serialize(m, &data, &len);
    if (part_put(p, data, len, &e) < 0)
        abort();
    free(data);
    st_msg_free(m);
    st_msg_free(whole);
}

/* The first byte says whether the rest is the file, or makes windows that are whole. */
bool run_part(const uint8_t *data, size_t len)
{
    struct err e = ERR_INIT;
    struct reader r = {data, len};
    bool is_file = next(&r) < 128;
    char *path = fuzz_path("p.part");
    fuzz_put("p.part", r.p, is_file ? r.len : 0);
    struct part *p = part_open(path, parameters, true, &e);
    while (p && !is_file && r.len)
        put_window(p, &r);
    if (p)
        take_entries(p);
    bool is_read = p != NULL;
    part_close(p, true);
    free(path);
    return is_read;
}
