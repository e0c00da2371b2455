/* SPDX-License-Identifier: MIT
 * learn/learn: PPO's loss and gradient against their definition in double, what is refused. */
#include "learn/learn_replay.h"
#include "pool.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { MAX_EPISODES = 3, MAX_STEPS = 16 };

static void assert_near(double got, double want, double tolerance, const char *what)
{
    if (!(fabs(got - want) <= tolerance))
        fail_msg("%s: %.17g, not %.17g", what, got, want);
}

static double metric(const struct learn_report *r, int64_t row, const char *name)
{
    return learn_report_value(r, row, name);
}

static double wander(void *arg, const int64_t *picks, int64_t n, int64_t t, double perf)
{
    (void)arg;
    (void)t;
    return perf + 0.02 * sin((double)(picks[0] + 3 * n));
}

static struct policy *make(const struct features *f, const char *learner, unsigned parts,
                           int64_t n_hidden)
{
    struct err e = ERR_INIT;
    struct policy *p = pool_policy(f, learner, parts, n_hidden, &e);
    if (!p)
        fail_msg("%s", e.msg);
    return p;
}

static void move(struct policy *p, double scale, uint64_t seed)
{
    struct rng r;
    struct ppo *x = ppo_of(p);
    rng_init(&r, seed, 5);
    for (int64_t i = 0; i < x->n_net; i++)
        x->net[i] += (float)(scale * rng_normal(&r));
}

/* ---- PPO's loss by its definition ---- */

struct definition {
    const struct features *f;
    const struct policy *p; /* sizes and parts */
    const double *net;      /* parameters, in double */
    const struct ppo_options *o;
    const double *A;
    double *item_old; /* of all picks; written when is_old */
    bool is_old;
    int64_t n_steps, n_clipped, n_free;
};

static double define_score(const struct definition *x, int64_t row, const float u[2], int count)
{
    const struct ppo *p = ppo_of(x->p);
    const double *b = x->net + p->n_hidden * p->n_in, *o = b + p->n_hidden;
    const struct state *s = &x->p->state;
    float phi[64];
    double in[70], F = 0;
    int64_t n = 0;
    state_row(s, x->f, row, phi);
    for (int k = 0; k < 2 && s->parts & PART_STAGE; k++)
        in[n++] = (double)u[k];
    for (int64_t k = 0; k < s->n_static; k++)
        in[n++] = (double)phi[k];
    if (s->parts & PART_COUNT)
        in[n++] = count;
    for (int64_t j = 0; j < p->n_hidden; j++) {
        double a = b[j];
        for (int64_t k = 0; k < n; k++)
            a += x->net[j * n + k] * in[k];
        F += o[j] * tanh(a);
    }
    return F;
}

static double define_surrogate(struct definition *x, double log_ratio, double A)
{
    double rho = exp(fmin(fmax(log_ratio, -20), 20)), eps = x->o->clip;
    double clipped = fmin(fmax(rho, 1 - eps), 1 + eps);
    x->n_clipped += clipped * A < rho * A;
    x->n_free += clipped * A >= rho * A;
    return fmin(rho * A, clipped * A);
}

