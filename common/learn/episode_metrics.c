/* SPDX-License-Identifier: MIT
 * episode_metrics: one CSV row a step; see episode_metrics.h. */
#include "learn/episode_metrics.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct episode_metrics {
    struct outfile *out;
    struct err failed;
};

static void put(struct episode_metrics *m, const char *text, size_t len)
{
    if (!m->failed.code)
        (void)!outfile_write(m->out, text, len, &m->failed);
}

struct episode_metrics *episode_metrics_open(const char *path, struct err *e)
{
    static const char head[] =
        "step,train_loss,val_loss,reward,lr,grad_norm,tokens,seconds,test_loss\n";
    struct outfile *out = outfile_open(path, e);
    if (!out)
        return NULL;
    struct episode_metrics *m = mem_zalloc(1, sizeof *m);
    m->out = out;
    put(m, head, strlen(head));
    return m;
}

static void put_number(struct buf *b, double v, bool is_there)
{
    buf_putc(b, ',');
    if (is_there)
        text_put_real(b, v, TEXT_DOUBLE);
}

void episode_metrics_put(struct episode_metrics *m, const struct episode_step *s, double test)
{
    struct buf b = {0};
    bool has_step = s->t > 0;
    if (!m)
        return;
    buf_printf(&b, "%" PRId64, s->t);
    put_number(&b, s->train_loss, has_step);
    put_number(&b, s->val_loss, true);
    put_number(&b, s->reward, has_step);
    put_number(&b, s->lr, has_step);
    put_number(&b, s->grad_norm, has_step);
    buf_printf(&b, ",%" PRId64, s->n_tokens);
    put_number(&b, s->seconds, true);
    put_number(&b, test, isfinite(test));
    buf_putc(&b, '\n');
    put(m, b.data, b.len);
    buf_free(&b);
}

int episode_metrics_commit(struct episode_metrics *m, struct err *e)
{
    if (!m)
        return 0;
    if (m->failed.code) {
        *e = m->failed;
        episode_metrics_abort(m);
        return e->code;
    }
    int rc = outfile_commit(m->out, e);
    free(m);
    return rc;
}

void episode_metrics_abort(struct episode_metrics *m)
{
    if (!m)
        return;
    outfile_abort(m->out);
    free(m);
}
