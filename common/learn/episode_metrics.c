/* SPDX-License-Identifier: MIT
 * episode_metrics: a row a step, CSV or JSON lines; see episode_metrics.h. */
#include "learn/episode_metrics.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct episode_metrics {
    char *path;
    bool is_json;
    struct outfile *out; /* NULL: no row yet */
    struct err failed;
};

struct episode_metrics *episode_metrics_new(const char *path)
{
    struct episode_metrics *m = mem_zalloc(1, sizeof *m);
    size_t n = strlen(path);
    m->path = mem_strdup(path);
    m->is_json = n > 6 && !strcmp(path + n - 6, ".jsonl");
    return m;
}

static void put_csv(struct buf *b, const char *name, double v, bool is_there)
{
    (void)name;
    buf_putc(b, ',');
    if (is_there)
        text_put_real(b, v, TEXT_DOUBLE);
}

static void put_json(struct buf *b, const char *name, double v, bool is_there)
{
    if (!is_there || !isfinite(v))
        return;
    buf_printf(b, ", \"%s\": ", name);
    text_put_real(b, v, TEXT_DOUBLE);
}

static void put_row(const struct episode_metrics *m, const struct episode_step *s, double test,
                    struct buf *b)
{
    void (*put)(struct buf *, const char *, double, bool) = m->is_json ? put_json : put_csv;
    bool has_step = s->t > 0;
    buf_printf(b, m->is_json ? "{\"step\": %" PRId64 : "%" PRId64, s->t);
    if (m->is_json)
        put(b, "epoch", s->epoch, true);
    put(b, "loss", s->train_loss, has_step);
    put(b, "eval_loss", s->val_loss, true);
    put(b, "reward", s->reward, has_step);
    put(b, "learning_rate", s->lr, has_step);
    put(b, "grad_norm", s->grad_norm, has_step);
    put(b, "tokens", (double)s->n_tokens, true);
    put(b, "seconds", s->seconds, true);
    put(b, "test_loss", test, isfinite(test));
    buf_puts(b, m->is_json ? "}\n" : "\n");
}

void episode_metrics_put(struct episode_metrics *m, const struct episode_step *s, double test)
{
    static const char head[] =
        "step,train_loss,val_loss,reward,lr,grad_norm,tokens,seconds,test_loss\n";
    struct buf b = {0};
    if (!m || m->failed.code)
        return;
    if (!m->out && !m->is_json)
        buf_puts(&b, head);
    if (!m->out)
        m->out = outfile_open_growing(m->path, &m->failed);
    put_row(m, s, test, &b);
    if (m->out)
        (void)!outfile_write(m->out, b.data, b.len, &m->failed);
    buf_free(&b);
}

int episode_metrics_close(struct episode_metrics *m, struct err *e)
{
    struct err own = ERR_INIT;
    if (!m)
        return 0;
    int rc = m->failed.code;
    if (rc && e)
        *e = m->failed;
    int closed = m->out ? outfile_commit(m->out, rc || !e ? &own : e) : 0;
    free(m->path);
    free(m);
    return rc ? rc : closed;
}
