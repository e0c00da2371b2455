/* SPDX-License-Identifier: MIT
 *
 * st_table: what a kind of file holds, as a table of rows; one row a tensor, one a key of the
 * metadata. Memory, writing, reading and its checks all follow from the rows, so that a tensor
 * is named in one place.
 *
 *     struct walk { int64_t n_steps; double *loss; uint64_t data; };
 *     #define AT(type, field) ST_FIELD(struct walk, type, field)
 *     static const struct st_size sizes[] = {{"T", ST_COUNT(struct walk, n_steps)}, {0}};
 *     static const struct st_column columns[] = {
 *         {"loss", AT(ST_F64, loss), "[T + 1]", ST_FINITE}, {0}};
 *     static const struct st_key keys[] = {
 *         {"raise.data", AT(ST_KEY_HASH, data), .flags = ST_OPTIONAL}, {0}};
 *     const struct st_table walk_table = {"walk", sizes, columns, keys};
 *
 *     struct walk w = {.n_steps = 10};
 *     st_table_alloc(&walk_table, &w);               // loss: 11 zeros
 *     st_table_put(&walk_table, &w, m);              // msg m borrows loss
 *     struct walk r = {.n_steps = -1};               // -1: the file tells
 *     st_table_take(&walk_table, &r, m, &e);         // copies, after checking everything
 *     st_table_free(&walk_table, &r);
 *
 * A shape is written as in raise-stream(5): dimensions parted by commas, each a sum of products
 * of symbols and numbers ("[T C + 1]", "[h n_in + 2 h]"). A symbol stands for an int64_t of the
 * struct (st_size). While reading, one that is -1 is unknown, and is found from the first
 * tensor whose shape has it; at most one symbol of a dimension may be unknown.
 *
 * The compiler holds each field against its row's type: an I32 column that is an int64_t * in
 * the struct does not compile.
 *
 * Errors name file (the msg's, see st_msg_name) and tensor or key, so a caller adds neither.
 * A malformed table is a bug of ours: an assertion.
 */
#ifndef RAISE_STREAM_ST_TABLE_H
#define RAISE_STREAM_ST_TABLE_H

#include "stream/st.h"

enum st_flag {
    ST_OPTIONAL = 1, /* column: NULL is not written; absent: NULL.
                      * key: hash 0, not finite, NULL, "" are not written; absent: left alone */
    ST_FINITE = 2,   /* F32, F64: a value that is not finite is refused while reading */
    ST_WHOLE = 4,    /* the same in every shard; put lists it in raise.whole */
    ST_INLINE = 8,   /* the values stand in the struct itself: double critic[6] */
    ST_PLACED = 16   /* memory is the caller's: never allocated, never freed; take fills it */
};

/* A row's type, the offset of the field and its size; what is not of the type in C is an error
 * of the compiler's. */
