/* SPDX-License-Identifier: MIT
 * untrained: losses before the first step, as a file; see untrained.h. */
#include "learn/untrained.h"

#include "base/file.h"
#include "base/mem.h"

#include <inttypes.h>
#include <string.h>

#define AT(type, field) ST_FIELD(struct untrained, type, field)

static const struct st_size sizes[] = {{"N", ST_COUNT(struct untrained, n)}, {NULL, 0}};
static const struct st_column columns[] = {{"key", AT(ST_U64, key), "[N]", 0},
                                           {"loss", AT(ST_F64, loss), "[N]", ST_FINITE},
                                           {.name = NULL}};
const struct st_table untrained_table = {"untrained", sizes, columns, NULL};

/* Of the first row whose key is no smaller. */
static int64_t place_of(const struct untrained *u, uint64_t key)
{
    int64_t i = 0;
    while (i < u->n && u->key[i] < key)
        i++;
    return i;
}

int untrained_read(struct untrained *u, const char *path, struct err *e)
{
    *u = (struct untrained){0};
    if (!file_exists(path))
        return 0;
    struct st_msg *m = st_read(path, untrained_table.kind, e);
    if (!m)
        return e->code;
    u->n = -1;
    int rc = st_table_take(&untrained_table, u, m, e);
    for (int64_t i = 1; !rc && i < u->n; i++)
        if (u->key[i] <= u->key[i - 1])
            rc = err_set(e, ERR_FORMAT, "%s: key: entry %" PRId64 " is out of order",
                         st_msg_name(m), i);
    st_msg_free(m);
    if (rc)
        untrained_free(u);
    return rc;
}

void untrained_free(struct untrained *u)
{
    st_table_free(&untrained_table, u);
    *u = (struct untrained){0};
}

const double *untrained_find(const struct untrained *u, uint64_t key)
{
    int64_t i = place_of(u, key);
    return i < u->n && u->key[i] == key ? u->loss + i : NULL;
}

static void insert(struct untrained *u, uint64_t key, double loss)
{
    int64_t i = place_of(u, key);
    size_t after = (size_t)(u->n - i);
    st_table_grow(&untrained_table, u, u->n + 1);
    memmove(u->key + i + 1, u->key + i, after * sizeof *u->key);
    memmove(u->loss + i + 1, u->loss + i, after * sizeof *u->loss);
    u->key[i] = key;
    u->loss[i] = loss;
    u->n++;
}

int untrained_add(const char *path, uint64_t key, double loss, struct err *e)
{
    struct untrained u;
    int rc = untrained_read(&u, path, e);
    if (rc || untrained_find(&u, key)) {
        untrained_free(&u);
        return rc;
    }
    insert(&u, key, loss);
    struct st_msg *m = st_msg_new();
    st_table_put(&untrained_table, &u, m);
    rc = st_write(path, 0, m, e);
    st_msg_free(m);
    untrained_free(&u);
    return rc;
}
