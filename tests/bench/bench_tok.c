/* SPDX-License-Identifier: MIT
 *
 * bench_tok: a tokenizer over texts, one pass at a time, as tests/bench/run asks for it.
 *
 *     bench_tok MODEL TEXTS
 *
 * TEXTS: UTF-8 texts, each ended by a NUL. Every line on standard input is a pass in one
 * thread, each text encoded by itself, nothing added; answered by seconds, bytes and ids.
 */
#include "base/file.h"
#include "base/text.h"
#include "text/tok.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fail(const struct err *e)
{
    fprintf(stderr, "bench_tok: %s\n", e->msg);
    exit(1);
}

static void pass(const struct tok *t, const char *text, size_t len, struct tok_ids *out)
{
    struct err e = ERR_INIT;
    size_t n_bytes = 0, n_ids = 0;
    double start = text_clock();
    for (size_t at = 0, n; at < len; at += n + 1) {
        n = strlen(text + at);
        out->n = 0;
        if (tok_encode(t, text + at, n, 0, out, &e) < 0)
            fail(&e);
        n_bytes += n;
        n_ids += out->n;
    }
    printf("%.6f %zu %zu\n", text_clock() - start, n_bytes, n_ids);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct err e = ERR_INIT;
    struct tok_ids ids = {0};
    char *text, line[16];
    size_t len;
    if (argc != 3) {
        fprintf(stderr, "usage: bench_tok MODEL TEXTS\n");
        return 2;
    }
    struct tok *t = tok_load(argv[1], &e);
    if (!t || file_read_all(argv[2], &text, &len, &e) < 0)
        fail(&e);
    while (fgets(line, sizeof line, stdin))
        pass(t, text, len, &ids);
    free(ids.ids);
    free(text);
    tok_free(t);
    return 0;
}
