/* SPDX-License-Identifier: MIT
 * raise-rollout: one episode: choose, train, measure, T times; writes its trajectory.
 *
 * All checks that need no training come first: do the files belong together, does validation
 * or test share a record with the pool, does it fit into memory. What the options ask for
 * besides (adapter, model, metrics) is written before the trajectory, so that a trajectory is
 * the sign that the rest is there too. */
#include "base/cpu.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/text.h"
#include "rollout.h"
#include "stream/model_path.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const schedule_names[] = {"constant", "linear", "cosine", NULL};
static const char *const overlong_names[] = {"cut", "fail", NULL};

#define O(field) offsetof(struct rollout_options, field)
static const struct opt table[] = {
    {0, NULL, OPT_HEADING, 0, NULL, "Input", 0, 0, NULL},
    {'f', "features", OPT_STRING, O(features), "FILE", "features, with classes", 0, 0, NULL},
    {'p', "policy", OPT_STRING, O(policy), "FILE", "the policy that chooses", 0, 0, NULL},
    {0, "plan", OPT_STRING, O(plan), "FILE", "train on a fixed plan instead", 0, 0, NULL},
    SESSION_MODEL_ROWS(struct rollout_options, session),
    {'d', "data", OPT_PATHS, O(data), "FILE", "the dataset of the features", 0, 0, NULL},
    {0, "val", OPT_PATHS, O(validation), "FILE", "validation set: the target", 0, 0, NULL},
    {0, "val-limit", OPT_INT, O(val_limit), "N", "use a seeded sample of N; 0: all", 0, 1e15,
     NULL},
    {0, "test", OPT_PATHS, O(test), "FILE", "test set, measured before and after", 0, 0, NULL},
    {0, "test-limit", OPT_INT, O(test_limit), "N", "use the first N; 0: all", 0, 1e15, NULL},
    SESSION_ENCODING_ROWS(struct rollout_options, session, overlong_names),
    SESSION_ON_ERROR_ROW(struct rollout_options, records),
    {0, NULL, OPT_HEADING, 0, NULL, "Choice", 0, 0, NULL},
    {'T', "steps", OPT_INT, O(n_steps), "N", "steps; 0: the plan's, else 10", 0, 1e9, NULL},
    {'b', "batch", OPT_INT, O(batch), "N", "records a step", 1, 1e6, NULL},
    {0, "tau", OPT_REAL, O(tau), "X", "temperature of the draw", 1e-6, 1e6, NULL},
    {0, "deploy", OPT_FLAG, O(is_deployed), NULL,
     "the policy as learned: its best records, shuffled", 0, 0, NULL},
    {0, "draw", OPT_FLAG, O(is_drawn), NULL, "with --deploy: drawn, step by step", 0, 0, NULL},
    {0, "greedy", OPT_FLAG, O(is_greedy), NULL, "the highest scores, no draw", 0, 0, NULL},
    {0, "repeats", OPT_FLAG, O(has_repeats), NULL, "records may be chosen again", 0, 0, NULL},
    {'e', "episode", OPT_INT, O(episode), "K", "number of the episode: its random numbers", 0,
     1e15, NULL},
    {'k', NULL, OPT_INT, O(episode), "K", NULL, 0, 1e15, NULL},
    {0, NULL, OPT_HEADING, 0, NULL, "Training", 0, 0, NULL},
    {0, "lr", OPT_REAL, O(lr), "X", "learning rate", 0, 1e30, NULL},
    {0, "warmup", OPT_INT, O(n_warmup), "N", "steps of linear warm-up; -1: a third", -1, 1e9,
     NULL},
    {0, "schedule", OPT_CHOICE, O(schedule), "HOW", "after the warm-up", 0, 0, schedule_names},
    {0, "lora-rank", OPT_INT, O(lora_rank), "R", "rank of the adapters", 1, 4096, NULL},
    {0, "lora-alpha", OPT_REAL, O(lora_alpha), "X", "their scale; 0: twice the rank", 0, 1e6,
     NULL},
    {0, "lora-targets", OPT_STRING, O(lora_targets), "LIST", "of q,k,v,o,gate,up,down; or all",
     0, 0, NULL},
    {0, "full", OPT_FLAG, O(is_full), NULL, "tune all weights, no adapters", 0, 0, NULL},
    {0, "weight-decay", OPT_REAL, O(weight_decay), "X", "AdamW's, of matrices", 0, 1e3, NULL},
    {0, "clip", OPT_REAL, O(clip), "X", "largest gradient norm; 0: any", 0, 1e9, NULL},
    SESSION_DEVICE_ROWS(struct rollout_options, session, "micro-batch",
                        "4096 on a CPU, 16384 on a GPU"),
    {0, "recompute", OPT_FLAG, O(has_recompute), NULL, "less memory, a third more work", 0, 0,
     NULL},
    {0, NULL, OPT_HEADING, 0, NULL, "Output", 0, 0, NULL},
    {0, "show", OPT_INT, O(n_shown), "N", "print N records as the model sees them, and exit", 0,
     1e9, NULL},
    {0, "checkpoint", OPT_STRING, O(checkpoint), "EVERY",
     "keep OUT.checkpoint every N steps, or seconds: 600s", 0, 0, NULL},
    {0, "untrained", OPT_PLACE, O(untrained), "FILE",
     "losses before the first step, kept for other episodes", 0, 0, NULL},
    {0, "metrics", OPT_PLACE, O(metrics), "FILE", "a row a step: CSV, or .jsonl", 0, 0, NULL},
    {0, "save-adapter", OPT_PLACE, O(adapter_dir), "DIR", "write the adapter (PEFT)", 0, 0,
     NULL},
    {0, "base-name", OPT_STRING, O(base_name), "NAME",
     "the adapter's base_model_name_or_path; else -m as given", 0, 0, NULL},
    {0, "save-model", OPT_PLACE, O(model_dir), "DIR", "write the model (Hugging Face)", 0, 0,
     NULL},
    {0, NULL, OPT_END, 0, NULL, NULL, 0, 0, NULL},
};

