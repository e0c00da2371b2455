/* SPDX-License-Identifier: MIT
 * rows: the objects of a file; see rows.h. */
#include "data/rows.h"

#include "base/file.h"
#include "data/dataset_json.h"
#include "stream/zio.h"

#include <stdlib.h>

struct priv {
    char *text;
    struct data_split split;
};

void data_rows_free(struct data_rows *r)
{
    struct priv *p = r ? r->priv : NULL;
    if (p) {
        data_split_free(&p->split);
        free(p->text);
        free(p);
    }
    if (r) {
        free(r->name);
        *r = (struct data_rows){0};
    }
}

int data_rows_read(struct data_rows *r, const char *path, const char *const *columns,
                   struct err *e)
{
    struct priv *p = mem_zalloc(1, sizeof *p);
    size_t len = 0;
    *r = (struct data_rows){.name = mem_strdup(file_name_in(path)), .priv = p};
    int rc = zin_read_all(path, &p->text, &len, &r->hash, e);
    if (rc == 0) {
        p->split = (struct data_split){.name = r->name,
                                       .text = p->text,
                                       .len = len,
                                       .columns = columns,
                                       .is_last = true,
                                       .line = 1,
                                       .max_record = INT64_MAX};
        rc = data_split_window(&p->split, e);
        r->format = p->split.format;
        r->n = p->split.n_slices;
        json_object_seed(1); /* once, before there are threads; nothing depends on it */
    }
    if (rc < 0)
        data_rows_free(r);
    return rc;
}

json_t *data_row(const struct data_rows *r, int64_t i, bool numbers_are_text, int64_t *line,
                 struct err *e)
{
    const struct priv *p = r->priv;
    struct err local = ERR_INIT;
    e = e ? e : &local;
    const struct data_slice *x = &p->split.slices[i];
    const char *text = data_slice_text(&p->split, i);
    int rc = x->why ? err_set(e, ERR_FORMAT, "%s", x->why) : 0;
    *line = x->line;
    if (rc == 0)
        rc = data_text_check(text, x->len, x->place, line, e);
    return rc < 0 ? NULL : data_text_load(text, x->len, numbers_are_text, line, e);
}