/* Loss of one step: picks leave the class one by one, each a softmax over who is left. */
static double define_step(struct definition *x, const struct traj *t, int64_t k, double A,
                          const bool *is_used, const bool *is_over, const int *count,
                          double *item_old)
{
    int64_t N = x->f->n, C = t->n_classes, first = t->list_offset[k * C];
    double *z = mem_alloc((size_t)N, sizeof *z), loss = 0;
    bool *is_out = mem_alloc((size_t)N, sizeof *is_out);
    float u[2];
    const struct policy_stage stage = {k + 1,      t->n_steps, t->perf[0],
                                       t->perf[k], t->batch,   NULL};
    state_stage_inputs(&stage, u);
    for (int64_t i = 0; i < N; i++)
        z[i] = define_score(x, i, u, count[i]) / t->tau;
    for (int64_t c = 0; c < C; c++) {
        int64_t from = t->list_offset[k * C + c], to = t->list_offset[k * C + c + 1];
        double logp = 0, sum = 0, H = 0, part = 0;
        int64_t n = 0;
        while (from < to && is_over[t->pick[from]])
            from++;
        double b = (double)(to - from);
        if (from == to)
            continue;
        for (int64_t i = 0; i < N; i++) {
            is_out[i] = x->f->class_of[i] != c || (is_used[i] && !t->has_repeats);
            sum += is_out[i] ? 0 : exp(z[i]);
            n += !is_out[i];
        }
        for (int64_t i = 0; i < N; i++)
            H -= is_out[i] ? 0 : exp(z[i]) / sum * log(exp(z[i]) / sum);
        for (int64_t i = from; i < to; i++) {
            double rest = 0, lp;
            for (int64_t j = 0; j < N; j++)
                rest += is_out[j] ? 0 : exp(z[j]);
            lp = z[t->pick[i]] - log(rest);
            is_out[t->pick[i]] = true;
            logp += lp;
            if (x->is_old)
                item_old[i - first] = lp;
            else if (x->o->ratio == RATIO_ITEM)
                part += define_surrogate(x, lp - item_old[i - first], A) / b;
        }
        if (x->o->ratio != RATIO_ITEM && !x->is_old)
            part = define_surrogate(
                x, (logp - t->list_logp[k * C + c]) / (x->o->ratio == RATIO_MEAN ? b : 1), A);
        loss -= part + (n > 1 ? x->o->entropy * H / log((double)n) : 0);
    }
    free(z);
    free(is_out);
    return loss / (double)C / (double)x->n_steps;
}

static double define_loss(struct definition *x, const struct traj *t, int64_t n_episodes)
{
    double loss = 0;
    const double *A = x->A;
    double *old = x->item_old;
    bool *is_used = mem_alloc((size_t)x->f->n, sizeof *is_used);
    bool *is_over = mem_alloc((size_t)x->f->n, sizeof *is_over);
    int *count = mem_alloc((size_t)x->f->n, sizeof *count);
    for (int64_t e = 0; e < n_episodes; e++) {
        memset(is_used, 0, (size_t)x->f->n * sizeof *is_used);
        memset(count, 0, (size_t)x->f->n * sizeof *count);
        for (int64_t k = 0; k < t[e].n_steps; k++) {
            int64_t C = t[e].n_classes, left = 0;
            int64_t first = t[e].list_offset[k * C], end = t[e].list_offset[(k + 1) * C];
            for (int64_t i = 0; i < x->f->n; i++)
                left += !is_used[i];
            /* What is left over is taken; the others of the step are drawn from all others. */
            bool is_across = left < end - first && !t[e].has_repeats;
            for (int64_t i = 0; i < x->f->n; i++) {
                is_over[i] = is_across && !is_used[i];
                if (is_across)
                    is_used[i] = is_over[i];
            }
            loss += define_step(x, &t[e], k, *A++, is_used, is_over, count, old);
            for (int64_t i = first; i < end; i++) {
                is_used[t[e].pick[i]] = !is_over[t[e].pick[i]];
                count[t[e].pick[i]]++;
                old++;
            }
        }
    }
    free(is_used);
    free(is_over);
    free(count);
    return loss;
}

