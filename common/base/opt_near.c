/* SPDX-License-Identifier: MIT
 * opt_near: options by the names that other programs have for them, or misspelt; see
 * opt_impl.h. */
#include "base/mem.h"
#include "base/opt_impl.h"

#include <stdlib.h>
#include <string.h>

static const struct opt_habit habits[] = {
    {"model-name-or-path", "model", true},
    {"model-name", "model", true},
    {"model-path", "model", true},
    {"base-model", "model", true},
    {"pretrained", "model", true},
    {"adapter-name-or-path", "adapter", true},
    {"adapter-path", "adapter", true},
    {"peft", "adapter", true},
    {"lora-model-dir", "adapter", true},
    {"chat-template", "template", true},
    {"prompt-template", "template", true},
    {"cutoff-len", "max-length", true},
    {"max-seq-length", "max-length", true},
    {"max-seq-len", "max-length", true},
    {"model-max-length", "max-length", true},
    {"sequence-len", "max-length", true},
    {"learning-rate", "lr", true},
    {"per-device-train-batch-size", "batch", true},
    {"train-batch-size", "batch", true},
    {"batch-size", "batch", true},
    {"micro-batch-size", "micro-batch", false},
    {"gradient-accumulation-steps", "micro-batch", false},
    {"per-device-eval-batch-size", "batch-tokens", false},
    {"max-steps", "steps", true},
    {"num-steps", "steps", true},
    {"n-steps", "steps", true},
    {"num-train-epochs", "steps", false},
    {"num-epochs", "steps", false},
    {"warmup-steps", "warmup", true},
    {"warmup-ratio", "warmup", false},
    {"lr-scheduler-type", "schedule", true},
    {"lr-scheduler", "schedule", true},
    {"max-grad-norm", "clip", true},
    {"lora-r", "lora-rank", true},
    {"lora-target", "lora-targets", true},
    {"lora-target-modules", "lora-targets", true},
    {"target-modules", "lora-targets", true},
    {"gradient-checkpointing", "recompute", false},
    {"finetuning-type", "full", false},
    {"bf16", "precision", false},
    {"fp16", "precision", false},
    {"fp32", "precision", false},
    {"dtype", "precision", false},
    {"torch-dtype", "precision", false},
    {"train-file", "data", true},
    {"data-path", "data", true},
    {"dataset-name", "data", true},
    {"train-data", "data", true},
    {"dataset", "data", true},
    {"validation-file", "val", true},
    {"eval-file", "val", true},
    {"eval-data", "val", true},
    {"eval-dataset", "val", true},
    {"val-data", "val", true},
    {"validation", "val", true},
    {"test-file", "test", true},
    {"test-data", "test", true},
    {"max-samples", "limit", true},
    {"max-train-samples", "limit", true},
    {"num-samples", "limit", true},
    {"data-seed", "seed", false},
    {"random-seed", "seed", true},
    {"num-threads", "threads", true},
    {"n-threads", "threads", true},
    {"preprocessing-num-workers", "threads", false},
    {"num-workers", "threads", false},
    {"output-file", "output", true},
    {"output-path", "output", false},
    {"output-dir", "output", false},
    {"save-path", "output", false},
    {"out", "output", true},
    {"resume-from-checkpoint", "resume", false},
    {"overwrite-output-dir", "no-resume", false},
    {"report-to", "metrics", false},
    {"logging-dir", "metrics", false},
    {"n-clusters", "classes", true},
    {"num-clusters", "classes", true},
    {"k", "classes", true},
    {"tasks", "task", false},
};

const struct opt_habit *opt_habit(const char *name, size_t n)
{
    for (size_t i = 0; i < sizeof habits / sizeof *habits; i++)
        if (strlen(habits[i].theirs) == n && !strncmp(habits[i].theirs, name, n))
            return &habits[i];
    return NULL;
}

/* Levenshtein's, by two rows. */
static size_t distance(const char *a, size_t n, const char *b)
{
    size_t m = strlen(b), *row = mem_alloc(m + 1, sizeof *row);
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t before = row[0]; /* of row i - 1, column j - 1 */
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t swap = before + (a[i - 1] != b[j - 1]);
            size_t least = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
            before = row[j];
            row[j] = swap < least ? swap : least;
        }
    }
    size_t all = row[m];
    free(row);
    return all;
}

static const struct opt *row_named(const struct opt_merged *m, const char *name)
{
    for (int i = 0; i < m->n; i++)
        if (m->row[i].name && m->row[i].help && !strcmp(m->row[i].name, name))
            return &m->row[i];
    return NULL;
}

const char *opt_near(const struct opt_merged *m, const char *name, size_t n)
{
    const struct opt_habit *h = opt_habit(name, n);
    const char *nearest = NULL;
    size_t least = n / 3 + 1;
    if (h && row_named(m, h->ours))
        return h->ours;
    for (int i = 0; i < m->n; i++) {
        size_t d = m->row[i].name && m->row[i].help ? distance(name, n, m->row[i].name) : least;
        if (d < least) {
            least = d;
            nearest = m->row[i].name;
        }
    }
    for (size_t i = 0; i < sizeof habits / sizeof *habits; i++) {
        size_t d = row_named(m, habits[i].ours) ? distance(name, n, habits[i].theirs) : least;
        if (d < least) {
            least = d;
            nearest = habits[i].ours;
        }
    }
    return nearest;
}

bool opt_means_data(const char *name, size_t n)
{
    const struct opt_habit *h = opt_habit(name, n);
    return (n == 4 && !strncmp(name, "data", n)) || (h && !strcmp(h->ours, "data"));
}