static bool words(const char *option, struct buf *b)
{
    if (option && !strcmp(option, "lora-targets"))
        buf_puts(b, " all q k v o gate up down");
    return session_words(option, b);
}

static const struct opt_spec spec = {
    .program = "raise-rollout",
    .usage = "-f FEATURES -p POLICY -m MODEL -d DATASET --val VALIDATION\n"
             "                     [options]\n"
             "       raise-rollout --show N -m MODEL -d DATASET [--template NAME]",
    .summary = "An episode of fine-tuning on what a policy chooses; writes its trajectory.",
    .common = "otusp",
    .common_offset = O(common),
    .table = table,
    .min_args = 0,
    .max_args = 0,
    .words = words,
    .input =
        "It reads features and the dataset that they were made of, a policy (raise-ppo) or a "
        "plan (raise-plan), the model that is trained, and validation records, in any layout "
        "of raise-data(5), whose loss says what a step was worth.",
    .examples = "raise-rollout -f features.st.zst -p policy.0.st.zst -m MODEL \\\n"
                "    -d data.jsonl --val val.jsonl -o traj.1.st.zst\n"
                "raise-rollout --show 2 -m MODEL -d data.jsonl",
};

/* ---- memory and model ---- */

static struct lm_options model_options(const struct rollout *r)
{
    const struct rollout_options *o = r->o;
    struct lm_options lo = session_lm_options(&r->s, episode_longest(&r->in, r->s.max_len));
    lo.recompute = o->has_recompute;
    lo.tuning = o->is_full ? LM_TUNE_FULL : LM_TUNE_LORA;
    lo.lora_rank = o->lora_rank;
    lo.lora_alpha = o->lora_alpha > 0 ? o->lora_alpha : 2 * (double)o->lora_rank;
    lo.lora_targets = o->targets;
    lo.seed = o->common.seed;
    lo.weight_decay = o->weight_decay;
    lo.clip = o->clip;
    lo.is_saved = o->model_dir != NULL;
    return lo;
}

static int open_model(struct rollout *r, struct err *e)
{
    const struct rollout_options *o = r->o;
    struct lm_options lo = model_options(r);
    int rc = session_open(
        &r->s, &lo, &(struct session_need){"--micro-batch", "choice", r->in.features.n * 12},
        e);
    if (rc)
        return rc;
    if (r->in.features.model && r->in.features.model != lm_hash(r->s.lm))
        log_detail("%s: made by another model than %s", o->features, o->session.model);
    return 0;
}