struct ppo_case {
    const char *what;
    int64_t n, d, n_classes, n_hidden, n_episodes, n_steps, batch;
    double tau, weight, shift, clip, entropy;
    enum ppo_ratio ratio;
    unsigned parts;
    bool has_repeats;
};
static const struct ppo_case ppo_cases[] = {
    {"plain", 60, 3, 2, 4, 1, 3, 6, 1, 1, 0.05, 0.2, 0.01, RATIO_MEAN, PART_PAPER, false},
    {"class ratio", 60, 3, 2, 4, 2, 3, 6, 1, 1, 0.02, 0.2, 0.01, RATIO_CLASS, PART_PAPER,
     false},
    {"item ratio", 60, 3, 2, 4, 2, 3, 6, 1, 1, 0.1, 0.2, 0.01, RATIO_ITEM, PART_PAPER, false},
    {"several blocks", 400, 2, 2, 3, 1, 2, 16, 1, 1, 0.05, 0.2, 0.01, RATIO_MEAN, PART_PAPER,
     0},
    {"taken whole, mask cleared", 14, 3, 3, 4, 2, 6, 6, 1, 1, 0.05, 0.2, 0.1, RATIO_MEAN,
     PART_PAPER, false},
    {"taken whole, item", 14, 3, 3, 4, 1, 6, 6, 1, 1, 0.05, 0.2, 0.1, RATIO_ITEM, PART_PAPER,
     false},
    {"repeats", 12, 3, 2, 4, 1, 5, 6, 1, 1, 0.05, 0.2, 0.01, RATIO_MEAN, PART_PAPER, true},
    {"tau", 60, 3, 2, 4, 1, 3, 6, 0.4, 1, 0.05, 0.2, 0.01, RATIO_MEAN, PART_PAPER, false},
    {"entropy", 60, 3, 2, 4, 1, 3, 6, 1, 1, 0.05, 0.2, 2, RATIO_MEAN, PART_PAPER, false},
    {"sharp scores", 60, 3, 2, 4, 1, 3, 6, 1, 10, 0.01, 0.2, 0.01, RATIO_MEAN, PART_PAPER,
     false},
    {"mostly clipped", 60, 3, 2, 4, 3, 3, 6, 1, 1, 0.4, 0.05, 0.01, RATIO_MEAN, PART_PAPER, 0},
    {"more classes than picks", 30, 3, 5, 4, 1, 3, 3, 1, 1, 0.05, 0.2, 0.1, RATIO_MEAN,
     PART_PAPER, false},
    {"no stage", 60, 3, 2, 5, 1, 3, 6, 1, 1, 0.05, 0.2, 0.01, RATIO_MEAN,
     PART_PAPER & ~PART_STAGE, false},
    {"stage and count", 20, 3, 2, 4, 1, 4, 6, 1, 1, 0.05, 0.2, 0.01, RATIO_MEAN,
     PART_STAGE | PART_COUNT, true},
};

/* Episodes of a case from policy p, the trajectories and the struct around them. */
struct drawn {
    struct traj t[MAX_EPISODES];
    const struct traj *all[MAX_EPISODES];
    const char *name[MAX_EPISODES];
    bool is_new[MAX_EPISODES];
    struct episodes eps;
};

static void draw(struct drawn *x, const struct ppo_case *c, const struct policy *p,
                 const struct features *f)
{
    memset(x, 0, sizeof *x);
    for (int64_t i = 0; i < c->n_episodes; i++) {
        struct err e = ERR_INIT;
        struct pool_episode q = {.n_steps = c->n_steps,
                                 .batch = c->batch,
                                 .tau = c->tau,
                                 .perf_start = -2,
                                 .seed = (uint64_t)i,
                                 .has_repeats = c->has_repeats,
                                 .world = wander};
        if (pool_run(p, f, &q, &x->t[i], &e) < 0)
            fail_msg("%s: %s", c->what, e.msg);
        x->all[i] = &x->t[i];
        x->name[i] = "episode";
        x->is_new[i] = true;
    }
    x->eps = (struct episodes){.traj = x->all,
                               .name = x->name,
                               .is_new = x->is_new,
                               .n = c->n_episodes,
                               .n_new = c->n_episodes};
}

static void drawn_free(struct drawn *x)
{
    for (int i = 0; i < MAX_EPISODES; i++)
        traj_free(&x->t[i]);
}

/* The whole gradient against central differences of the definition. The scorer's fp32 leaves an
 * error of about 1e-6 a score, hence in log pi and in the gradient; a ratio within that of the
 * clip's edge could fall on the other side, which no case does. */
