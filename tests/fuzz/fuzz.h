/* SPDX-License-Identifier: MIT
 *
 * fuzz: what reads files that others made, one target a parser. driver.c runs them over corpora
 * and mutations of these, libFuzzer (make fuzz) by coverage.
 *
 *     targets.c   the table, what they stand on, files
 *     text.c      datasets, templates, tokenizers, benchmarks
 *     models.c    a model's folder, GGUF, safetensors
 *     streams.c   our streams, each kind in them, histories, parts
 */
#ifndef RAISE_FUZZ_H
#define RAISE_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An input may take ten times its size of memory and some that does not grow with it (MiB):
 * most targets FUZZ_MEMORY; compressed input what limit.h lets it unfold to without a question,
 * and a copy; templates what jinja.h bounds. And FUZZ_SECONDS of the processor. */
enum { FUZZ_MEMORY = 16, FUZZ_UNFOLDS = 192, FUZZ_RENDERS = 256, FUZZ_SECONDS = 1 };

/* What must be seen of a damaged file: that it was cut, but for white space (or zeros) at its
 * end; that any bit was flipped. Only our streams have a checksum, and a list of records can
 * end anywhere. */
enum { FUZZ_SEES_CUTS = 1, FUZZ_SEES_FLIPS = 2, FUZZ_IS_PADDED = 4 };

struct target {
    const char *name;
    bool (*run)(const uint8_t *data, size_t len); /* was it read, without an error? */
    const char *seeds[7]; /* files below tests/, beside those of tests/fuzz/corpus/NAME */
    unsigned sees;        /* FUZZ_SEES_*, of every seed */
    int memory;           /* 0: FUZZ_MEMORY */
};
extern const struct target targets[]; /* ends with a NULL name */

double fuzz_seconds(void); /* of the processor, since the start */

/* A folder for the files that are read by name; removed by fuzz_tear_down. tests: its path. */
void fuzz_set_up(const char *tests);
void fuzz_tear_down(void);

/* ---- for targets ---- */

extern const char *fuzz_dir;                       /* that folder */
char *fuzz_path(const char *name);                 /* in it; owned by the caller */
char *fuzz_fixture(const char *name, size_t *len); /* text of a file below tests/; owned */
void fuzz_put(const char *name, const void *data, size_t len);
void fuzz_copy(const char *from, const char *name); /* from: below tests/ */

void fuzz_text_set_up(void);
void fuzz_text_tear_down(void);
void fuzz_streams_set_up(void);
void fuzz_streams_tear_down(void);

bool run_json(const uint8_t *data, size_t len);
bool run_jsonl(const uint8_t *data, size_t len);
bool run_csv(const uint8_t *data, size_t len);
bool run_packed(const uint8_t *data, size_t len);
bool run_numbers(const uint8_t *data, size_t len);
bool run_questions(const uint8_t *data, size_t len);
bool run_results(const uint8_t *data, size_t len);
bool run_template(const uint8_t *data, size_t len);
bool run_jinja(const uint8_t *data, size_t len);
bool run_tokenizer(const uint8_t *data, size_t len);
bool run_special(const uint8_t *data, size_t len);
bool run_encode(const uint8_t *data, size_t len);
bool run_config(const uint8_t *data, size_t len);
bool run_index(const uint8_t *data, size_t len);
bool run_adapter(const uint8_t *data, size_t len);
bool run_safetensors(const uint8_t *data, size_t len);
bool run_gguf(const uint8_t *data, size_t len);
bool run_stream(const uint8_t *data, size_t len);
bool run_frames(const uint8_t *data, size_t len);
bool run_forged(const uint8_t *data, size_t len);
bool run_history(const uint8_t *data, size_t len);
bool run_part(const uint8_t *data, size_t len);

/* Encodes and decodes; of text.c, for GGUF's tokenizers. */
struct tok;
void fuzz_encode(const struct tok *t, const char *s, size_t len);

#endif