static int measure_test_first(struct rollout *r, struct err *e)
{
    const double *known = untrained_find(&r->untrained, r->test_key);
    int rc = known ? 0 : episode_set_loss(r->s.lm, &r->in.test, &r->test_before, e);
    if (known)
        r->test_before = *known;
    else if (!rc)
        rollout_keep_untrained(r, r->test_key, r->test_before);
    return rc;
}

/* ---- the work ---- */

static void on_step(void *arg, const struct episode_step *s)
{
    struct rollout *r = arg;
    r->n_tokens += (double)s->n_tokens;
    r->train_seconds += s->seconds;
    session_watch(&r->s);
    r->work = r->worked + rollout_work_left(r, s->t + 1);
    log_bar_set(&r->bar, (double)s->t);
    log_detail("step %" PRId64 ": train %.4f, validation %.4f, reward %+.4f, %.1f s", s->t,
               s->train_loss, s->val_loss, s->reward, s->seconds);
    r->last = *s;
    if (!s->t)
        rollout_keep_untrained(r, r->val_key, s->val_loss);
    if (s->t < s->n_steps)
        episode_metrics_put(r->metrics, s, s->t ? (double)NAN : r->test_before);
}

static void describe_episode(struct rollout *r)
{
    const struct rollout_options *o = r->o;
    struct episode *k = &r->episode;
    k->lm = r->s.lm;
    k->tok = r->s.tok;
    k->tmpl = r->s.tmpl;
    k->max_len = r->s.max_len;
    k->is_cut = !o->session.overlong;
    k->pool = &r->in.pool;
    k->features = &r->in.features;
    k->record_of = r->in.record_of;
    k->policy = r->in.policy;
    k->plan = o->plan ? &r->in.plan : NULL;
    k->validation = &r->in.validation;
    r->val_key = rollout_untrained_key(r, &r->in.validation);
    r->test_key = o->test ? rollout_untrained_key(r, &r->in.test) : 0;
    k->untrained = untrained_find(&r->untrained, r->val_key);
    k->batch = o->batch;
    k->tau = o->tau;
    k->is_greedy = o->is_greedy;
    k->is_deployed = o->is_deployed;
    k->is_drawn = o->is_drawn;
    k->has_repeats = o->has_repeats;
    k->lr = o->lr;
    k->schedule = (enum lm_schedule)o->schedule;
    k->seed = rng_hash(o->common.seed, (uint64_t)o->episode, 0, 0);
    k->on_step = on_step;
    k->arg = r;
    rollout_keep_checkpoints(r);
}

static void say_quotas(const struct rollout *r)
{
    const struct features *f = &r->in.features;
    int64_t *size = mem_zalloc((size_t)f->n_classes, sizeof *size);
    for (int64_t i = 0; i < f->n; i++)
        size[f->class_of[i]]++;
    char *text = select_quotas_text(size, f->n_classes, r->o->batch);
    log_note("%s", text);
    free(text);
    free(size);
}

static int run_episode(struct rollout *r, struct err *e)
{
    const char *test = r->o->test;
    describe_episode(r);
    if (episode_has_quotas(&r->episode))
        say_quotas(r);
    rollout_begin_progress(r);
    int rc = test ? measure_test_first(r, e) : 0;
    if (!rc)
        rc = episode_run(&r->episode, &r->traj, e);
    bool is_over = rc || !traj_is_ok(&r->traj);
    if (test && !is_over)
        rc = episode_set_loss(r->s.lm, &r->in.test, &r->test_after, e);
    rollout_end_progress(r);
    if (!is_over && !rc)
        episode_metrics_put(r->metrics, &r->last, r->test_after);
    return rc;
}

/* ---- output ---- */

static void add_input(struct prov *p, const char *path, uint64_t hash)
{
    if (path)
        prov_add_input(p, path, hash);
}

static struct prov *provenance(const struct rollout *r, int argc, char **argv)
{
    const struct rollout_options *o = r->o;
    const struct episode_inputs *in = &r->in;
    if (o->common.no_provenance)
        return NULL;
    char *args = opt_command_line(&spec, argc, argv);
    struct prov *p = prov_new(spec.program, args, o->common.seed);
    free(args);
    prov_set_path(p, lm_arith_path(r->s.lm));
    add_input(p, o->features, in->features.id);
    if (o->plan)
        add_input(p, o->plan, in->plan.id);
    if (in->policy)
        add_input(p, o->policy, policy_id(in->policy));
    session_add_inputs(&r->s, p);
    dataset_add_inputs(&in->pool, p);
    dataset_add_inputs(&in->val_data, p);
    dataset_add_inputs(&in->test_data, p);
    return p;
}