static void gradient_is_the_slope_of_the_definition(void **state)
{
    (void)state;
    int64_t n_clipped = 0, n_free = 0;
    for (size_t i = 0; i < sizeof ppo_cases / sizeof *ppo_cases; i++) {
        const struct ppo_case *c = &ppo_cases[i];
        struct pool pool;
        struct drawn x;
        struct err e = ERR_INIT;
        pool_make(&pool, c->n, c->d, c->n_classes, i);
        struct policy *p = make(&pool.f, "ppo", c->parts, c->n_hidden);
        move(p, c->weight, i);
        draw(&x, c, p, &pool.f);
        const struct ppo_options o = {
            .clip = c->clip, .entropy = c->entropy, .ratio = c->ratio};
        const struct ppo *own = ppo_of(p);
        double A[MAX_EPISODES * MAX_STEPS], *g = mem_alloc((size_t)own->n_net, sizeof *g);
        double *net = mem_alloc((size_t)own->n_net, sizeof *net), old[1024];
        for (int k = 0; k < MAX_EPISODES * MAX_STEPS; k++)
            A[k] = k % 2 ? 0.3 + 0.1 * k : -1 - 0.1 * k;
        struct replay_sums sums;
        struct replay *q = replay_new(&pool.f, &x.eps, &e);
        if (!q || replay_run(q, p, A, &o, &sums, g, &e) < 0)
            fail_msg("%s: %s", c->what, e.msg);
        /* At the policy that drew the episodes every ratio is one. */
        assert_near(sums.kl, 0, 1e-9, c->what);
        assert_true(sums.n_clipped == 0);
        struct definition def = {.f = &pool.f,
                                 .p = p,
                                 .net = net,
                                 .o = &o,
                                 .A = A,
                                 .item_old = old,
                                 .is_old = true,
                                 .n_steps = c->n_episodes * c->n_steps};
        for (int64_t k = 0; k < own->n_net; k++)
            net[k] = (double)own->net[k];
        define_loss(&def, x.t, c->n_episodes);
        def.is_old = false;

        move(p, c->shift, 99);
        for (int64_t k = 0; k < own->n_net; k++)
            net[k] = (double)own->net[k];
        assert_int_equal(replay_run(q, p, A, &o, &sums, g, &e), 0);
        def.n_clipped = def.n_free = 0;
        double loss = define_loss(&def, x.t, c->n_episodes), norm = 0;
        n_clipped += def.n_clipped;
        n_free += def.n_free;
        assert_near(sums.policy_loss - o.entropy * sums.entropy, loss, 2e-5 * (1 + fabs(loss)),
                    c->what);
        for (int64_t k = 0; k < own->n_net; k++)
            norm = fmax(norm, fabs(g[k]));
        for (int64_t k = 0; k < own->n_net; k++) {
            const double h = 1e-5;
            double at = net[k];
            net[k] = at + h;
            double up = define_loss(&def, x.t, c->n_episodes);
            net[k] = at - h;
            double down = define_loss(&def, x.t, c->n_episodes);
            net[k] = at;
            char what[100];
            snprintf(what, sizeof what, "%s, parameter %lld", c->what, (long long)k);
            assert_near(g[k], (up - down) / (2 * h), 2e-5 * (1 + norm) * c->weight, what);
        }
        replay_free(q);
        free(g);
        free(net);
        drawn_free(&x);
        policy_free(p);
        pool_free(&pool);
    }
    assert_true(n_clipped > 5 && n_free > 100); /* both branches were seen */
}

static const char *const names[] = {"t1", "t2", "t3"};