#define ST_FIELD(S, type, field) type, ST_AT(S, type, field), sizeof(((S *)0)->field)
#define ST_COUNT(S, field) ST_AT(S, ST_KEY_INT, field) /* a size's */
#define ST_AT(S, type, field)                                                                  \
    (offsetof(S, field) + ST_HOLDS(ST_IS_##type(((S *)0)->field), #field " is no " #type))
/* 0, or not compiled. */
#define ST_HOLDS(is_so, why)                                                                   \
    (0 * sizeof(struct {                                                                       \
         _Static_assert(is_so, why);                                                           \
         int i;                                                                                \
     }))
#define ST_IS_VALUE(x, T) _Generic((x), T : 1, default : 0)
/* An array, or a pointer to one. */
#define ST_IS_ARRAY(x, T) _Generic((x), T * : 1, const T * : 1, default : 0)
#define ST_IS_ST_I32(x) ST_IS_ARRAY(x, int32_t)
#define ST_IS_ST_F32(x) ST_IS_ARRAY(x, float)
#define ST_IS_ST_F64(x) ST_IS_ARRAY(x, double)
#define ST_IS_ST_I64(x) ST_IS_ARRAY(x, int64_t)
#define ST_IS_ST_U64(x) ST_IS_ARRAY(x, uint64_t)
#define ST_IS_ST_KEY_HASH(x) ST_IS_VALUE(x, uint64_t)
#define ST_IS_ST_KEY_INT(x) ST_IS_VALUE(x, int64_t)
#define ST_IS_ST_KEY_UINT(x) ST_IS_VALUE(x, uint64_t)
#define ST_IS_ST_KEY_REAL(x) ST_IS_VALUE(x, double)
#define ST_IS_ST_KEY_BOOL(x) ST_IS_VALUE(x, bool)
#define ST_IS_ST_KEY_TEXT(x) (ST_IS_VALUE(x, char *) && !ST_IS_VALUE(&(x), char **))
#define ST_IS_ST_KEY_STRING(x) ST_IS_VALUE(&(x), char **)
#define ST_IS_ST_KEY_NAMES(x) ST_IS_VALUE(&(x), char ***)

struct st_size {
    const char *symbol;
    size_t at; /* ST_COUNT: offset of an int64_t */
};

struct st_column {
    const char *name;
    enum st_dtype dtype;
    size_t at, size;   /* ST_FIELD: a pointer to the values; ST_INLINE: the values */
    const char *shape; /* "[N, D]" */
    unsigned flags;    /* enum st_flag, or-ed */
};

enum st_key_type {
    ST_KEY_HASH,   /* uint64_t; 16 hexadecimal digits */
    ST_KEY_INT,    /* int64_t; decimal */
    ST_KEY_UINT,   /* uint64_t; decimal */
    ST_KEY_REAL,   /* double, finite; %.17g */
    ST_KEY_BOOL,   /* bool; 0 or 1 */
    ST_KEY_TEXT,   /* char[size] */
    ST_KEY_STRING, /* char *, owned; NULL: none */
    ST_KEY_NAMES   /* char **, owned, ends with NULL; "a,b,c"; no name is empty */
};

struct st_key {
    const char *name;
    enum st_key_type type;
    size_t at, size; /* ST_FIELD */
    double min, max; /* ST_KEY_INT, ST_KEY_REAL; both 0: any */
    unsigned flags;  /* ST_OPTIONAL; else an absent key is an error */
};

/* Each list ends with a row of zeros, and may be NULL: none. The first size counts the
 * rows (st_table_grow, st_table_append, st_table_slice). */
struct st_table {
    const char *kind; /* raise.kind, which put sets; NULL: left alone */
    const struct st_size *sizes;
    const struct st_column *columns;
    const struct st_key *keys;
};

bool st_table_has(const struct st_table *t, const char *column);
/* Has the msg a tensor that is a column of the table? */
bool st_table_has_any(const struct st_table *t, const struct st_msg *m);
/* Zeroed memory for every column that is not optional, by the sizes in `s`. */
void st_table_alloc(const struct st_table *t, void *s);
/* Frees columns, strings and names, and sets them to NULL. Not after st_table_view. */
void st_table_free(const struct st_table *t, void *s);
/* Adds raise.kind, raise.version, keys and columns; the msg borrows the columns. */
void st_table_put(const struct st_table *t, const void *s, struct st_msg *m);

/* Reads all keys, then checks dtype and shape of every column, and fills in the sizes that were
 * -1. Nothing is allocated but strings and names. 0, or < 0: ERR_FORMAT (missing, malformed),
 * ERR_RANGE (a number out of its bounds), ERR_MISMATCH (dtype or shape). On failure, here and
 * below, st_table_free releases what is there. */
int st_table_check(const struct st_table *t, void *s, const struct st_msg *m,
                   struct err *e) RAISE_MUST_CHECK;
/* The same, then copies: into memory of its own, or where the columns point already
 * (ST_PLACED, ST_INLINE). ERR_NONFINITE by ST_FINITE. */
int st_table_take(const struct st_table *t, void *s, const struct st_msg *m,
                  struct err *e) RAISE_MUST_CHECK;
/* The same, but columns point into the msg and must not be written to or freed. */
int st_table_view(const struct st_table *t, void *s, const struct st_msg *m,
                  struct err *e) RAISE_MUST_CHECK;

/* ---- rows: columns whose first dimension is the table's first size ---- */

/* Room for `cap` rows, those that are there kept. An optional column that is NULL stays out,
 * here and below; one that is to grow starts with memory of its own, however little. */
void st_table_grow(const struct st_table *t, void *s, int64_t cap);
/* Appends the rows of a msg, which must have every column in the widths of `s`; keys are not
 * read. *cap: rows that there is room for. */
int st_table_append(const struct st_table *t, void *s, int64_t *cap, const struct st_msg *m,
                    struct err *e) RAISE_MUST_CHECK;
/* Makes dst, a copy of the struct, show rows [from, from + n) only. Borrows; not to be freed.
 */
void st_table_slice(const struct st_table *t, void *dst, int64_t from, int64_t n);

/* ---- one key ---- */

/* Present: 1. Absent: 0, or ERR_FORMAT where the key is not optional. */
int st_key_take(const struct st_key *k, void *s, const struct st_msg *m,
                struct err *e) RAISE_MUST_CHECK;
void st_key_put(const struct st_key *k, const void *s, struct st_msg *m);

#endif
