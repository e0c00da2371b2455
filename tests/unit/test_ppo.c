/* SPDX-License-Identifier: MIT
 * learn/learn_ppo: whole updates against a computation of their own in double: scales of the
 * rewards, critic, advantages, ratios of all three kinds, entropy, clipping, Adam. Nothing here
 * is shared with the program but phi and the trajectories. */
#include "base/opt.h"
#include "learn/learn_ppo.h"
#include "pool.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { N = 70, D = 3, C = 2, HIDDEN = 5, T = 7, B = 8, EPISODES = 4, MAX_NET = 200 };

static void assert_near(double got, double want, double tolerance, const char *what, int64_t i)
{
    if (!(fabs(got - want) <= tolerance))
        fail_msg("%s %lld: %.17g, not %.17g", what, (long long)i, got, want);
}

/* Rewards fall from step to step, depend on what was picked, and wander. */
static double world(void *arg, const int64_t *picks, int64_t n, int64_t t, double perf)
{
    const struct features *f = arg;
    double share = 0;
    for (int64_t i = 0; i < n; i++)
        share += (double)f->embedding[picks[i] * f->dim] / (double)n;
    return perf + 0.3 / (double)(t + 1) + share + 0.02 * sin((double)(picks[0] + 5 * t));
}

/* The learner as the test keeps it: all in double. */
struct reference {
    const struct features *f;
    const struct policy *p; /* phi only */
    const struct ppo_options *o;
    int64_t n_in, n_net, n_adam;
    double net[MAX_NET], m[MAX_NET], v[MAX_NET], critic[6];
    double advantage[EPISODES * T];
    double item_old[EPISODES * T * B]; /* log pi of each pick when it was drawn */
};

/* ---- rewards, critic, advantages ---- */

static double reward(const struct traj *t, int64_t k)
{
    return t->perf[k + 1] - t->perf[k];
}

static double sd_of_rewards(const struct traj *t, int64_t n)
{
    double mean = 0, square = 0;
    for (int64_t i = 0; i < n * T; i++)
        mean += reward(&t[i / T], i % T) / (double)(n * T);
    for (int64_t i = 0; i < n * T; i++)
        square += pow(reward(&t[i / T], i % T) - mean, 2);
    return sqrt(square / (double)(n * T));
}

static void terms(const struct traj *t, int64_t k, double sd, double x[6])
{
    double u2 = 2.0 * (double)k / T - 1;
    x[0] = 1;
    x[1] = u2;
    x[2] = u2 * u2;
    x[3] = 5 * (t->perf[k] - t->perf[0]) / fabs(t->perf[0]);
    x[4] = k > 0 ? reward(t, k - 1) / sd : 0;
    x[5] = k > 1 ? reward(t, k - 2) / sd : 0;
}

static double discounted(const struct traj *t, int64_t k, double sd, double gamma)
{
    double sum = 0;
    for (int64_t l = k; l < T; l++)
        sum += pow(gamma, (double)(l - k)) * reward(t, l) / sd;
    return sum;
}

/* Gauss-Jordan with pivots: A x = b, 6 x 6. */
static void solve(double A[6][6], double b[6])
{
    for (int k = 0; k < 6; k++) {
        int top = k;
        for (int i = k; i < 6; i++)
            top = fabs(A[i][k]) > fabs(A[top][k]) ? i : top;
        for (int j = 0; j < 6; j++) {
            double x = A[k][j];
            A[k][j] = A[top][j];
            A[top][j] = x;
        }
        double y = b[k];
        b[k] = b[top];
        b[top] = y;
        for (int i = 0; i < 6; i++) {
            double s = A[i][k] / A[k][k];
            for (int j = 0; j < 6 && i != k; j++)
                A[i][j] -= s * A[k][j];
            b[i] -= i != k ? s * b[k] : 0;
        }
    }
    for (int k = 0; k < 6; k++)
        b[k] /= A[k][k];
}