static void threads_do_not_change_an_update(void **state)
{
    (void)state;
    static const struct ppo_case c = {.what = "threads",
                                      .n_episodes = 3,
                                      .n_steps = 6,
                                      .batch = 40,
                                      .tau = 1,
                                      .has_repeats = false};
    struct pool pool;
    struct drawn x;
    pool_make(&pool, 20000, 6, 3, 1);
    for (int learner = 0; learner < 2; learner++) {
        uint64_t id[3];
        struct learn_report m[3];
        for (int k = 0; k < 3; k++) {
            const int threads[] = {1, 2, 5};
            omp_set_num_threads(threads[k]);
            struct err e = ERR_INIT;
            struct policy *p = make(&pool.f, learners()[learner]->name, PART_PAPER, 32);
            draw(&x, &c, p, &pool.f);
            if (learn_update(p, &pool.f, x.t, names, 3, 3, NULL, &m[k], &e) < 0)
                fail_msg("%s", e.msg);
            id[k] = policy_id(p);
            drawn_free(&x);
            policy_free(p);
        }
        assert_true(id[0] == id[1] && id[0] == id[2]);
        for (int k = 1; k < 3; k++) {
            assert_int_equal(m[k].n_rows, learner ? 1 : 4);
            assert_memory_equal(m[0].values, m[k].values,
                                (size_t)(m[0].n_rows * m[0].n_names) * sizeof(double));
        }
        for (int k = 0; k < 3; k++)
            learn_report_free(&m[k]);
    }
    omp_set_num_threads(omp_get_num_procs());
    pool_free(&pool);
}

/* ---- critic, advantages, metrics of an update ---- */

/* gamma 0: the critic's returns are the rewards; two rewards alike have the same advantage.
 * With o = 0 the first epoch's policy loss is -mean A = 0, its entropy 1 (uniform), its
 * ratios 1. */
static void first_epoch_is_neutral(void **state)
{
    (void)state;
    static const struct ppo_case c = {
        .what = "neutral", .n_episodes = 2, .n_steps = 5, .batch = 8, .tau = 1};
    struct pool pool;
    struct drawn x;
    struct err e = ERR_INIT;
    struct learn_report r;
    pool_make(&pool, 300, 4, 2, 2);
    struct policy *p = make(&pool.f, "ppo", PART_PAPER, 8);
    draw(&x, &c, p, &pool.f);
    assert_int_equal(learn_update(p, &pool.f, x.t, names, 2, 2, NULL, &r, &e), 0);
    assert_int_equal(r.n_rows, 4);
    assert_int_equal(r.n_dropped, 0);
    assert_int_equal(policy_iteration(p), 1);
    assert_near(metric(&r, 0, "policy_loss"), 0, 1e-6, "policy loss");
    assert_near(metric(&r, 0, "entropy"), 1, 1e-6, "entropy");
    assert_near(metric(&r, 0, "kl"), 0, 1e-9, "kl");
    assert_near(metric(&r, 0, "loss"), -0.01, 1e-6, "loss");
    assert_true(metric(&r, 3, "loss") < metric(&r, 0, "loss") && metric(&r, 3, "kl") > 0);
    assert_true(metric(&r, 0, "iteration") == 1 && metric(&r, 3, "epoch") == 4);
    double gain = 0;
    for (int i = 0; i < 2; i++)
        gain += (x.t[i].perf[5] - x.t[i].perf[0]) / 2;
    assert_near(metric(&r, 0, "mean_return"), gain, 1e-12, "mean return");
    assert_near(r.mean_return, gain, 1e-12, "mean return");
    assert_true(isnan(metric(&r, 4, "loss")) && isnan(metric(&r, 0, "colour")));
    learn_report_free(&r);
    drawn_free(&x);
    policy_free(p);
    pool_free(&pool);
}

/* One reward a whole training run, or rewards all alike: nothing may blow up. */
static void rewards_without_spread_are_harmless(void **state)
{
    (void)state;
    struct pool pool;
    pool_make(&pool, 100, 4, 2, 3);
    for (int learner = 0; learner < 2; learner++)
        for (int64_t T = 1; T <= 3; T += 2) {
            const struct ppo_case c = {
                .what = "flat", .n_episodes = 1, .n_steps = T, .batch = 8, .tau = 1};
            struct drawn x;
            struct err e = ERR_INIT;
            struct learn_report r;
            struct policy *p = make(&pool.f, learners()[learner]->name, PART_PAPER, 8);
            draw(&x, &c, p, &pool.f);
            for (int64_t k = 1; k <= T; k++)
                x.t[0].perf[k] = x.t[0].perf[k - 1] + (T == 1 ? 0.25 : 0);
            if (learn_update(p, &pool.f, x.t, names, 1, 1, NULL, &r, &e) < 0)
                fail_msg("%s", e.msg);
            assert_true(metric(&r, 0, "reward_sd") > 0);
            assert_true(learner || isfinite(metric(&r, 0, "loss")));
            assert_true(learner || isfinite(metric(&r, 0, "grad_norm")));
            for (int64_t i = 0; i < p->state.n_static && learner; i++)
                assert_true(fabs(reward_model_of(p)->mu[i]) < 10);
            learn_report_free(&r);
            drawn_free(&x);
            policy_free(p);
        }
    pool_free(&pool);
}

