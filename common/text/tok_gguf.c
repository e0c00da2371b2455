/* SPDX-License-Identifier: MIT
 * tok_gguf: tokenizers from GGUF metadata; see tok.h.
 *
 * Kind "gpt2" is byte-level BPE: tokens, merges, and in tokenizer.ggml.pre the name of a set of
 * pre-tokenizers that is fixed in llama.cpp's source, not in the file. Files from before that
 * key are known by a token that only their vocabulary has there. Kind "llama" is
 * SentencePiece BPE: tokens and scores; any two neighbours whose join is a token may merge, the
 * highest score first, which is the same as merges ranked by score. */
#include "base/mem.h"
#include "text/tok_priv.h"
#include "text/tok_uni.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* llama.cpp's token types */
enum { TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER, TYPE_UNUSED, TYPE_BYTE };

static const char REGEX_TEKKEN[] =
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|"
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|"
    "\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

static const struct pre_name {
    const char *name, *regex;
    bool has_digits; /* every digit apart, first */
    bool has_nfc;
    bool is_merge_ignored;
    bool adds_bos; /* unless the file says otherwise */
} PRE_NAMES[] = {
    {"gpt-2", TOK_REGEX_GPT2, false, false, false, false},
    {"gpt2", TOK_REGEX_GPT2, false, false, false, false},
    {"olmo", TOK_REGEX_GPT2, false, false, false, false},
    {"phi-2", TOK_REGEX_GPT2, false, false, false, false},
    {"smollm", TOK_REGEX_GPT2, true, false, false, false},
    {"starcoder", TOK_REGEX_GPT2, true, false, false, false},
    {"llama-bpe", TOK_REGEX_LLAMA3, false, false, true, true},
    {"llama3", TOK_REGEX_LLAMA3, false, false, true, true},
    {"llama-v3", TOK_REGEX_LLAMA3, false, false, true, true},
    {"falcon3", TOK_REGEX_LLAMA3, false, false, true, true},
    {"falcon-h1", TOK_REGEX_LLAMA3, false, false, true, true},
    {"pixtral", TOK_REGEX_LLAMA3, false, false, true, true},
    {"midm-2.0", TOK_REGEX_LLAMA3, false, false, true, true},
    {"lfm2", TOK_REGEX_LLAMA3, false, false, true, true},
    {"dbrx", TOK_REGEX_LLAMA3, false, false, false, false},
    {"smaug-bpe", TOK_REGEX_LLAMA3, false, false, false, false},
    {"qwen2", TOK_REGEX_QWEN2, false, true, false, false},
    {"deepseek-r1-qwen", TOK_REGEX_QWEN2, false, true, false, false},
    {"tekken", REGEX_TEKKEN, false, false, true, true},
};

/* Vocabularies of files that name no set: this token at this place is of this one alone. */
static const struct {
    const char *token;
    int32_t id;
    const char *name;
} KNOWN[] = {
    {"<|begin_of_text|>", 128000, "llama-bpe"},
    {"<|endoftext|>", 151643, "qwen2"},
    {"<|endoftext|>", 50256, "gpt-2"},
    {"<|im_start|>", 1, "smollm"},
    {"[INST]", 3, "tekken"},
};

static int load_tokens(struct tok *t, const struct gguf *g, struct err *e)
{
    int64_t n = gguf_array_len(g, "tokenizer.ggml.tokens");
    if (n <= 0)
        return err_set(e, ERR_FORMAT, "tokenizer.ggml.tokens is missing");
    for (int64_t i = 0; i < n; i++) {
        size_t len;
        const char *s = gguf_array_string(g, "tokenizer.ggml.tokens", i, &len);
        if (!s)
            return err_set(e, ERR_FORMAT, "tokenizer.ggml.tokens: %lld is no string",
                           (long long)i);
        if (utf8_check(s, len) < len)
            return err_set(e, ERR_FORMAT, "tokenizer.ggml.tokens: %lld is not UTF-8",
                           (long long)i);
        int rc = tok_vocab_add(&t->names, i, s, len, e);
        if (rc < 0)
            return err_prefix(e, "tokenizer.ggml.tokens");
    }
    return 0;
}

static int64_t type_of(const struct gguf *g, int64_t id)
{
    int64_t type = TYPE_NORMAL;
    return gguf_array_int(g, "tokenizer.ggml.token_type", id, &type) ? type : TYPE_NORMAL;
}

