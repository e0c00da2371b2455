/* SPDX-License-Identifier: MIT
 *
 * tok_priv: a tokenizer from the inside. Internal to text/.
 *
 * The way of a text through tok_encode, as in Hugging Face's `tokenizers`:
 *
 *     text ── added tokens cut out (tok_added.c) ── pieces
 *     piece ── normalizers (tok_norm.c) ── normalized added tokens cut out ── text
 *     text ── pre-tokenizers (tok_pre.c, tok_regex.c) ── words, as spans of that text
 *     word ── byte-pair merges (tok_bpe.c), remembered in a cache ── ids
 *     ids ── between what the post-processor puts before and after
 *
 * Byte-level vocabularies are written in GPT-2's byte alphabet; here words stay bytes, and the
 * first symbols are looked up by byte. A loader (tok_json.c, tok_gguf.c) fills `struct tok`
 * through the functions below and then calls tok_finish.
 */
#ifndef RAISE_TEXT_TOK_PRIV_H
#define RAISE_TEXT_TOK_PRIV_H

#include "base/mem.h"
#include "text/tok.h"

#include <pthread.h>

/* "▁", which SentencePiece writes for a space */
#define TOK_SPACE "\xe2\x96\x81"
#define TOK_SPACE_LEN ((size_t)3)

struct tok_span {
    size_t start, end; /* bytes */
};

/* ---- tok_vocab.c: strings and ids ---- */

struct tok_vocab {
    struct buf text; /* all strings, end to end */
    struct tok_piece {
        uint32_t start, len;
        bool is_there;
    } * pieces; /* by id; ids may have gaps */
    size_t n, cap;
    uint32_t *slots; /* open addressing: id + 1, 0 free */
    size_t n_slots, n_used;
};
/* ERR_FORMAT: the id or the string is there already; ERR_RANGE: no sensible id or length. */
int tok_vocab_add(struct tok_vocab *v, int64_t id, const char *s, size_t len,
                  struct err *e) RAISE_MUST_CHECK;
int32_t tok_vocab_find(const struct tok_vocab *v, const char *s, size_t len); /* -1: none */
/* NULL: no such id. Borrowed. */
const char *tok_vocab_at(const struct tok_vocab *v, int64_t id, size_t *len);
void tok_vocab_free(struct tok_vocab *v);

/* ---- tok_regex.c: Oniguruma's patterns run by PCRE2 ---- */

struct tok_regex; /* owned; tok_regex_free */
int tok_regex_new(struct tok_regex **r, const char *pattern, struct err *e) RAISE_MUST_CHECK;
void tok_regex_free(struct tok_regex *r); /* NULL-safe */
struct tok_regex_state;                   /* of one thread; tok_regex_state_free */
struct tok_regex_state *tok_regex_state_new(void);
void tok_regex_state_free(struct tok_regex_state *x);
/* Next match in s[from..len), which is valid UTF-8 and all that the pattern sees. Returns 1
 * and sets *m, 0 for none, or ERR_RANGE when PCRE2 gives up. */
int tok_regex_find(const struct tok_regex *r, struct tok_regex_state *x, const char *s,
                   size_t len, size_t from, struct tok_span *m, struct err *e) RAISE_MUST_CHECK;

/* ---- what one encoding at a time works with ---- */

enum { TOK_CACHE_BITS = 15, TOK_CACHE_KEY = 34, TOK_CACHE_IDS = 7 };

struct tok_cached { /* one cache line */
    uint8_t len, n;
    char key[TOK_CACHE_KEY];
    int32_t ids[TOK_CACHE_IDS];
};

struct tok_symbols { /* of the word being merged; see tok_bpe.c */
    int32_t *id, *prev, *next, *merged;
    uint32_t *rank;
    size_t cap;
    uint64_t *heap;
    size_t heap_len, heap_cap;
};