static double climb(void *arg, const int64_t *picks, int64_t n, int64_t t, double perf)
{
    (void)picks;
    (void)n;
    (void)t;
    return perf + *(const double *)arg;
}

/* One episode whose rewards are all alike says nothing about a choice. 0.1 at a time, rounding
 * makes them unequal by some 1e-16; gamma 1 gives them returns that differ. */
static void equal_rewards_move_no_policy(void **state)
{
    (void)state;
    struct pool pool;
    pool_make(&pool, 100, 4, 2, 3);
    for (int gamma = 0; gamma < 2; gamma++)
        for (int k = 0; k < 2; k++) {
            struct traj t;
            struct err e = ERR_INIT;
            struct learn_report r;
            struct ppo_options o = PPO_OPTIONS_DEFAULTS;
            double rise = k ? 0.1 : 0.25;
            const struct pool_episode q = {.n_steps = 6,
                                           .batch = 8,
                                           .tau = 1,
                                           .perf_start = -2,
                                           .world = climb,
                                           .arg = &rise};
            struct policy *p = make(&pool.f, "ppo", PART_PAPER, 8);
            move(p, k ? 0.5 : 0, 4);
            size_t bytes = (size_t)ppo_of(p)->n_net * sizeof(float);
            float *net = mem_dup(ppo_of(p)->net, bytes);
            assert_int_equal(pool_run(p, &pool.f, &q, &t, &e), 0);
            o.gamma = gamma;
            assert_int_equal(learn_update(p, &pool.f, &t, names, 1, 1, &o, &r, &e), 0);
            assert_int_equal(r.n_rows, 4);
            assert_memory_equal(net, ppo_of(p)->net, bytes);
            assert_int_equal(policy_iteration(p), 1);
            assert_true(metric(&r, 3, "kl") < 1e-9);
            free(net);
            learn_report_free(&r);
            traj_free(&t);
            policy_free(p);
        }
    pool_free(&pool);
}

/* B = 1 and two classes: at each step one class has no pick, and the other's policy is uniform.
 * A class of one row is no choice either. */
static void entropy_counts_choices_only(void **state)
{
    (void)state;
    struct pool pool;
    for (int k = 0; k < 3; k++) {
        const struct ppo_case c = {.what = "choices",
                                   .n_episodes = 1,
                                   .n_steps = 3,
                                   .batch = k == 1 ? 2 : 1,
                                   .tau = 1};
        struct drawn x;
        struct err e = ERR_INIT;
        struct learn_report r;
        pool_make(&pool, k == 2 ? 1 : 30, 4, 2, 3);
        for (int64_t i = 0; i < pool.f.n; i++)
            pool.class_of[i] = k == 1 ? i > 0 : i % 2;
        struct policy *p = make(&pool.f, "ppo", PART_PAPER, 8);
        draw(&x, &c, p, &pool.f);
        assert_int_equal(learn_update(p, &pool.f, x.t, names, 1, 1, NULL, &r, &e), 0);
        if (k < 2)
            assert_near(metric(&r, 0, "entropy"), 1, 1e-6, "entropy");
        else
            assert_true(isnan(metric(&r, 0, "entropy")));
        learn_report_free(&r);
        drawn_free(&x);
        policy_free(p);
        pool_free(&pool);
    }
}

/* ---- what is refused, what is left out ---- */

