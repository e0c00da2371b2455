/* SPDX-License-Identifier: MIT
 *
 * dataset: instruction records from JSON arrays, JSONL and CSV, plain or compressed.
 *
 * A dataset may be larger than memory. It is read through once; what is kept of a record is
 * where it lies and what it hashes to, 24 bytes. Its text is read again when it is asked for:
 *
 *     struct dataset d;
 *     int rc = dataset_read(&d, "alpaca.json", &(struct data_options){0}, &e);
 *     struct data_reader *t = data_reader_new(&d);              // one a thread
 *     for (int64_t i = 0; rc == 0 && i < d.n_records; i++) {
 *         const struct data_record *r = data_reader_get(t, i, &e);
 *         rc = r ? use(r) : e.code;
 *     }
 *     data_reader_free(t);
 *     dataset_free(&d);
 *
 * A record is a list of turns (role, text) whatever its layout in the file:
 *   alpaca      instruction, input (may be "" or absent), output; optional history
 *               [[q, a], ...]
 *   messages    messages: [{role: system|user|assistant|tool, content}]; other members of a
 *               message travel with its turn
 *   sharegpt    conversations: [{from: human|gpt|system|observation|function_call, value}]
 *   completion  prompt, completion (strings, or lists of messages)
 *   qa          question, answer (GSM8K)
 *   text        text alone: one assistant turn without a prompt
 * Other names for the same: alpaca with context for input and response for output (Dolly);
 * prompt, query or question with response; problem, solution. Every layout but text takes an
 * optional `system` or `system_prompt`.
 * The layout is found per record from the field names, the first above whose fields are all
 * there (messages and sharegpt before the rest). What a layout reads is text; raise-data(5) has
 * the table of what becomes of other values. In short: null is absent, and so is NaN, and so is
 * an empty cell of CSV when another layout has all of its fields; a number is the text that it
 * is written as. Other fields may be anything and are kept: the record's own JSON text (`raw`)
 * travels along for export, untouched. Names are compared decoded. The user's turn of an Alpaca
 * record is "instruction\ninput". A `system` field becomes the first turn, unless the list
 * opens with one. Lists may use either layout's keys, and may be JSON text in a string (a CSV
 * cell); OpenAI's lists of text parts are joined.
 *
 * JSON is parsed strictly, each record on its own and in parallel: no duplicate keys, no NUL
 * characters, only well-formed UTF-8 (a byte order mark before the first record is skipped);
 * but NaN and Infinity, which Python writes, are read. JSONL may also hold objects that span
 * lines, as `jq .` prints them, and an object of which the member "data" is an array is that
 * array. CSV: RFC 4180, the first line names the columns; `raw` is then
 * a JSON object of strings in column order.
 *
 * A bad record gives "file:line: record 1234: what is wrong". Line numbers are of the
 * (decompressed) file, from 1; record numbers from 0 as in the file, skipped ones counted.
 */
#ifndef RAISE_DATA_DATASET_H
#define RAISE_DATA_DATASET_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum data_role { DATA_SYSTEM, DATA_USER, DATA_ASSISTANT, DATA_TOOL };
enum data_layout {
    DATA_ALPACA,
    DATA_MESSAGES,
    DATA_SHAREGPT,
    DATA_COMPLETION,
    DATA_QA,
    DATA_TEXT
};
enum data_format { DATA_AUTO, DATA_JSON, DATA_JSONL, DATA_CSV };
enum data_on_error { DATA_FAIL, DATA_SKIP };

/* Keys of a message, or of the record, that mean something beside role and text. What a turn or
 * a record has of them is a set of these bits; dataset_keys.c names them. */
enum data_key {
    DATA_KEY_TOOL_CALLS = 1, /* of an assistant: calls of tools */
    DATA_KEY_TOOL_CALL_ID = 2,
    DATA_KEY_NAME = 4,
    DATA_KEY_REASONING = 8, /* reasoning_content, thinking or reasoning */
    DATA_KEY_WEIGHT = 16,   /* a weight that is neither 0 nor 1: it counts as 1 */
    DATA_KEY_TRAIN = 32,    /* train: true of a turn that is no assistant's: not learnt from */
    DATA_KEY_TOOLS = 64,    /* of the record: what can be called */
    DATA_KEY_LABEL = 128,   /* of the record: label: false, an answer that is not wanted */
    DATA_KEY_DETAIL = 256,  /* train_detail: parts of an answer that are not to be learnt */
    DATA_N_KEYS = 9
};
const char *data_key_name(enum data_key key);

