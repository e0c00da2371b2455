/* SPDX-License-Identifier: MIT
 *
 * session: the one door to a model, for every program that opens one.
 *
 * A program takes the groups of option rows that it needs into its own table, so that they have
 * the same letters, words and bounds everywhere, and opens tokenizer, template and model here,
 * so that they are checked, planned and reported in the same way everywhere:
 *
 *     struct options { struct opt_common common; struct session_options session; };
 *     static const struct opt table[] = {
 *         SESSION_MODEL_ROWS(struct options, session),
 *         SESSION_ENCODING_ROWS(struct options, session, overlong_names),
 *         SESSION_DEVICE_ROWS(struct options, session, "micro-batch", "1024 on a CPU"),
 *         {0, NULL, OPT_END, 0, NULL, NULL, 0, 0, NULL},
 *     };
 *     struct options o = {.common = OPT_COMMON_DEFAULTS, .session = SESSION_DEFAULTS};
 *     ...
 *     struct session s = {0};
 *     int rc = session_encoding(&s, &o.session, &e);       // tokenizer, template, shape
 *     ... read and tokenise the data by s.tok, s.tmpl, s.max_len; find the longest record ...
 *     struct lm_options lo = session_lm_options(&s, longest);
 *     rc = session_open(&s, &lo, &(struct session_need){.option = "--micro-batch"}, &e);
 *     ... lm_nll(s.lm, ...) ...
 *     session_close(&s);
 *
 * These functions log (the plan of memory, warnings); they return errors as the library does.
 */
#ifndef RAISE_TOOLS_SESSION_H
#define RAISE_TOOLS_SESSION_H

#include "base/opt.h"
#include "base/place.h"
#include "lm/lm.h"
#include "stream/prov.h"
#include "text/example.h"

/* What the rows below set. */
struct session_options {
    const char
        *model; /* as given; after session_check, its path, owned for the program's life */
    const char *named; /* after session_check: as given, where model becomes where it is */
    const char *adapter, *template, *device;
    int64_t max_length;   /* 0: the model's positions */
    int64_t micro_tokens; /* 0: what suits the device */
    int overlong;         /* index into the program's names */
    int precision;        /* enum lm_precision */
    bool is_forced;
};
#define SESSION_DEFAULTS                                                                       \
    {                                                                                          \
        .template = "auto", .device = "auto"                                                   \
    }

/* Which records of a dataset. */
struct session_records {
    int64_t limit; /* 0: all */
    bool is_sampled;
    int on_error;       /* enum data_on_error */
    int64_t max_record; /* bytes */
};

extern const char *const session_precisions[], *const session_on_errors[];

/* ---- groups of option rows; O is the program's options struct, at the member in it ---- */

#define SESSION_MODEL_ROWS(O, at)                                                              \
    {'m',        "model",                                                                      \
     OPT_STRING, offsetof(O, at.model),                                                        \
     "MODEL",    "Hugging Face folder or .gguf file",                                          \
     0,          0,                                                                            \
     NULL},                                                                                    \
    {                                                                                          \
        0, "adapter", OPT_STRING, offsetof(O, at.adapter), "DIR",                              \
            "PEFT adapter put on the model", 0, 0, NULL                                        \
    }

/* names: what the program can do with a record that is longer. */
#define SESSION_ENCODING_ROWS(O, at, names)                                                    \
    {0,          "template",                                                                   \
     OPT_STRING, offsetof(O, at.template),                                                     \
     "NAME",     "prompt template, a file, model's own, or auto",                              \
     0,          0,                                                                            \
     NULL},                                                                                    \
        {0,       "max-length",                                                                \
         OPT_INT, offsetof(O, at.max_length),                                                  \
         "N",     "tokens a record; 0: the model's positions",                                 \
         0,       1 << 24,                                                                     \
         NULL},                                                                                \
    {                                                                                          \
        0, "overlong", OPT_CHOICE, offsetof(O, at.overlong), "HOW", "records that are longer", \
            0, 0, names                                                                        \
    }

