/* SPDX-License-Identifier: MIT
 * targets: the parsers, each fed as its programs feed it; see fuzz.h. */
#include "base/file.h"
#include "base/mem.h"
#include "fuzz.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

const char *fuzz_dir;
static char *dir, *tests;

char *fuzz_path(const char *name)
{
    return mem_printf("%s/%s", dir, name);
}

void fuzz_put(const char *name, const void *data, size_t len)
{
    char *path = fuzz_path(name);
    FILE *f = fopen(path, "wb");
    if (!f || (len && fwrite(data, 1, len, f) != len) || fclose(f))
        abort();
    free(path);
}

char *fuzz_fixture(const char *name, size_t *len)
{
    struct err e = ERR_INIT;
    char *text, *path = mem_printf("%s/%s", tests, name);
    if (file_read_all(path, &text, len, &e) < 0) {
        fprintf(stderr, "%s\n", e.msg);
        exit(1);
    }
    free(path);
    return text;
}

void fuzz_copy(const char *from, const char *name)
{
    size_t len;
    char *text = fuzz_fixture(from, &len);
    fuzz_put(name, text, len);
    free(text);
}

double fuzz_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void fuzz_set_up(const char *folder)
{
    omp_set_num_threads(1);
    tests = mem_strdup(folder);
    dir = mem_printf("%s/raise-fuzz-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    if (!mkdtemp(dir))
        abort();
    fuzz_dir = dir;
    fuzz_text_set_up();
    fuzz_streams_set_up();
}

void fuzz_tear_down(void)
{
    char *command = mem_printf("rm -rf %s", dir);
    fuzz_streams_tear_down();
    fuzz_text_tear_down();
    if (system(command))
        fprintf(stderr, "%s: not removed\n", dir);
    free(command);
    free(dir);
    free(tests);
}

#define LM "fixtures/lm/llama/"
#define TOK "fixtures/tok/"

#define BASE "fuzz/base/"
enum { CUTS = FUZZ_SEES_CUTS, BOTH = FUZZ_SEES_CUTS | FUZZ_SEES_FLIPS };

const struct target targets[] = {
    {"json", run_json, {NULL}, CUTS, 0},
    {"jsonl", run_jsonl, {"fuzz/corpus/json/alpaca.json", NULL}, 0, 0},
    {"csv", run_csv, {NULL}, 0, 0},
    {"packed", run_packed, {NULL}, 0, FUZZ_UNFOLDS},
    {"numbers", run_numbers, {NULL}, 0, 0},
    {"questions", run_questions, {NULL}, 0, 0},
    {"results", run_results, {NULL}, 0, 0},
    {"template", run_template, {"../pipelines/demo/demo.tmpl", NULL}, 0, 0},
    {"jinja", run_jinja, {"fixtures/jinja/chat.jinja", NULL}, 0, FUZZ_RENDERS},
    {"tokenizer",
     run_tokenizer,
     {TOK "bytes.json", TOK "pieces.json", TOK "meta.json", TOK "split.json",
      TOK "unknown.json", NULL},
     CUTS,
     0},
    {"special", run_special, {NULL}, CUTS, 0},
    {"encode", run_encode, {TOK "make.py", NULL}, 0, 0},
    {"config",
     run_config,
     {LM "config.json", "fixtures/lm/qwen2/config.json",
      "fixtures/lm/llama-tied-llama3/config.json", NULL},
     CUTS,
     0},
    {"index", run_index, {NULL}, CUTS, 0},
    {"adapter", run_adapter, {LM "adapter/adapter_config.json", NULL}, CUTS, 0},
    {"safetensors",
     run_safetensors,
     {"fixtures/features/small.safetensors", BASE "ppo", BASE "t", NULL},
     CUTS,
     0},
    {"gguf",
     run_gguf,
     {"fixtures/gguf/types.gguf", TOK "bytes.gguf", TOK "pieces.gguf", NULL},
     CUTS | FUZZ_IS_PADDED,
     0},
    {"stream", run_stream, {NULL}, BOTH, FUZZ_UNFOLDS},
    {"kinds",
     run_stream,
     {BASE "f", BASE "t", BASE "plan", BASE "ppo", BASE "checkpoint", BASE "untrained", NULL},
     CUTS,
     FUZZ_UNFOLDS},
    {"frames", run_frames, {BASE "f", BASE "plan", NULL}, 0, FUZZ_UNFOLDS},
    {"forged", run_forged, {NULL}, 0, FUZZ_UNFOLDS},
    {"history", run_history, {NULL}, 0, 0},
    {"part", run_part, {NULL}, 0, 0},
    {NULL, NULL, {NULL}, 0, 0},
};