struct tok_scratch {
    struct tok_scratch *next;   /* in the pool */
    struct buf norm[2], pre[2]; /* text after normalizers and pre-tokenizers */
    struct tok_spans {
        struct tok_span *at;
        size_t n, cap;
    } spans[2];
    uint8_t *is_match; /* flags beside spans, for Split */
    size_t is_match_cap;
    int32_t *chars; /* code points, for the normal forms */
    size_t chars_cap;
    struct tok_symbols sym;
    struct tok_regex_state *regex;
    struct tok_cached *cache; /* 1 << TOK_CACHE_BITS */
};

/* ---- the rules ---- */

enum tok_norm_kind { NORM_NFC, NORM_NFD, NORM_NFKC, NORM_NFKD, NORM_PREPEND, NORM_REPLACE };
struct tok_norm {
    enum tok_norm_kind kind;
    struct buf from, to; /* REPLACE both, PREPEND `to` */
};

/* Regexes that tok_scan.c knows by heart. */
enum tok_scanner { SCAN_NONE, SCAN_GPT2, SCAN_LLAMA3, SCAN_QWEN2 };

enum tok_behavior {
    SPLIT_ISOLATED,
    SPLIT_REMOVED,
    SPLIT_CONTIGUOUS,
    SPLIT_WITH_PREVIOUS,
    SPLIT_WITH_NEXT
};
enum tok_pre_kind { PRE_REGEX, PRE_STRING, PRE_DIGITS, PRE_PREFIX_SPACE, PRE_METASPACE };
enum tok_scheme { SCHEME_ALWAYS, SCHEME_FIRST, SCHEME_NEVER };
struct tok_pre {
    enum tok_pre_kind kind;
    enum tok_behavior behavior;
    bool is_inverted;
    struct tok_regex *regex;  /* REGEX */
    enum tok_scanner scanner; /* REGEX, ISOLATED: runs instead, when there is one */
    struct buf string;        /* STRING; METASPACE: the replacement */
    enum tok_scheme scheme;   /* METASPACE */
    bool is_split;            /* METASPACE */
};

struct tok_added {
    char *text; /* owned */
    size_t len;
    int32_t id;
    bool is_special, is_normalized, is_single_word, takes_left, takes_right;
};

enum tok_added_kind { TOK_PLAIN, TOK_ADDED, TOK_ADDED_SPECIAL };

struct tok_matcher { /* added tokens, sorted by text */
    struct tok_key {
        char *text; /* owned: normalized where the token asks for it */
        size_t len;
        const struct tok_added *token;
    } * keys;
    size_t n;
    bool is_first[256]; /* bytes that some key starts with */
    int only_first;     /* the one such byte, or -1 */
};

struct tok_pair { /* slot of the merge table; key UINT64_MAX: free */
    uint64_t key; /* left << 32 | right */
    uint32_t rank;
    int32_t id;
};

enum tok_decoder { DECODE_BYTES, DECODE_PIECES };

struct tok {
    struct tok_vocab names; /* every token as the file writes it */
    struct tok_vocab words; /* byte-level with ignore_merges: the same as bytes */

    struct tok_pair *pairs;
    size_t n_pairs, n_pair_slots;
    int pair_shift;
    int32_t byte_id[256]; /* byte-level: id of the byte; else of <0xNN>; -1: none */
    int32_t ascii_id[128];
    int32_t unk; /* -1: what is unknown is left out */
    bool is_byte_level, has_byte_fallback, is_unk_fused, is_merge_ignored;
    bool is_cut_at_space; /* no token holds another character before "▁": see tok_bpe.c */

    struct tok_added *added;
    size_t n_added, added_cap;
    uint8_t *added_kind; /* by id: enum tok_added_kind */
    struct tok_matcher raw, normalized;

    struct tok_norm *norms;
    size_t n_norms, norms_cap;
    struct tok_pre *pres;
    size_t n_pres, pres_cap;

    int32_t *before, *after; /* of the post-processor */
    size_t n_before, before_cap, n_after, after_cap;

    enum tok_decoder decoder;
    struct tok_norm *decode_replace; /* DECODE_PIECES: applied to each token */
    size_t n_decode_replace, decode_replace_cap;
    size_t n_decode_strip; /* spaces taken from the start of the text */