static void refuse(struct policy *p, const struct features *f, struct traj *t, int64_t n_new,
                   int code, const char *want)
{
    struct err e = ERR_INIT;
    struct learn_report r;
    int rc = learn_update(p, f, t, names, 2, n_new, NULL, &r, &e);
    if (rc != code || strcmp(e.msg, want))
        fail_msg("expected %d, \"%s\"; got %d, \"%s\"", code, want, rc, e.msg);
    learn_report_free(&r);
}

static void mismatches_are_named(void **state)
{
    (void)state;
    static const struct ppo_case c = {
        .what = "mismatch", .n_episodes = 2, .n_steps = 3, .batch = 8, .tau = 1};
    struct pool pool, other;
    struct drawn x;
    pool_make(&pool, 100, 4, 2, 2);
    pool_make(&other, 100, 4, 2, 3);
    struct policy *p = make(&pool.f, "ppo", PART_PAPER, 8);
    move(p, 0.5, 1);
    draw(&x, &c, p, &pool.f);
    struct traj *t = &x.t[1];

    refuse(p, &other.f, x.t, 2, ERR_MISMATCH, "the policy was made for other features");
    t->features++;
    refuse(p, &pool.f, x.t, 1, ERR_MISMATCH, "t2: the trajectory was made with other features");
    t->features--;
    t->policy++;
    refuse(p, &pool.f, x.t, 2, ERR_MISMATCH,
           "t2: the trajectory was drawn from another policy");
    t->policy--;
    strcpy(t->mode, "greedy");
    refuse(p, &pool.f, x.t, 1, ERR_MISMATCH,
           "t2: a trajectory of mode \"greedy\" cannot be learned from");
    strcpy(t->mode, "sample");
    int64_t row = t->pick[3];
    t->pick[3] = 100;
    refuse(p, &pool.f, x.t, 2, ERR_MISMATCH, "t2: pick 3 is row 100 of 100");
    for (t->pick[3] = 0; pool.class_of[t->pick[3]] == pool.class_of[row];)
        t->pick[3]++;
    char *want =
        mem_printf("t2: step 1: row %d is in the list of another class", (int)t->pick[3]);
    refuse(p, &pool.f, x.t, 2, ERR_FORMAT, want);
    free(want);
    t->pick[3] = t->pick[2];
    want = mem_printf("t2: step 1: row %d is chosen twice", (int)t->pick[3]);
    refuse(p, &pool.f, x.t, 2, ERR_FORMAT, want);
    free(want);
    t->pick[3] = row;
    int64_t later = t->pick[8];
    t->pick[8] = t->pick[0];
    want = mem_printf("t2: step 2: row %d was used before", (int)t->pick[8]);
    refuse(p, &pool.f, x.t, 2, ERR_FORMAT, want);
    free(want);
    t->pick[8] = later;
    t->list_logp[1] -= 0.5;
    refuse(p, &pool.f, x.t, 2, ERR_MISMATCH,
           "t2: step 1: the lists' probabilities are not those of the policy that is said to "
           "have drawn them");
    t->list_logp[1] += 0.5;
    refuse(p, &pool.f, x.t, 0, ERR_EMPTY, "no episode to learn from");
    assert_int_equal(policy_iteration(p), 0);
    drawn_free(&x);
    policy_free(p);
    pool_free(&pool);
    pool_free(&other);
}

