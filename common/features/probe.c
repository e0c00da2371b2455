/* SPDX-License-Identifier: MIT
 * probe: the probe and the warm-up, made or found beside the part; see probe.h. */
#include "features/probe.h"

#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void probe_begin(struct probe *p, struct embed_run *job)
{
    p->job = job;
    p->gain = (struct gain){.target = p->target,
                            .how = &job->how,
                            .n_steps = p->n_steps,
                            .lr = p->lr,
                            .seed = p->seed};
    p->influence = (struct influence){.pool = job->data,
                                      .target = p->target,
                                      .how = &job->how,
                                      .n_epochs = p->n_epochs,
                                      .lr = p->influence_lr,
                                      .seed = p->seed};
    job->how.has_gain = true;
    job->how.influence = p->has_influence ? &p->influence : NULL;
}

int probe_plan(const struct probe *p, const char *model, struct lm_options *lo, int64_t *bytes,
               struct err *e)
{
    struct lm_memory need;
    int rc = lm_plan(model, lo, &need, e);
    if (rc)
        return rc;
    lo->micro_tokens = need.asked_tokens;
    lo->tuning = LM_TUNE_LORA;
    lo->seed = p->seed;
    lo->longest = p->gain.longest > lo->longest ? p->gain.longest : lo->longest;
    rc = lm_plan(model, lo, &need, e);
    if (rc)
        return rc;
    *bytes += need.is_gpu ? 0 : 2 * need.adapter; /* the adapter's other state */
    if (p->has_influence) /* four blocks an epoch, and three of the model as it was */
        *bytes += (4 * p->n_epochs + 3) * need.adapter;
    return 0;
}

/* ---- places ---- */

static char *temporary_folder(struct err *e)
{
    const char *tmp = getenv("TMPDIR");
    char *dir = mem_printf("%s/raise-probe.XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (mkdtemp(dir))
        return dir;
    err_set(e, ERR_IO, "%s: %s", dir, strerror(errno));
    free(dir);
    return NULL;
}

/* A part that stands was begun with the probe beside it. */
static bool is_probe_made(const struct probe *p)
{
    char *part = embed_run_old_part(p->job);
    char *path = mem_printf("%s/adapter_model.safetensors", p->dir);
    bool is_made = p->job->is_resumed && part && file_exists(path);
    free(path);
    free(part);
    return is_made;
}

int probe_place(struct probe *p, struct err *e)
{
    bool has_part = embed_run_has_part(p->job);
    p->out = p->job->out;
    p->dir = has_part ? mem_printf("%s.probe", p->job->out) : temporary_folder(e);
    if (!p->dir)
        return ERR_IO;
    if (has_part && p->has_influence)
        p->warmup = mem_printf("%s.warmup", p->job->out);
    p->is_made_before = is_probe_made(p);
    p->is_warm_before = p->is_made_before && p->warmup && file_exists(p->warmup);
    return 0;
}

static void remove_folder(const char *dir)
{
    static const char *const files[] = {"adapter_model.safetensors", "adapter_config.json"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *path = mem_printf("%s/%s", dir, files[i]);
        unlink(path);
        free(path);
    }
    rmdir(dir);
}

/* ---- the work ---- */

int probe_make(struct probe *p, struct lm *m, struct err *e)
{
    int rc = gain_probe(&p->gain, m, p->dir, p->is_made_before, e);
    if (!rc)
        p->job->gain = &p->gain;
    return rc;
}

int probe_warm_up(struct probe *p, struct lm *m, struct err *e)
{
    if (!p->has_influence)
        return 0;
    return influence_prepare(&p->influence, m, p->warmup, p->is_warm_before, e);
}

char *probe_parameters(const struct probe *p)
{
    char target[17], probe[17], warmup[17];
    char *gain = mem_printf("target=%s\ntarget-limit=%" PRId64 "\ntarget-seed=%" PRIu64
                            "\ntarget-steps=%" PRId64 "\ntarget-lr=%.15g\nprobe=%s\n",
                            prov_hex(target, p->target->hash), p->target_limit, p->seed,
                            p->n_steps, p->lr, prov_hex(probe, p->gain.probe));
    if (!p->has_influence)
        return gain;
    char *both =
        mem_printf("%sinfluence-epochs=%" PRId64 "\ninfluence-lr=%.15g\nwarmup=%s\n", gain,
                   p->n_epochs, p->influence_lr, prov_hex(warmup, p->influence.hash));
    free(gain);
    return both;
}

void probe_free(struct probe *p)
{
    if (p->dir) {
        struct embed_run where = {.out = p->out};
        char *part = embed_run_old_part(&where); /* this run's, or one it would not touch */
        if (!part)
            remove_folder(p->dir);
        if (!part && p->warmup)
            unlink(p->warmup);
        free(part);
    }
    free(p->dir);
    free(p->warmup);
    p->dir = p->warmup = NULL;
    gain_free(&p->gain);
    influence_free(&p->influence);
}
