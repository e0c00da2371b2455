/* SPDX-License-Identifier: MIT
 * batch: sequences laid end to end; see batch.h. */
#include "lm/batch.h"

#include "base/log.h"
#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void lm_pack_add(struct lm_pack *p, const int32_t *ids, const uint8_t *is_loss, int64_t n)
{
    int64_t end = p->n_tokens + n;
    MEM_GROW(p->ids, p->ids_cap, end);
    MEM_GROW(p->is_loss, p->is_loss_cap, end);
    MEM_GROW(p->offsets, p->offsets_cap, p->n_seqs + 2);
    memcpy(p->ids + p->n_tokens, ids, (size_t)n * sizeof *ids);
    memcpy(p->is_loss + p->n_tokens, is_loss, (size_t)n);
    p->offsets[p->n_seqs++] = p->n_tokens;
    p->offsets[p->n_seqs] = end;
    p->n_tokens = end;
}

struct lm_batch lm_pack_batch(const struct lm_pack *p)
{
    return (struct lm_batch){p->ids, p->is_loss, p->offsets, p->n_seqs, p->n_tokens};
}

void lm_pack_clear(struct lm_pack *p)
{
    p->n_seqs = p->n_tokens = 0;
}

void lm_pack_free(struct lm_pack *p)
{
    free(p->ids);
    free(p->is_loss);
    free(p->offsets);
    *p = (struct lm_pack){0};
}

int lm_mean_nll(struct lm *m, const struct lm_batch *b, double *mean, int64_t *bad,
                struct err *e)
{
    double *nll = mem_alloc((size_t)b->n_seqs, sizeof *nll), sum = 0;
    int64_t *count = mem_alloc((size_t)b->n_seqs, sizeof *count), n = 0;
    int rc = lm_nll(m, b, nll, count, e);
    for (int64_t i = 0; !rc && i < b->n_seqs; i++) {
        if (!isfinite(nll[i])) {
            rc = err_set(e, ERR_NONFINITE, "the loss is not finite");
            if (bad)
                *bad = i;
        }
        sum += nll[i];
        n += count[i];
    }
    if (!rc && !n)
        rc = err_set(e, ERR_EMPTY, "no token counts in the loss");
    if (!rc)
        *mean = sum / (double)n;
    free(nll);
    free(count);
    return rc;
}

int lm_projections_parse(const char *s, unsigned *targets, struct err *e)
{
    static const struct {
        const char *name;
        unsigned bits;
    } known[] = {
        {"q", LM_Q},       {"k", LM_K},   {"v", LM_V},       {"o", LM_O},
        {"gate", LM_GATE}, {"up", LM_UP}, {"down", LM_DOWN}, {"all", LM_ALL_PROJECTIONS}};
    unsigned found = 0;
    while (*s) {
        size_t len = strcspn(s, ","), stem = len;
        if (len > 5 && !strncmp(s + len - 5, "_proj", 5))
            stem -= 5;
        unsigned bits = 0;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            if (strlen(known[i].name) == stem && !strncmp(known[i].name, s, stem))
                bits = known[i].bits;
        if (!bits)
            return err_set(e, ERR_RANGE,
                           "'%.*s' is none of q, k, v, o, gate, up, down (a list) or all",
                           (int)len, s);
        found |= bits;
        s += len + (s[len] == ',');
    }
    if (!found)
        return err_set(e, ERR_RANGE, "an empty list of projections");
    *targets = found;
    return 0;
}

int lm_config_read(struct lm_config *c, const char *path, struct err *e)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return err_set_errno(e, "%s", path);
    if (S_ISDIR(st.st_mode))
        return lm_config_read_hf(c, path, e);
    struct gguf *g = gguf_open(path, e);
    if (!g)
        return e ? e->code : ERR_IO;
    int rc = lm_config_read_gguf(c, g, path, e);
    gguf_close(g);
    return rc;
}

char *lm_memory_text(const struct lm_memory *p)
{
    const struct {
        const char *name;
        int64_t bytes;
    } part[] = {{"weights", p->weights},         {"adapter", p->adapter},
                {"gradients", p->gradients},     {"optimizer", p->optimizer},
                {"activations", p->activations}, {"logits", p->logits},
                {"workspace", p->workspace}};
    struct buf b = {0};
    char text[32];
    for (size_t i = 0; i < sizeof part / sizeof *part; i++)
        if (part[i].bytes)
            buf_printf(&b, "%s%s %s", b.len ? ", " : "", part[i].name,
                       log_bytes(text, part[i].bytes));
    return buf_str(&b);
}
