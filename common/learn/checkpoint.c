/* SPDX-License-Identifier: MIT
 * checkpoint: an episode between two steps; see checkpoint.h. */
#include "learn/checkpoint.h"

#include <inttypes.h>
#include <string.h>

#define AT(type, field) ST_FIELD(struct checkpoint, type, field)
#define COUNT(field) ST_COUNT(struct checkpoint, field)

static const struct st_size sizes[] = {{"P", COUNT(n_values)}, {NULL, 0}};
static const struct st_column columns[] = {{"values", AT(ST_F32, s.values), "[P]", ST_FINITE},
                                           {"moment1", AT(ST_F32, s.moment1), "[P]", ST_FINITE},
                                           {"moment2", AT(ST_F32, s.moment2), "[P]", ST_FINITE},
                                           {.name = NULL}};
static const struct st_key keys[] = {
    {"raise.run", AT(ST_KEY_HASH, run), 0, 0, 0},
    {"raise.steps_done", AT(ST_KEY_INT, n_done), 1, INT32_MAX, 0},
    {"raise.optimizer_steps", AT(ST_KEY_INT, s.n_steps), 0, INT32_MAX, 0},
    {"raise.n_cut", AT(ST_KEY_INT, n_cut), 0, 1e15, 0},
    {.name = NULL}};
const struct st_table checkpoint_table = {"checkpoint", sizes, columns, keys};

int checkpoint_write(const char *path, uint64_t run, struct lm *m, const struct traj *t,
                     int64_t n_done, int64_t n_cut, struct err *e)
{
    struct checkpoint c = {
        .run = run, .n_done = n_done, .n_cut = n_cut, .n_values = lm_n_values(m)};
    struct st_msg *msg = st_msg_new();
    lm_state_get(m, &c.s);
    st_table_put(&traj_table, t, msg);
    st_table_put(&checkpoint_table, &c, msg);
    int rc = st_write(path, 0, msg, e);
    st_msg_free(msg);
    lm_state_free(&c.s);
    return rc;
}

/* What is not done is zeros, and not looked at. */
static int check(const struct checkpoint *c, const char *name, struct err *e)
{
    const struct traj *t = &c->t;
    if (c->n_done > t->n_steps)
        return err_set(e, ERR_RANGE, "%s: %" PRId64 " of %" PRId64 " steps are done", name,
                       c->n_done, t->n_steps);
    int rc = picks_check_offsets(name, "list_offset", t->list_offset, c->n_done * t->n_classes,
                                 t->n_picks, e);
    return rc ? rc : picks_check_rows(name, t->pick, t->source, t->n_picks, e);
}

int checkpoint_read(struct checkpoint *c, const char *path, uint64_t run, struct err *e)
{
    struct err local = ERR_INIT;
    e = e ? e : &local;
    *c = (struct checkpoint){.n_values = -1};
    c->t.n_picks = -1;
    struct st_msg *m = st_read(path, "checkpoint", e);
    if (!m)
        return e->code;
    int rc = st_table_take(&checkpoint_table, c, m, e);
    if (!rc && c->run != run)
        rc = err_set(e, ERR_MISMATCH, "%s: of another run, or of other inputs", path);
    if (!rc)
        rc = st_table_take(&traj_table, &c->t, m, e);
    if (!rc)
        rc = check(c, st_msg_name(m), e);
    st_msg_free(m);
    return rc;
}

void checkpoint_free(struct checkpoint *c)
{
    st_table_free(&checkpoint_table, c);
    traj_free(&c->t);
    memset(c, 0, sizeof *c);
}

#define COPY(field, n) memcpy(t->field, c->t.field, (size_t)(n) * sizeof *t->field)
void checkpoint_fill(const struct checkpoint *c, struct traj *t)
{
    int64_t lists = c->n_done * t->n_classes;
    t->n_picks = c->t.n_picks;
    COPY(pick, t->n_picks);
    COPY(pick_score, t->n_picks);
    COPY(source, t->n_picks);
    COPY(record_hash, t->n_picks);
    COPY(list_offset, lists + 1);
    COPY(list_logp, lists);
    if (t->pick_loss && c->t.pick_loss)
        COPY(pick_loss, t->n_picks);
    COPY(perf, c->n_done + 1);
    COPY(train_loss, c->n_done);
    COPY(lr, c->n_done);
    COPY(grad_norm, c->n_done);
    COPY(n_tokens, c->n_done);
}