/* Returns the explained share of the returns' variance. */
static double fit_critic(struct reference *x, const struct traj *t, int64_t n)
{
    double A[6][6] = {{0}}, b[6] = {0}, sd = sd_of_rewards(t, n), mean = 0, var = 0, sse = 0;
    for (int64_t i = 0; i < n * T; i++) {
        double at[6], G = discounted(&t[i / T], i % T, sd, x->o->gamma);
        terms(&t[i / T], i % T, sd, at);
        for (int p = 0; p < 6; p++) {
            for (int q = 0; q < 6; q++)
                A[p][q] += at[p] * at[q];
            b[p] += at[p] * G;
        }
        mean += G / (double)(n * T);
    }
    for (int p = 0; p < 6; p++)
        A[p][p] += p ? 1 : 1e-6;
    solve(A, b);
    memcpy(x->critic, b, sizeof b);
    for (int64_t i = 0; i < n * T; i++) {
        double at[6], G = discounted(&t[i / T], i % T, sd, x->o->gamma), V = 0;
        terms(&t[i / T], i % T, sd, at);
        for (int p = 0; p < 6; p++)
            V += b[p] * at[p];
        var += (G - mean) * (G - mean);
        sse += (G - V) * (G - V);
    }
    return 1 - sse / var;
}

static double value(const struct reference *x, const struct traj *t, int64_t k, double sd)
{
    double at[6], V = 0;
    if (k == T)
        return 0;
    terms(t, k, sd, at);
    for (int p = 0; p < 6; p++)
        V += x->critic[p] * at[p];
    return V;
}

/* A_t = sum_l (gamma lambda)^l delta_{t+l} of the last n_new episodes, centred and scaled. */
static void fit_advantages(struct reference *x, const struct traj *t, int64_t n, int64_t n_new)
{
    double gamma = x->o->gamma, lambda = x->o->lambda, sd = sd_of_rewards(t, n);
    double mean = 0, square = 0;
    for (int64_t i = 0; i < n_new * T; i++) {
        const struct traj *e = &t[n - n_new + i / T];
        x->advantage[i] = 0;
        for (int64_t l = i % T; l < T; l++) {
            double delta =
                reward(e, l) / sd + gamma * value(x, e, l + 1, sd) - value(x, e, l, sd);
            x->advantage[i] += pow(gamma * lambda, (double)(l - i % T)) * delta;
        }
        mean += x->advantage[i] / (double)(n_new * T);
    }
    for (int64_t i = 0; i < n_new * T; i++)
        square += pow(x->advantage[i] - mean, 2) / (double)(n_new * T);
    for (int64_t i = 0; i < n_new * T; i++)
        x->advantage[i] = (x->advantage[i] - mean) / (sqrt(square) + 1e-6);
}

/* ---- the loss and its gradient, pick by pick ---- */

/* What a step of an episode looks like. */
struct moment {
    double in[N][D + 7], hidden[N][HIDDEN], z[N];
    bool is_open[N];
};

static void look(const struct reference *x, const struct traj *t, int64_t k, struct moment *m)
{
    int64_t from = t->list_offset[k * C];
    const double *b = x->net + HIDDEN * x->n_in, *o = b + HIDDEN;
    double at[6];
    terms(t, k, 1, at);
    for (int64_t i = 0; i < N; i++) {
        float phi[4 + D];
        double *in = m->in[i];
        state_row(&x->p->state, x->f, i, phi);
        in[0] = at[3];
        in[1] = at[1];
        for (int j = 0; j < 4 + D; j++)
            in[2 + j] = (double)phi[j];
        in[6 + D] = 0;
        for (int64_t l = 0; l < from; l++)
            in[6 + D] += t->pick[l] == i;
        m->is_open[i] = in[6 + D] == 0; /* no case clears the mask */
        m->z[i] = 0;
        for (int h = 0; h < HIDDEN; h++) {
            double a = b[h];
            for (int64_t j = 0; j < x->n_in; j++)
                a += x->net[h * x->n_in + j] * in[j];
            m->hidden[i][h] = tanh(a);
            m->z[i] += o[h] * m->hidden[i][h] / t->tau;
        }
    }
}

/* log pi of pick l, d log pi / d z added to dz by `weight`; who is left is in is_left. */
static double log_pi(const struct moment *m, const bool *is_left, int64_t row, double weight,
                     double *dz)
{
    double sum = 0;
    for (int64_t i = 0; i < N; i++)
        sum += is_left[i] ? exp(m->z[i]) : 0;
    for (int64_t i = 0; i < N; i++)
        dz[i] += is_left[i] ? weight * ((i == row) - exp(m->z[i]) / sum) : 0;
    return m->z[row] - log(sum);
}