/* A folder of the kind that the model came from; beside a GGUF's weights, its tokenizer. */
static int save_model(struct rollout *r, struct err *e)
{
    const char *dir = r->o->model_dir, *like = r->o->session.model;
    int rc = lm_save_model(r->s.lm, dir, like, e);
    if (!rc && model_path_kind(like, e) == MODEL_GGUF)
        rc = tok_save(r->s.tok, dir, e);
    return rc;
}

static int write_results(struct rollout *r, int argc, char **argv, struct err *e)
{
    const struct rollout_options *o = r->o;
    bool is_ok = traj_is_ok(&r->traj);
    int rc = 0;
    if (o->adapter_dir && is_ok)
        rc = lm_save_adapter(r->s.lm, o->adapter_dir,
                             o->base_name ? o->base_name : o->session.named, e);
    if (!rc && o->model_dir && is_ok)
        rc = save_model(r, e);
    if (!rc) {
        rc = episode_metrics_close(r->metrics, e);
        r->metrics = NULL;
    }
    if (rc)
        return rc;
    struct prov *p = provenance(r, argc, argv);
    r->traj.episode = o->episode;
    r->traj.seed = o->common.seed;
    r->traj.test_loss_before = r->test_before;
    r->traj.test_loss = r->test_after;
    rc = traj_write(&r->traj, o->common.out, o->common.is_uncompressed ? ST_PLAIN : 0, p, e);
    prov_free(p);
    if (!rc && r->checkpoint)
        (void)unlink(r->checkpoint);
    return rc;
}

static int show(struct rollout *r, struct err *e)
{
    const struct rollout_options *o = r->o;
    int rc = session_encoding(&r->s, &o->session, e);
    if (rc)
        return rc;
    return session_show(&r->s, o->data, &o->records, o->n_shown,
                        o->session.overlong ? EXAMPLE_FAIL : EXAMPLE_CUT, e);
}

static int rollout(struct rollout *r, int argc, char **argv, struct err *e)
{
    int rc = file_refuse_tty(r->o->common.out, e);
    if (!rc && r->o->untrained)
        rc = untrained_read(&r->untrained, r->o->untrained, e);
    if (!rc)
        rc = episode_read_choice(&r->in, r->o->features, r->o->policy, r->o->plan, e);
    if (!rc)
        rc = rollout_open_encoding(r, e);
    if (!rc)
        rc = rollout_read_inputs(r, e);
    if (!rc)
        rc = open_model(r, e);
    if (!rc && r->o->metrics)
        r->metrics = episode_metrics_new(r->o->metrics);
    if (!rc)
        rc = run_episode(r, e);
    return rc ? rc : write_results(r, argc, argv, e);
}

static void report(const struct rollout *r)
{
    const struct traj *t = &r->traj;
    char n[32], rate[32];
    if (r->episode.n_cut)
        log_warn("%s: %" PRId64 " picks cut to %" PRId64 " tokens", r->in.pool.name,
                 r->episode.n_cut, r->s.max_len);
    if (!traj_is_ok(t)) {
        log_warn("the episode diverged: %s; its trajectory says so, and teaches no policy",
                 r->episode.ended.msg);
        if (r->o->adapter_dir || r->o->model_dir)
            log_warn("%s: not written",
                     r->o->adapter_dir ? r->o->adapter_dir : r->o->model_dir);
    } else {
        log_note("validation loss %.4f -> %.4f", -t->perf[0], -t->perf[t->n_steps]);
    }
    if (r->o->test && isfinite(r->test_after))
        log_note("test loss %.4f -> %.4f", r->test_before, r->test_after);
    log_summary("%" PRId64 " step%s, %s tokens, %s tokens/s", t->n_steps, text_s(t->n_steps),
                text_count(n, r->n_tokens),
                text_count(rate, r->train_seconds > 0 ? r->n_tokens / r->train_seconds : 0));
}