static void failed_episodes_are_left_out(void **state)
{
    (void)state;
    static const struct ppo_case c = {
        .what = "failed", .n_episodes = 3, .n_steps = 3, .batch = 8, .tau = 1};
    struct pool pool;
    struct drawn x, y;
    struct err e = ERR_INIT;
    struct learn_report r, want;
    pool_make(&pool, 100, 4, 2, 2);
    for (int learner = 0; learner < 2; learner++) {
        struct policy *p = make(&pool.f, learners()[learner]->name, PART_PAPER, 8);
        struct policy *q = make(&pool.f, learners()[learner]->name, PART_PAPER, 8);
        draw(&x, &c, p, &pool.f);
        draw(&y, &c, p, &pool.f);
        x.t[0].perf[2] = (double)NAN;
        strcpy(x.t[2].status, "step 3: the loss is not finite");
        assert_int_equal(learn_update(p, &pool.f, x.t, names, 3, 3, NULL, &r, &e), 0);
        assert_int_equal(r.n_dropped, 2);
        assert_int_equal(learn_update(q, &pool.f, y.t + 1, names, 1, 1, NULL, &want, &e), 0);
        assert_int_equal(want.n_rows, r.n_rows);
        learn_report_free(&r);
        learn_report_free(&want);
        assert_int_equal(policy_id(p), policy_id(q));
        policy_free(p);
        p = make(&pool.f, learners()[learner]->name, PART_PAPER, 8);
        x.t[1].perf[1] = (double)INFINITY;
        uint64_t was = policy_id(p);
        assert_int_equal(learn_update(p, &pool.f, x.t, names, 3, 3, NULL, &r, &e), 0);
        assert_true(r.is_unchanged);
        assert_int_equal(r.n_dropped, 3);
        assert_int_equal(r.n_rows, 0);
        assert_true(policy_id(p) == was);
        assert_int_equal(policy_iteration(p), 0);
        learn_report_free(&r);
        drawn_free(&x);
        drawn_free(&y);
        policy_free(p);
        policy_free(q);
    }
    pool_free(&pool);
}

/* Two episodes of two targets, models, ... must not teach one policy; which, is said. */
static void rewards_that_cannot_be_compared_are_refused(void **state)
{
    (void)state;
    static const struct ppo_case c = {
        .what = "mixed", .n_episodes = 2, .n_steps = 3, .batch = 8, .tau = 1};
    struct pool pool;
    struct drawn x;
    pool_make(&pool, 100, 4, 2, 2);
    for (int learner = 0; learner < 2; learner++) {
        struct policy *p = make(&pool.f, learners()[learner]->name, PART_PAPER, 8);
        draw(&x, &c, p, &pool.f);
        struct {
            uint64_t *first, *second;
            const char *what;
            bool is_none; /* 0 means none */
        } bound[] = {
            {&x.t[0].dataset, &x.t[1].dataset, "datasets", false},
            {&x.t[0].model, &x.t[1].model, "models", false},
            {&x.t[0].adapter, &x.t[1].adapter, "adapters", true},
            {&x.t[0].validation, &x.t[1].validation, "validation sets", false},
            {&x.t[0].encoding, &x.t[1].encoding, "encodings of the validation set", false}};
        for (size_t i = 0; i < sizeof bound / sizeof *bound; i++) {
            char *want =
                mem_printf("t1 and t2: of different %s%s: their rewards cannot be compared",
                           bound[i].what, i == 4 ? " (template, tokens, length)" : "");
            struct learn_report r;
            struct err e = ERR_INIT;
            *bound[i].first = 1;
            *bound[i].second = 2;
            refuse(p, &pool.f, x.t, 2, ERR_MISMATCH, want);
            *bound[i].second = 0; /* not told, or none */
            if (bound[i].is_none) {
                refuse(p, &pool.f, x.t, 2, ERR_MISMATCH, want);
            } else {
                struct policy *q = make(&pool.f, learners()[learner]->name, PART_PAPER, 8);
                assert_int_equal(learn_update(q, &pool.f, x.t, names, 2, 2, NULL, &r, &e), 0);
                learn_report_free(&r);
                policy_free(q);
            }
            *bound[i].first = 0;
            free(want);
        }
        drawn_free(&x);
        policy_free(p);
    }
    pool_free(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradient_is_the_slope_of_the_definition),
        cmocka_unit_test(threads_do_not_change_an_update),
        cmocka_unit_test(first_epoch_is_neutral),
        cmocka_unit_test(rewards_without_spread_are_harmless),
        cmocka_unit_test(equal_rewards_move_no_policy),
        cmocka_unit_test(entropy_counts_choices_only),
        cmocka_unit_test(mismatches_are_named),
        cmocka_unit_test(failed_episodes_are_left_out),
        cmocka_unit_test(rewards_that_cannot_be_compared_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