struct data_turn {
    enum data_role role;
    const char *text; /* UTF-8, NUL-terminated; may be empty where there are tool calls, or
                         reasoning, and of a system turn */
    size_t len;
    /* The message's other members that are not null, as a JSON object, as they are written;
     * NULL: it has none. */
    const char *extra;
    unsigned keys;     /* enum data_key, of those that mean something */
    bool is_silent;    /* it had no text at all: null or absent, not "" */
    bool is_masked;    /* weight 0, or train false: in the text, not in the loss */
    bool is_developer; /* a system turn by the name of developer */
    uint64_t said;     /* hash of tool calls and reasoning; 0: none */
};

/* A system turn of a list that says "": a model's own template renders it, for it stands where
 * many put a text of their own; else it is as good as absent. */
static inline bool data_turn_is_blank_system(const struct data_turn *t)
{
    return t->role == DATA_SYSTEM && t->len == 0;
}

/* Fields that a layout reads, by what they are for. */
enum data_field {
    DATA_FIELD_PROMPT, /* or the list of turns */
    DATA_FIELD_RESPONSE,
    DATA_FIELD_INPUT,
    DATA_FIELD_SYSTEM,
    DATA_N_FIELDS
};

/* Beside `messages`: how the text of the last user's turn ends, if it was an Alpaca record's
 * instruction and input. Only then can a template treat them apart, as it did before. */
#define DATA_INPUT_FIELD "raise_input"

/* What is known of a record without its text. */
struct data_row {
    uint64_t hash;         /* as in data_record */
    int64_t place;         /* of its first byte in its decompressed file */
    uint32_t source, line; /* likewise */
};

struct data_record {
    int64_t source; /* number of the record in the dataset, from 0 */
    int64_t line;   /* of its first byte in its file, from 1 */
    enum data_layout layout;
    int n_turns; /* >= 1; at least one DATA_ASSISTANT turn with text */
    struct data_turn *turns;
    /* DATA_ALPACA, and DATA_MESSAGES with a DATA_INPUT_FIELD: the two of which the last user's
     * turn is made, for templates that treat them apart; else NULL. */
    const char *instruction, *input;
    /* Names of the fields read, static; NULL: the layout has none such. */
    const char *fields[DATA_N_FIELDS];
    const char *tools; /* the JSON text of the field `tools`: a list, or NULL */
    unsigned keys;     /* of the turns, and of the record itself */
    const char *raw;   /* JSON object text, as in the file; no NUL after it */
    size_t raw_len;
    /* Identity of the content, whatever the layout: xxh64 (seed 0) over each turn's role (one
     * byte, enum data_role), length (8 bytes, little-endian) and text, and its `said` (8
     * bytes) where that is not 0. */
    uint64_t hash;
};

struct data_problem { /* a skipped record */
    int64_t source, line;
    char *why; /* NULL: it is not among the first DATA_MAX_WHYS of its dataset */
};
enum { DATA_MAX_WHYS = 1000 };
const char *data_problem_text(const struct data_problem *p);

struct dataset {
    struct data_row *records; /* in file order, so that `source` ascends */
    int64_t n_records;
    struct data_problem *problems;
    int64_t n_problems;
    enum data_format format; /* as found; of the first file */
    uint64_t hash;           /* xxh64 of the decompressed file; of several, of their hashes */
    char *name;              /* for messages */
    /* Of the usable records that were looked at: how many have a key (1 << the index is enum
     * data_key), and the number of the first. */
    int64_t n_read, n_with_key[DATA_N_KEYS], first_with_key[DATA_N_KEYS];
    struct data_store *store;
};

enum { DATA_MAX_RECORD = 64 << 20 };

struct data_options {
    enum data_format format;
    enum data_on_error on_error;
    int64_t limit;   /* > 0: keep this many records; which ones: see is_sampled */
    bool is_sampled; /* false: the first `limit`; true: a seeded sample, file order kept */
    uint64_t seed;
    int64_t max_record; /* bytes that a record may have; 0: DATA_MAX_RECORD */
    /* Called now and then with the bytes read of the files, as they are packed; NULL: not. */
    void (*progress)(void *arg, int64_t n_bytes);
    void *progress_arg;
    int64_t shard_i, shard_n; /* keep rows [N*i/n, N*(i+1)/n); n = 0: all. After `limit`. An
                                 empty shard is ERR_EMPTY. */
};

/* Reads through a dataset: a file, a folder of files, or a pattern such as "data/ *.jsonl.zst"
 * (without the blank) that no file is named by; or several of those, one after the other: an
 * array of them, or a path a line. On success *d is owned by the caller (dataset_free), also
 * when it has problems; ERR_EMPTY when no record is left; DATA_FAIL turns the first problem
 * into an error. Damage that hides where records begin (an array that is not closed, a stray
 * quote in CSV) is an error either way. `limit` counts usable records. Problems reported are
 * those among the records that were looked at, each in exactly one shard. */
int dataset_read(struct dataset *d, const char *path, const struct data_options *opt,
                 struct err *e) RAISE_MUST_CHECK;