    int32_t bos, eos, pad;
    char *chat_template, *tool_template;
    bool has_odd_template;
    struct buf rules; /* what was set up, as text, for tok_hash */
    uint64_t hash;

    pthread_mutex_t lock;
    struct tok_scratch *pool; /* under lock */
};

struct tok *tok_new(void);
/* Builds what is derived; the tokenizer is read-only afterwards. */
int tok_finish(struct tok *t, struct err *e) RAISE_MUST_CHECK;

/* Each rule is put after those that are there. */
void tok_add_norm(struct tok *t, enum tok_norm_kind kind, const char *from, size_t from_len,
                  const char *to, size_t to_len);
int tok_add_regex(struct tok *t, const char *pattern, enum tok_behavior b, bool is_inverted,
                  struct err *e) RAISE_MUST_CHECK;
void tok_add_string(struct tok *t, const char *s, size_t len, enum tok_behavior b,
                    bool is_inverted);
void tok_add_digits(struct tok *t, bool is_individual);
void tok_add_prefix_space(struct tok *t);
void tok_add_metaspace(struct tok *t, const char *s, size_t len, enum tok_scheme scheme,
                       bool is_split);
void tok_add_decode_replace(struct tok *t, const char *from, size_t from_len, const char *to,
                            size_t to_len);
/* Puts the token into `names` as well, unless it is there. */
int tok_add_token(struct tok *t, const struct tok_added *a, struct err *e) RAISE_MUST_CHECK;

/* ---- tok_scratch.c ---- */

/* A piece of scratch memory, and back to the tokenizer that frees it. Safe from any thread. */
struct tok_scratch *tok_scratch_take(const struct tok *t);
void tok_scratch_give(const struct tok *t, struct tok_scratch *x);
void tok_scratch_free(struct tok_scratch *x);

/* ---- tok_scan.c ---- */

extern const char TOK_REGEX_GPT2[], TOK_REGEX_LLAMA3[], TOK_REGEX_QWEN2[];
enum tok_scanner tok_scanner_of(const char *pattern);
/* Appends the words of s[span) to out. */
void tok_scan(enum tok_scanner scanner, const char *s, struct tok_span span,
              struct tok_spans *out);

/* ---- tok_norm.c ---- */

/* The normalized text: s itself, or in x->norm. has_prefix: Prepend takes place. */
void tok_normalize(const struct tok *t, struct tok_scratch *x, bool has_prefix, const char **s,
                   size_t *len);
void tok_norms_free(struct tok_norm *n, size_t count);
void tok_replace(const char *s, size_t len, const struct tok_norm *r, struct buf *out);

/* ---- tok_pre.c ---- */

/* Cuts s into words: x->spans[*which] of *s, which may be moved to x->pre. */
int tok_pretokenize(const struct tok *t, struct tok_scratch *x, bool is_first,
                    bool is_continued, const char **s, size_t len, int *which,
                    struct err *e) RAISE_MUST_CHECK;

/* ---- tok_added.c ---- */

void tok_matcher_build(struct tok_matcher *m, const struct tok *t, bool is_normalized);
void tok_matcher_free(struct tok_matcher *m);
/* Next added token in s from `from` on. Returns it, or NULL, and its place in *m (with the
 * spaces that it takes). is_special false: special tokens are passed over. */
const struct tok_added *tok_matcher_find(const struct tok_matcher *m, const char *s, size_t len,
                                         size_t from, bool is_special, struct tok_span *at);

/* ---- tok_bpe.c ---- */

/* Merges of (left, right) to id; rank: lower merges first. A later one replaces an earlier. */
void tok_pairs_reserve(struct tok *t, size_t n);
void tok_pairs_add(struct tok *t, int32_t left, int32_t right, uint32_t rank, int32_t id);
void tok_bpe_finish(struct tok *t);
void tok_bpe_words(const struct tok *t, struct tok_scratch *x, const char *s,
                   const struct tok_spans *words, struct tok_ids *out);

#endif