struct sums {
    double policy_loss, entropy, kl, n_clipped, n_ratios;
};

/* min(rho A, clip(rho) A), its slope in log rho. */
static double surrogate(const struct ppo_options *o, double log_rho, double A, double *slope,
                        struct sums *s)
{
    double rho = exp(log_rho), clipped = fmin(fmax(rho, 1 - o->clip), 1 + o->clip);
    s->kl += rho - 1 - log_rho;
    s->n_clipped += clipped != rho;
    s->n_ratios++;
    *slope = rho * A <= clipped * A ? rho * A : 0;
    return fmin(rho * A, clipped * A);
}

/* One class at one step: its share of the loss, and of d loss / d z. old: log pi of its picks
 * when they were drawn. */
static void add_list(const struct reference *x, const struct moment *m, const struct traj *t,
                     int64_t list, double A, const double *old, double *dz, struct sums *s)
{
    int64_t from = t->list_offset[list], b = t->list_offset[list + 1] - from;
    double lp[B], weight[B], sum = 0, sum_old = 0, slope, mass = 0, H = 0, n = 0;
    bool is_left[N];
    double unused[N] = {0};
    if (!b)
        return;
    for (int64_t i = 0; i < N; i++) {
        is_left[i] = m->is_open[i] && x->f->class_of[i] == list % C;
        mass += is_left[i] ? exp(m->z[i]) : 0;
        n += is_left[i];
    }
    for (int64_t i = 0; i < N; i++)
        H -= is_left[i] ? exp(m->z[i]) / mass * log(exp(m->z[i]) / mass) : 0;
    for (int64_t i = 0; i < N; i++)
        if (is_left[i])
            dz[i] +=
                x->o->entropy / log(n) * exp(m->z[i]) / mass * (log(exp(m->z[i]) / mass) + H);
    s->entropy += H / log(n);
    for (int64_t l = 0; l < b; l++) {
        lp[l] = log_pi(m, is_left, t->pick[from + l], 0, unused);
        is_left[t->pick[from + l]] = false;
        sum += lp[l];
        sum_old += old[l];
    }
    if (x->o->ratio == RATIO_ITEM) {
        for (int64_t l = 0; l < b; l++) {
            s->policy_loss -= surrogate(x->o, lp[l] - old[l], A, &slope, s) / (double)b;
            weight[l] = -slope / (double)b;
        }
    } else {
        double per = x->o->ratio == RATIO_MEAN ? (double)b : 1;
        s->policy_loss -= surrogate(x->o, (sum - sum_old) / per, A, &slope, s);
        for (int64_t l = 0; l < b; l++)
            weight[l] = -slope / per;
    }
    for (int64_t l = 0; l < b; l++)
        is_left[t->pick[from + l]] = true;
    for (int64_t l = 0; l < b; l++) {
        log_pi(m, is_left, t->pick[from + l], weight[l], dz);
        is_left[t->pick[from + l]] = false;
    }
}

static void backward(const struct reference *x, const struct moment *m, double tau,
                     const double *dz, double *g)
{
    const double *o = x->net + HIDDEN * x->n_in + HIDDEN;
    double *gb = g + HIDDEN * x->n_in, *go = gb + HIDDEN;
    for (int64_t i = 0; i < N; i++)
        for (int h = 0; h < HIDDEN; h++) {
            double dF = dz[i] / tau, y = m->hidden[i][h], da = dF * o[h] * (1 - y * y);
            for (int64_t j = 0; j < x->n_in; j++)
                g[h * x->n_in + j] += da * m->in[i][j];
            gb[h] += da;
            go[h] += dF * y;
        }
}