static void run_free(struct rollout *r)
{
    (void)episode_metrics_close(r->metrics, NULL);
    traj_free(&r->traj);
    untrained_free(&r->untrained);
    episode_inputs_free(&r->in);
    session_close(&r->s);
    free(r->checkpoint);
}

/* "20": steps; "600s": seconds. */
static void parse_checkpoint(struct rollout_options *o)
{
    char *end;
    double n = o->checkpoint ? strtod(o->checkpoint, &end) : 0;
    if (!o->checkpoint)
        return;
    bool has_digit = o->checkpoint[0] >= '0' && o->checkpoint[0] <= '9';
    if (has_digit && !strcmp(end, "s") && n > 0)
        o->every_seconds = n;
    else if (has_digit && !*end && n >= 1 && n <= 1e9 && floor(n) == n)
        o->every_steps = (int64_t)n;
    else
        opt_misuse("--checkpoint: '%s' is neither a number of steps nor of seconds (600s)",
                   o->checkpoint);
    if (file_is_std(o->common.out))
        opt_misuse("--checkpoint stands beside the output, which needs a name (-o)");
}

static void check_options(struct rollout_options *o)
{
    struct err e = ERR_INIT;
    session_check(&o->session);
    if (!o->data)
        opt_misuse("-d DATASET is missing");
    parse_checkpoint(o);
    if (lm_projections_parse(o->lora_targets, &o->targets, &e) < 0)
        opt_misuse("--lora-targets: %s", e.msg);
    if (o->n_shown)
        return;
    if (!o->features)
        opt_misuse("-f FEATURES is missing");
    if (!o->policy == !o->plan)
        opt_misuse("one of -p POLICY and --plan is needed");
    if (!o->validation)
        opt_misuse("--val VALIDATION is missing");
    if (o->plan && (o->is_greedy || o->is_deployed || o->has_repeats))
        opt_misuse("--plan does not go with --greedy, --deploy or --repeats");
    if (o->is_drawn && (!o->is_deployed || o->is_greedy))
        opt_misuse("--draw is for --deploy, without --greedy");
    if (o->is_full && (o->session.adapter || o->adapter_dir))
        opt_misuse("--full has no adapter");
}

static void check_places(struct rollout_options *o)
{
    struct places p = {0};
    session_add_places(&o->session, &p);
    places_add_paths(&p, "-d", o->data);
    places_add(&p, PLACE_INPUT, "-f", o->features);
    places_add(&p, PLACE_INPUT, "-p", o->policy);
    places_add(&p, PLACE_INPUT, "--plan", o->plan);
    places_add_paths(&p, "--val", o->validation);
    places_add_paths(&p, "--test", o->test);
    places_add(&p, PLACE_FOLDER, "--save-adapter", o->adapter_dir);
    places_add(&p, PLACE_FOLDER, "--save-model", o->model_dir);
    places_add(&p, PLACE_FILE, "--untrained", o->untrained);
    places_add(&p, PLACE_FILE, "--metrics", o->metrics);
    places_add(&p, PLACE_FILE, "-o", o->common.out ? o->common.out : "-");
    opt_check_places(&p);
}

int main(int argc, char **argv)
{
    cpu_fix_blas(argv);
    struct err e = ERR_INIT;
    struct rollout_options o = {.common = OPT_COMMON_DEFAULTS,
                                .session = SESSION_DEFAULTS,
                                .lora_targets = "all",
                                .batch = 16,
                                .n_warmup = -1,
                                .episode = 0,
                                .lora_rank = 16,
                                .tau = 1,
                                .lr = 3e-4,
                                .clip = 1};
    opt_parse(&spec, &o, argc, argv);
    check_options(&o);
    check_places(&o);
    struct rollout r = {
        .o = &o, .session = o.session, .test_before = (double)NAN, .test_after = (double)NAN};
    if (o.checkpoint)
        r.checkpoint = mem_printf("%s.checkpoint", o.common.out);
    int rc = o.n_shown ? show(&r, &e) : rollout(&r, argc, argv, &e);
    if (!rc && !o.n_shown)
        report(&r);
    run_free(&r);
    if (!rc)
        rc = file_close_stdout(&e);
    if (rc)
        log_error("%s", e.msg);
    return rc ? EXIT_FAILURE : EXIT_SUCCESS;
}