int dataset_read_paths(struct dataset *d, const char *const *paths, int64_t n,
                       const struct data_options *opt, struct err *e) RAISE_MUST_CHECK;
void dataset_free(struct dataset *d); /* NULL-safe, leaves *d empty */

/* Bytes of those files, as they are packed, for data_options.progress; 0 when one is a pipe, or
 * not there. Each path as dataset_read takes it. */
int64_t dataset_bytes(const char *const *paths, int64_t n);

/* "file:line: record 1234" of d->records[i], owned by the caller; and put before an error,
 * whose code is returned. */
char *dataset_place(const struct dataset *d, int64_t i);
int dataset_name_record(struct err *e, const struct dataset *d, int64_t i);
/* The name, for messages, of the file that holds the record with this number. */
const char *dataset_file_name(const struct dataset *d, int64_t source);
/* Each file as an input: its name and the xxh64 of its decompressed bytes. */
struct prov;
void dataset_add_inputs(const struct dataset *d, struct prov *p);

/* Reads records again, for one thread; fastest in file order. The dataset outlives it; a copy
 * of the struct with other `records` out of the same serves as well. */
struct data_reader;
struct data_reader *data_reader_new(const struct dataset *d);
void data_reader_free(struct data_reader *r); /* NULL-safe */
/* Record d->records[i]; borrowed until the next call. NULL: ERR_IO, or ERR_MISMATCH when the
 * file is not what it was. */
const struct data_record *data_reader_get(struct data_reader *r, int64_t i,
                                          struct err *e) RAISE_MUST_CHECK;

/* Records that another file speaks of, by their numbers and the hashes of their content: the
 * rows of features, the picks of a trajectory or plan. */
struct data_claim {
    int64_t n;
    const int64_t *source; /* [n] */
    const uint64_t *hash;  /* [n] */
    const char *what, *of; /* for errors: "pick" 3 of "t.st.zst" */
};
/* rows [n]: the index into d->records of each, by its number. ERR_MISMATCH names the first that
 * is not there, or whose content is another. */
int dataset_join(const struct dataset *d, const struct data_claim *c, int64_t *rows,
                 struct err *e) RAISE_MUST_CHECK;
/* The same by content alone, so in any file that holds the records: the first of each. */
int dataset_join_content(const struct dataset *d, const struct data_claim *c, int64_t *rows,
                         struct err *e) RAISE_MUST_CHECK;

/* Records by their numbers, one a line of the file (or of standard input) `path`, as
 * EXPORT_INDICES writes them: *rows, owned by the caller, gets the index into d->records of
 * each, in the file's order; a number may stand there twice. Errors name the line: ERR_FORMAT
 * not a number, ERR_RANGE no such record; ERR_EMPTY: no line. */
int dataset_find_numbers(const struct dataset *d, const char *path, int64_t **rows, int64_t *n,
                         struct err *e) RAISE_MUST_CHECK;

/* A record of one dataset that is also in another, by hash: index into a, or -1. *other gets
 * the index into b. What keeps validation, test and pool apart. */
int64_t dataset_overlap(const struct dataset *a, const struct dataset *b, int64_t *other);
/* The error that says so: ERR_MISMATCH, with both places. */
int dataset_name_overlap(const struct dataset *a, int64_t i, const struct dataset *b, int64_t j,
                         struct err *e);
/* How many records of a are also in b, and *first the index into a of the first; -1: none. */
int64_t dataset_count_overlap(const struct dataset *a, const struct dataset *b, int64_t *first);

/* Takes out of *d every record whose content is in `other` too; the order of the rest stays,
 * and none may be left. Returns how many went. */
int64_t dataset_leave_out(struct dataset *d, const struct dataset *other);

/* The same with a file, of which bad records are passed over, for they are none that *d could
 * share. leave_out: ERR_EMPTY when none is left; check_apart: ERR_MISMATCH names both places of
 * a record that is in both. */
int dataset_leave_out_file(struct dataset *d, const char *path, int64_t *n_out,
                           struct err *e) RAISE_MUST_CHECK;
int dataset_check_apart(const struct dataset *d, const char *path,
                        struct err *e) RAISE_MUST_CHECK;

/* Keeps `limit` of the records, in their order, each subset of that size equally likely; all
 * where there are no more. What data_options.is_sampled does, for a dataset that was read. */
void dataset_keep_sample(struct dataset *d, int64_t limit, uint64_t seed);

/* What an assistant thought before its answer: of DATA_KEY_REASONING; "" where there is none.
 * Owned by the caller. */
char *data_turn_reasoning(const struct data_turn *t);

/* A number in a record's top-level field `field`: false when absent or no number. A string that
 * is a number counts, since CSV has nothing else. */
bool data_record_number(const struct data_record *r, const char *field, double *v);

#endif