/* Every step of the new episodes. is_drawn: keeps the log-probabilities as the old ones. */
static struct sums define(struct reference *x, const struct traj *t, int64_t n, double *g,
                          bool is_drawn)
{
    static struct moment m;
    struct sums s = {0};
    memset(g, 0, MAX_NET * sizeof *g);
    for (int64_t e = 0, at = 0; e < n; e++)
        for (int64_t k = 0; k < T; k++) {
            double dz[N] = {0}, unused[N] = {0};
            look(x, &t[e], k, &m);
            for (int64_t c = 0; c < C; c++) {
                int64_t list = k * C + c, from = t[e].list_offset[list];
                int64_t b = t[e].list_offset[list + 1] - from;
                bool is_left[N];
                for (int64_t i = 0; i < N; i++)
                    is_left[i] = m.is_open[i] && x->f->class_of[i] == c;
                for (int64_t l = 0; l < b && is_drawn; l++) {
                    x->item_old[at + l] = log_pi(&m, is_left, t[e].pick[from + l], 0, unused);
                    is_left[t[e].pick[from + l]] = false;
                }
                if (!is_drawn)
                    add_list(x, &m, &t[e], list, x->advantage[e * T + k], x->item_old + at, dz,
                             &s);
                at += b;
            }
            for (int64_t i = 0; i < N; i++)
                dz[i] /= (double)(C * n * T);
            backward(x, &m, t[e].tau, dz, g);
        }
    s.policy_loss /= (double)(C * n * T);
    s.entropy /= (double)(C * n * T);
    return s;
}

static double step_of_adam(struct reference *x, const double *g)
{
    double norm = 0, scale = 1;
    for (int64_t i = 0; i < x->n_net; i++)
        norm += g[i] * g[i];
    norm = sqrt(norm);
    if (x->o->grad_clip > 0)
        scale = fmin(1, x->o->grad_clip / norm);
    x->n_adam++;
    for (int64_t i = 0; i < x->n_net; i++) {
        double d = scale * g[i];
        x->m[i] = 0.9 * x->m[i] + 0.1 * d;
        x->v[i] = 0.99 * x->v[i] + 0.01 * d * d;
        double m = x->m[i] / (1 - pow(0.9, (double)x->n_adam));
        double v = x->v[i] / (1 - pow(0.99, (double)x->n_adam));
        x->net[i] -= x->o->lr * m / (sqrt(v) + 1e-8);
    }
    return norm;
}

/* ---- both, side by side ---- */

static void compare(const struct reference *x, const struct policy *p, const char *what)
{
    const struct ppo *own = ppo_of(p);
    double m = 0, v = 0;
    for (int64_t i = 0; i < x->n_net; i++) {
        m = fmax(m, fabs(x->m[i]));
        v = fmax(v, x->v[i]);
    }
    for (int k = 0; k < 6; k++)
        assert_near(own->critic[k], x->critic[k], 1e-6 * (1 + fabs(x->critic[k])), what, k);
    for (int64_t i = 0; i < x->n_net; i++) {
        assert_near((double)own->adam_m[i], x->m[i], 1e-4 * m, what, i);
        assert_near((double)own->adam_v[i], x->v[i], 1e-4 * v, what, i);
        /* Where a gradient is near zero Adam's step is of any size up to the rate. */
        assert_near((double)own->net[i], x->net[i], 1e-6 + 0.02 * x->o->lr, what, i);
    }
}

static void update(struct reference *x, struct policy *p, const struct traj *t, int64_t n,
                   int64_t n_new, const char *what)
{
    static const char *const names[] = {"t1", "t2", "t3", "t4"};
    struct learn_report r;
    struct err e = ERR_INIT;
    double g[MAX_NET];
    if (learn_update(p, x->f, t, names, n, n_new, x->o, &r, &e) < 0)
        fail_msg("%s: %s", what, e.msg);
    double explained = fit_critic(x, t, n);
    fit_advantages(x, t, n, n_new);
    define(x, t + n - n_new, n_new, g, true);
    assert_int_equal(r.n_rows, x->o->n_epochs);
    for (int64_t k = 0; k < x->o->n_epochs; k++) {
        struct sums s = define(x, t + n - n_new, n_new, g, false);
        double norm = step_of_adam(x, g);
        const double want[] = {s.policy_loss, s.entropy, s.kl / s.n_ratios,
                               norm,          explained, s.n_clipped / s.n_ratios};
        const char *const of[] = {"policy_loss",        "entropy",      "kl", "grad_norm",
                                  "explained_variance", "clip_fraction"};
        const double tolerance[] = {3e-4, 3e-4, 3e-4, 3e-4, 1e-6, 0.03};
        for (int i = 0; i < 6; i++)
            assert_near(learn_report_value(&r, k, of[i]), want[i],
                        tolerance[i] * (1 + fabs(want[i])), of[i], k);
    }
    compare(x, p, what);
    learn_report_free(&r);
}