/* micro: the option's name; usual: what 0 means, "1024 on a CPU, 16384 on a GPU". */
#define SESSION_DEVICE_ROWS(O, at, micro, usual)                                               \
    {0,       micro,                                                                           \
     OPT_INT, offsetof(O, at.micro_tokens),                                                    \
     "N",     "tokens worked on at once; 0: " usual,                                           \
     0,       1 << 24,                                                                         \
     NULL},                                                                                    \
        {0, "precision", OPT_CHOICE,        offsetof(O, at.precision), "P", "arithmetic",      \
         0, 0,           session_precisions},                                                  \
        {0, "device", OPT_STRING, offsetof(O, at.device), "DEVICE", "auto, cpu or cuda[:N]",   \
         0, 0,        NULL},                                                                   \
    {                                                                                          \
        0, "force", OPT_FLAG, offsetof(O, at.is_forced), NULL,                                 \
            "start even if memory seems too small", 0, 0, NULL                                 \
    }

#define SESSION_LIMIT_ROWS(O, at)                                                              \
    {'n', "limit", OPT_INT, offsetof(O, at.limit), "N", "use N records only; 0: all",          \
     0,   1e15,    NULL},                                                                      \
    {                                                                                          \
        0, "sample", OPT_FLAG, offsetof(O, at.is_sampled), NULL,                               \
            "--limit takes a seeded sample, not the first", 0, 0, NULL                         \
    }

#define SESSION_ON_ERROR_ROW(O, at)                                                            \
    {0, "on-error", OPT_CHOICE,       offsetof(O, at.on_error), "HOW", "bad records",          \
     0, 0,          session_on_errors},                                                        \
    {                                                                                          \
        0, "max-record", OPT_INT, offsetof(O, at.max_record), "SIZE",                          \
            "bytes that a record may have; 0: 64M", 0, 4e9, NULL                               \
    }

/* opt_spec's `words` for the rows above. */
bool session_words(const char *option, struct buf *b);

/* Misuse unless -m was given; a name of the Hub becomes its snapshot's path, or the program
 * ends with status 1. */
void session_check(struct session_options *o);
/* The files and folders that the rows above name. */
void session_add_places(struct session_options *o, struct places *p);

/* ---- a session ---- */

struct session {
    const struct session_options *o; /* borrowed */
    struct lm_config config;
    int64_t max_len; /* of a record, in tokens */
    struct tok *tok;
    struct tmpl *tmpl;
    struct tmpl
        *own; /* the model's, where `tmpl` is another and the model has one; else NULL */
    struct lm_memory memory; /* after session_open: what was planned */
    struct lm *lm;
    int64_t micro_tokens; /* as last said */
};

/* Reads the model's shape, the template and the tokenizer, which must fit each other and
 * --max-length; warns of markers in the template that the tokenizer does not know. The template
 * "model" is the model's own; "auto" too, where there is one, else alpaca, which is said in one
 * line. The session is closed by the caller, also on failure. */
int session_encoding(struct session *s, const struct session_options *o,
                     struct err *e) RAISE_MUST_CHECK;

/* Warns, with counts, of what the records say that the template has no place for; and once of
 * the first record of which the model's own template would make something else. */
void session_check_records(const struct session *s, const struct dataset *d);

/* Warns of each record that --on-error skip passed over. */
void session_name_skipped(const struct dataset *d);

/* Of a dataset: prints its first n records as the model sees them, to standard output. */
int session_show(const struct session *s, const char *path, const struct session_records *which,
                 int64_t n, enum example_overlong overlong, struct err *e) RAISE_MUST_CHECK;

/* The options of a model that scores: precision, device, micro-batch. A program that trains
 * sets tuning and what goes with it. longest: tokens of the longest record to come. */
struct lm_options session_lm_options(const struct session *s, int64_t longest);

/* What the program takes beside the model, for the plan of memory. */
struct session_need {
    const char *option; /* the program's name for the micro-batch: "--micro-batch" */
    const char *what;   /* "rows"; NULL: nothing */
    int64_t bytes;      /* of the host's memory */
};

/* Plans memory, prints the plan, and refuses what does not fit (ERR_MEMORY) unless --force;
 * then loads the model and puts the adapter on it. lo->micro_tokens becomes what fits. */
int session_open(struct session *s, struct lm_options *lo, const struct session_need *need,
                 struct err *e) RAISE_MUST_CHECK;

/* Warns, once each time, that memory ran out and the micro-batch was made smaller (lm.h). To be
 * called after work of the model: a step, a window. */
void session_watch(struct session *s);

/* The model and the adapter as inputs, in a provenance (NULL: nothing is done). */
void session_add_inputs(const struct session *s, struct prov *p);

void session_close(struct session *s);

#endif