static int load_added(struct tok *t, const struct gguf *g, struct err *e)
{
    for (int64_t i = 0; i < (int64_t)t->names.n; i++) {
        int64_t type = type_of(g, i);
        if (type != TYPE_CONTROL && type != TYPE_USER && type != TYPE_UNKNOWN)
            continue;
        size_t len;
        const char *s = tok_vocab_at(&t->names, i, &len);
        struct tok_added a = {.text = mem_strndup(s, len),
                              .len = len,
                              .id = (int32_t)i,
                              .is_special = type != TYPE_USER};
        int rc = len ? tok_add_token(t, &a, e) : 0;
        free(a.text);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int load_id(const struct tok *t, const struct gguf *g, const char *key, int32_t *id,
                   struct err *e)
{
    int64_t v;
    if (!gguf_get_int(g, key, &v) || v == -1 || v == UINT32_MAX)
        return 0;
    size_t len;
    if (!tok_vocab_at(&t->names, v, &len))
        return err_set(e, ERR_RANGE, "%s is %lld, but there are %zu tokens", key, (long long)v,
                       t->names.n);
    *id = (int32_t)v;
    return 0;
}

static int load_ids(struct tok *t, const struct gguf *g, bool adds_bos, struct err *e)
{
    int rc = load_id(t, g, "tokenizer.ggml.bos_token_id", &t->bos, e);
    if (rc == 0)
        rc = load_id(t, g, "tokenizer.ggml.eos_token_id", &t->eos, e);
    if (rc == 0)
        rc = load_id(t, g, "tokenizer.ggml.padding_token_id", &t->pad, e);
    bool adds_eos = false;
    (void)gguf_get_bool(g, "tokenizer.ggml.add_bos_token", &adds_bos);
    (void)gguf_get_bool(g, "tokenizer.ggml.add_eos_token", &adds_eos);
    if (adds_bos && t->bos >= 0) {
        MEM_GROW(t->before, t->before_cap, t->n_before + 1);
        t->before[t->n_before++] = t->bos;
    }
    if (adds_eos && t->eos >= 0) {
        MEM_GROW(t->after, t->after_cap, t->n_after + 1);
        t->after[t->n_after++] = t->eos;
    }
    return rc;
}

/* ---- byte-level ---- */

static int load_merges(struct tok *t, const struct gguf *g, struct err *e)
{
    int64_t n = gguf_array_len(g, "tokenizer.ggml.merges");
    if (n < 0 || n >= UINT32_MAX)
        return err_set(e, ERR_FORMAT, "tokenizer.ggml.merges is missing");
    tok_pairs_reserve(t, (size_t)n);
    struct buf join = {0};
    int rc = 0;
    for (int64_t i = 0; i < n && rc == 0; i++) {
        size_t len;
        const char *s = gguf_array_string(g, "tokenizer.ggml.merges", i, &len);
        const char *space = s && len > 1 ? memchr(s + 1, ' ', len - 1) : NULL;
        if (!space) {
            rc = err_set(e, ERR_FORMAT, "tokenizer.ggml.merges: %lld is no pair", (long long)i);
            break;
        }
        size_t left = (size_t)(space - s), right = len - left - 1;
        join.len = 0;
        buf_append(&join, s, left);
        buf_append(&join, space + 1, right);
        int32_t a = tok_vocab_find(&t->names, s, left);
        int32_t b = tok_vocab_find(&t->names, space + 1, right);
        int32_t id = tok_vocab_find(&t->names, buf_str(&join), join.len);
        if (a < 0 || b < 0 || id < 0)
            rc = err_set(e, ERR_FORMAT, "tokenizer.ggml.merges: \"%.*s\" is not of tokens",
                         (int)(len < 80 ? len : 80), s);
        else
            tok_pairs_add(t, a, b, (uint32_t)i, id);
    }
    buf_free(&join);
    return rc;
}

static const char *known_name(const struct tok *t)
{
    for (size_t i = 0; i < sizeof KNOWN / sizeof KNOWN[0]; i++)
        if (tok_id(t, KNOWN[i].token) == KNOWN[i].id)
            return KNOWN[i].name;
    return NULL;
}

/* "default" is what the converter wrote where it did not know. */
static const struct pre_name *find_pre(const struct tok *t, const struct gguf *g, struct err *e)
{
    const char *name = gguf_get_string(g, "tokenizer.ggml.pre");
    const char *known = !name || strcmp(name, "default") == 0 ? known_name(t) : name;
    for (size_t i = 0; known && i < sizeof PRE_NAMES / sizeof PRE_NAMES[0]; i++)
        if (strcmp(PRE_NAMES[i].name, known) == 0)
            return &PRE_NAMES[i];
    if (known)
        err_set(e, ERR_UNSUPPORTED, "tokenizer.ggml.pre \"%s\" is not supported", known);
    else
        err_set(e, ERR_UNSUPPORTED,
                "tokenizer.ggml.pre %s, and the vocabulary is none that is known: how it cuts "
                "a text into words is not in the file; convert the model anew, or use its "
                "Hugging Face folder",
                name ? "is \"default\"" : "is missing");
    return NULL;
}

static int load_bytes(struct tok *t, const struct gguf *g, struct err *e)
{
    const struct pre_name *p = find_pre(t, g, e);
    if (!p)
        return ERR_UNSUPPORTED;
    t->is_byte_level = true;
    t->is_merge_ignored = p->is_merge_ignored;
    t->decoder = DECODE_BYTES;
    if (p->has_nfc)
        tok_add_norm(t, NORM_NFC, "", 0, "", 0);
    if (p->has_digits)
        tok_add_digits(t, true);
    int rc = tok_add_regex(t, p->regex, SPLIT_ISOLATED, false, e);
    if (rc == 0)
        rc = load_merges(t, g, e);
    return rc < 0 ? rc : load_ids(t, g, p->adds_bos, e);
}

/* ---- SentencePiece ---- */

struct scored {
    double score;
    int32_t id;
};

static int compare_scored(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static bool is_mergeable(const struct gguf *g, int32_t id)
{
    int64_t type = id < 0 ? TYPE_UNUSED : type_of(g, id);
    return type == TYPE_NORMAL || type == TYPE_USER;
}

/* All ways to join two tokens into this one. */
static void add_splits(struct tok *t, const struct gguf *g, int32_t id, uint32_t rank)
{
    size_t len, n;
    const char *s = tok_vocab_at(&t->names, id, &len);
    for (size_t i = 0; i < len; i += n) {
        (void)utf8_at((const unsigned char *)s + i, &n);
        if (i == 0)
            continue;
        int32_t a = tok_vocab_find(&t->names, s, i);
        int32_t b = tok_vocab_find(&t->names, s + i, len - i);
        if (is_mergeable(g, a) && is_mergeable(g, b))
            tok_pairs_add(t, a, b, rank, id);
    }
}

static int load_scores(struct tok *t, const struct gguf *g, struct err *e)
{
    int64_t n = gguf_array_len(g, "tokenizer.ggml.scores");
    if (n != (int64_t)t->names.n)
        return err_set(e, ERR_MISMATCH, "tokenizer.ggml.scores: %lld for %zu tokens",
                       (long long)n, t->names.n);
    struct scored *order = mem_alloc((size_t)n, sizeof *order);
    int rc = 0;
    for (int64_t i = 0; i < n && rc == 0; i++) {
        order[i].id = (int32_t)i;
        if (!gguf_array_real(g, "tokenizer.ggml.scores", i, &order[i].score) ||
            isnan(order[i].score))
            rc = err_set(e, ERR_FORMAT, "tokenizer.ggml.scores: %lld is no number",
                         (long long)i);
    }
    if (rc == 0)
        qsort(order, (size_t)n, sizeof *order, compare_scored);
    uint32_t rank = 0;
    for (int64_t i = 0; i < n && rc == 0; i++) {
        rank += i > 0 && order[i].score != order[i - 1].score;
        if (is_mergeable(g, order[i].id))
            add_splits(t, g, order[i].id, rank);
    }
    free(order);
    return rc;
}

static int load_sentencepiece(struct tok *t, const struct gguf *g, struct err *e)
{
    bool adds_space = true;
    (void)gguf_get_bool(g, "tokenizer.ggml.add_space_prefix", &adds_space);
    t->has_byte_fallback = t->is_unk_fused = true;
    t->decoder = DECODE_PIECES;
    if (adds_space)
        tok_add_norm(t, NORM_PREPEND, "", 0, TOK_SPACE, TOK_SPACE_LEN);
    tok_add_norm(t, NORM_REPLACE, " ", 1, TOK_SPACE, TOK_SPACE_LEN);
    tok_add_decode_replace(t, TOK_SPACE, TOK_SPACE_LEN, " ", 1);
    t->n_decode_strip = adds_space ? 1 : 0;
    int rc = load_id(t, g, "tokenizer.ggml.unknown_token_id", &t->unk, e);
    if (rc == 0)
        rc = load_scores(t, g, e);
    return rc < 0 ? rc : load_ids(t, g, true, e);
}

struct tok *tok_load_gguf(const struct gguf *g, const char *name, struct err *e)
{
    struct tok *t = tok_new();
    const char *kind = gguf_get_string(g, "tokenizer.ggml.model");
    const char *chat = gguf_get_string(g, "tokenizer.chat_template");
    const char *tool = gguf_get_string(g, "tokenizer.chat_template.tool_use");
    int rc = load_tokens(t, g, e);
    if (rc == 0)
        rc = load_added(t, g, e);
    if (rc < 0)
        goto out;
    if (kind && strcmp(kind, "gpt2") == 0)
        rc = load_bytes(t, g, e);
    else if (kind && strcmp(kind, "llama") == 0)
        rc = load_sentencepiece(t, g, e);
    else
        rc = err_set(e, ERR_UNSUPPORTED, "tokenizer.ggml.model \"%s\" is not supported",
                     kind ? kind : "(none)");
    if (rc == 0)
        rc = tok_finish(t, e);
    t->chat_template = chat ? mem_strdup(chat) : NULL;
    t->tool_template = tool ? mem_strdup(tool) : NULL;
out:
    if (rc < 0) {
        err_prefix(e, "%s", name);
        tok_free(t);
        return NULL;
    }
    return t;
}