static void draw(const struct policy *p, struct pool *pool, struct traj *t, uint64_t seed)
{
    struct err e = ERR_INIT;
    struct pool_episode q = {.n_steps = T,
                             .batch = B,
                             .tau = 0.8,
                             .perf_start = -2,
                             .seed = seed,
                             .world = world,
                             .arg = &pool->f};
    if (pool_run(p, &pool->f, &q, t, &e) < 0)
        fail_msg("%s", e.msg);
}

/* Two updates: of two episodes, and of one more with the first two for the critic. */
static void check_updates(const struct ppo_options *o, const char *what)
{
    static struct reference x;
    struct pool pool;
    struct traj t[EPISODES];
    struct err e = ERR_INIT;
    struct rng r;
    pool_make(&pool, N, D, C, 21);
    struct policy *p = pool_policy(&pool.f, "ppo", PART_PAPER, HIDDEN, &e);
    assert_non_null(p);
    struct ppo *own = ppo_of(p);
    rng_init(&r, 3, 1);
    for (int64_t i = HIDDEN * own->n_in; i < own->n_net; i++)
        own->net[i] = (float)(0.8 * rng_normal(&r));
    x = (struct reference){
        .f = &pool.f, .p = p, .o = o, .n_in = own->n_in, .n_net = own->n_net};
    for (int64_t i = 0; i < x.n_net; i++)
        x.net[i] = (double)own->net[i];
    draw(p, &pool, &t[0], 1);
    draw(p, &pool, &t[1], 2);
    update(&x, p, t, 2, 2, what);
    draw(p, &pool, &t[2], 3);
    update(&x, p, t, 3, 1, what);
    for (int i = 0; i < 3; i++)
        traj_free(&t[i]);
    policy_free(p);
    pool_free(&pool);
}

/* Every term counts: discount, lambda, a clip that most ratios of later epochs reach, a
 * gradient that is always clipped. */
static void updates_are_their_definition(void **state)
{
    (void)state;
    const enum ppo_ratio ratios[] = {RATIO_MEAN, RATIO_CLASS, RATIO_ITEM};
    for (int i = 0; i < 3; i++) {
        struct ppo_options o = PPO_OPTIONS_DEFAULTS;
        o.baseline = BASELINE_RIDGE;
        o.gamma = 0.9;
        o.lambda = 0.8;
        o.ratio = (int)ratios[i];
        o.clip = 0.05;
        o.entropy = 0.1;
        o.grad_clip = 0.05;
        o.n_epochs = 5;
        check_updates(&o, i == 0 ? "mean" : i == 1 ? "class" : "item");
        o = (struct ppo_options)PPO_OPTIONS_DEFAULTS;
        o.baseline = BASELINE_RIDGE;
        o.ratio = (int)ratios[i];
        check_updates(&o, "defaults");
    }
}

/* The preset, as raise-ppo applies it, is the paper's. */
static void updates_under_the_papers_settings(void **state)
{
    (void)state;
    struct ppo_options o = PPO_OPTIONS_DEFAULTS;
    struct err e = ERR_INIT;
    const struct learner *l = learner_find("ppo");
    for (const struct learner_setting *s = l->paper; s->option; s++) {
        const struct opt *row = l->options;
        while (row->type != OPT_END && strcmp(row->name, s->option) != 0)
            row++;
        assert_int_equal(opt_set(row, &o, s->value, &e), 0);
    }
    assert_true(o.lr == 3e-4 && o.gamma == 0.99 && o.lambda == 0.95 && o.ratio == RATIO_CLASS);
    assert_true(o.clip == 0.2 && o.n_epochs == 4 && o.grad_clip == 1 && o.entropy == 0.01);
    check_updates(&o, "paper");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(updates_are_their_definition),
        cmocka_unit_test(updates_under_the_papers_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
