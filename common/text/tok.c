/* SPDX-License-Identifier: MIT
 * tok: tokenizers; see tok.h for use and tok_priv.h for how they work inside. */
#include "text/tok.h"

#include "text/tok_priv.h"
#include "text/tok_uni.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

/* ---- building ---- */

struct tok *tok_new(void)
{
    struct tok *t = mem_zalloc(1, sizeof *t);
    t->unk = t->bos = t->eos = t->pad = -1;
    t->raw.only_first = t->normalized.only_first = -1;
    pthread_mutex_init(&t->lock, NULL);
    return t;
}

static void append(struct buf *b, const char *s, size_t len)
{
    buf_append(b, s, len);
    (void)buf_str(b);
}

static void add_rule(struct tok *t, const char *name, int number, const char *a, size_t a_len,
                     const char *b, size_t b_len)
{
    buf_printf(&t->rules, "%s %d %zu:", name, number, a_len);
    buf_append(&t->rules, a, a_len);
    buf_printf(&t->rules, " %zu:", b_len);
    buf_append(&t->rules, b, b_len);
    buf_putc(&t->rules, '\n');
}

void tok_add_norm(struct tok *t, enum tok_norm_kind kind, const char *from, size_t from_len,
                  const char *to, size_t to_len)
{
    MEM_GROW(t->norms, t->norms_cap, t->n_norms + 1);
    struct tok_norm *r = &t->norms[t->n_norms++];
    *r = (struct tok_norm){.kind = kind};
    append(&r->from, from, from_len);
    append(&r->to, to, to_len);
    add_rule(t, "normalize", (int)kind, from, from_len, to, to_len);
}

static struct tok_pre *add_pre(struct tok *t, enum tok_pre_kind kind, enum tok_behavior b,
                               bool is_inverted, const char *s, size_t len)
{
    MEM_GROW(t->pres, t->pres_cap, t->n_pres + 1);
    struct tok_pre *p = &t->pres[t->n_pres++];
    *p = (struct tok_pre){.kind = kind, .behavior = b, .is_inverted = is_inverted};
    append(&p->string, s, len);
    add_rule(t, "split", (int)kind * 16 + (int)b * 2 + is_inverted, s, len, "", 0);
    return p;
}

int tok_add_regex(struct tok *t, const char *pattern, enum tok_behavior b, bool is_inverted,
                  struct err *e)
{
    struct tok_pre *p = add_pre(t, PRE_REGEX, b, is_inverted, pattern, strlen(pattern));
    p->scanner = b == SPLIT_ISOLATED && !is_inverted ? tok_scanner_of(pattern) : SCAN_NONE;
    return tok_regex_new(&p->regex, pattern, e);
}

void tok_add_string(struct tok *t, const char *s, size_t len, enum tok_behavior b,
                    bool is_inverted)
{
    add_pre(t, PRE_STRING, b, is_inverted, s, len);
}

void tok_add_digits(struct tok *t, bool is_individual)
{
    add_pre(t, PRE_DIGITS, is_individual ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS, false, "", 0);
}

void tok_add_prefix_space(struct tok *t)
{
    add_pre(t, PRE_PREFIX_SPACE, SPLIT_ISOLATED, false, "", 0);
}

void tok_add_metaspace(struct tok *t, const char *s, size_t len, enum tok_scheme scheme,
                       bool is_split)
{
    struct tok_pre *p = add_pre(t, PRE_METASPACE, SPLIT_WITH_NEXT, false, s, len);
    p->scheme = scheme;
    p->is_split = is_split;
    add_rule(t, "metaspace", (int)scheme * 2 + is_split, "", 0, "", 0);
}

void tok_add_decode_replace(struct tok *t, const char *from, size_t from_len, const char *to,
                            size_t to_len)
{
    MEM_GROW(t->decode_replace, t->decode_replace_cap, t->n_decode_replace + 1);
    struct tok_norm *r = &t->decode_replace[t->n_decode_replace++];
    *r = (struct tok_norm){.kind = NORM_REPLACE};
    append(&r->from, from, from_len);
    append(&r->to, to, to_len);
    add_rule(t, "decode", 0, from, from_len, to, to_len);
}

int tok_add_token(struct tok *t, const struct tok_added *a, struct err *e)
{
    if (tok_vocab_find(&t->names, a->text, a->len) != a->id) {
        int rc = tok_vocab_add(&t->names, a->id, a->text, a->len, e);
        if (rc < 0)
            return err_prefix(e, "added tokens");
    }
    MEM_GROW(t->added, t->added_cap, t->n_added + 1);
    struct tok_added *d = &t->added[t->n_added++];
    *d = *a;
    d->text = mem_strndup(a->text, a->len);
    add_rule(t, "added",
             a->is_special | a->is_normalized << 1 | a->is_single_word << 2 |
                 a->takes_left << 3 | a->takes_right << 4,
             a->text, a->len, "", 0);
    return 0;
}

/* The bytes of a byte-level token's name, or false when it is not in the byte alphabet. */
static bool bytes_of_name(const char *s, size_t len, struct buf *out)
{
    out->len = 0;
    size_t n;
    for (size_t i = 0; i < len; i += n) {
        int b = char_to_byte(utf8_at((const unsigned char *)s + i, &n));
        if (b < 0)
            return false;
        buf_putc(out, (char)b);
    }
    return true;
}

static int build_words(struct tok *t, struct err *e)
{
    struct buf bytes = {0};
    int rc = 0;
    for (size_t id = 0; id < t->names.n && rc == 0; id++) {
        size_t len;
        const char *s = tok_vocab_at(&t->names, (int64_t)id, &len);
        if (s && bytes_of_name(s, len, &bytes))
            rc = tok_vocab_add(&t->words, (int64_t)id, buf_str(&bytes), bytes.len, e);
    }
    buf_free(&bytes);
    return rc;
}

static uint64_t hash_of(const struct tok *t)
{
    XXH3_state_t *h = XXH3_createState();
    XXH3_64bits_reset(h);
    for (size_t id = 0; id < t->names.n; id++) {
        size_t len = 0;
        const char *s = tok_vocab_at(&t->names, (int64_t)id, &len);
        uint64_t head[2] = {id, s ? len : UINT64_MAX};
        XXH3_64bits_update(h, head, sizeof head);
        XXH3_64bits_update(h, s ? s : "", len);
    }
    XXH3_64bits_update(h, t->rules.data, t->rules.len);
    XXH3_64bits_update(h, t->before, t->n_before * sizeof *t->before);
    XXH3_64bits_update(h, t->after, t->n_after * sizeof *t->after);
    int32_t rest[] = {t->unk,
                      t->bos,
                      t->eos,
                      t->is_byte_level,
                      t->has_byte_fallback,
                      t->is_unk_fused,
                      t->is_merge_ignored,
                      (int32_t)t->n_before,
                      (int32_t)t->n_after};
    XXH3_64bits_update(h, rest, sizeof rest);
    uint64_t sum = 0; /* the table's order is no part of the identity */
    for (size_t i = 0; i < t->n_pair_slots; i++) {
        const struct tok_pair *p = &t->pairs[i];
        uint64_t v[2] = {p->key, (uint64_t)p->rank << 32 | (uint32_t)p->id};
        sum += p->key == UINT64_MAX ? 0 : XXH3_64bits(v, sizeof v);
    }
    XXH3_64bits_update(h, &sum, sizeof sum);
    uint64_t v = XXH3_64bits_digest(h);
    XXH3_freeState(h);
    return v;
}

int tok_finish(struct tok *t, struct err *e)
{
    if (t->names.n_used == 0)
        return err_set(e, ERR_EMPTY, "the vocabulary is empty");
    tok_bpe_finish(t);
    if (t->is_byte_level && t->is_merge_ignored) {
        int rc = build_words(t, e);
        if (rc < 0)
            return rc;
    }
    t->added_kind = mem_zalloc(t->names.n, 1);
    for (size_t i = 0; i < t->n_added; i++)
        t->added_kind[t->added[i].id] = t->added[i].is_special ? TOK_ADDED_SPECIAL : TOK_ADDED;
    tok_matcher_build(&t->raw, t, false);
    tok_matcher_build(&t->normalized, t, true);
    t->hash = hash_of(t);
    return 0;
}

void tok_free(struct tok *t)
{
    if (!t)
        return;
    for (struct tok_scratch *x = t->pool, *next; x; x = next) {
        next = x->next;
        tok_scratch_free(x);
    }
    for (size_t i = 0; i < t->n_pres; i++) {
        tok_regex_free(t->pres[i].regex);
        buf_free(&t->pres[i].string);
    }
    for (size_t i = 0; i < t->n_added; i++)
        free(t->added[i].text);
    tok_vocab_free(&t->names);
    tok_vocab_free(&t->words);
    tok_matcher_free(&t->raw);
    tok_matcher_free(&t->normalized);
    tok_norms_free(t->norms, t->n_norms);
    tok_norms_free(t->decode_replace, t->n_decode_replace);
    free(t->pairs);
    free(t->added);
    free(t->added_kind);
    free(t->pres);
    free(t->before);
    free(t->after);
    free(t->chat_template);
    free(t->tool_template);
    buf_free(&t->rules);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

/* ---- what it is ---- */

int64_t tok_n_vocab(const struct tok *t)
{
    return (int64_t)t->names.n;
}

int32_t tok_bos(const struct tok *t)
{
    return t->bos;
}

int32_t tok_eos(const struct tok *t)
{
    return t->eos;
}

int32_t tok_pad(const struct tok *t)
{
    return t->pad;
}

bool tok_is_special(const struct tok *t, int32_t id)
{
    return id >= 0 && (size_t)id < t->names.n && t->added_kind[id] == TOK_ADDED_SPECIAL;
}

bool tok_adds_bos(const struct tok *t)
{
    return t->n_before > 0 && t->before[0] == t->bos;
}

int32_t tok_id(const struct tok *t, const char *token)
{
    return tok_vocab_find(&t->names, token, strlen(token));
}

int32_t tok_unk(const struct tok *t)
{
    return t->unk;
}

const char *tok_chat_template(const struct tok *t)
{
    return t->chat_template;
}

const char *tok_tool_template(const struct tok *t)
{
    return t->tool_template;
}

bool tok_has_odd_template(const struct tok *t)
{
    return t->has_odd_template;
}

uint64_t tok_hash(const struct tok *t)
{
    return t->hash;
}

/* ---- encoding ---- */

struct encoding {
    const struct tok *t;
    struct tok_scratch *x;
    int flags;
    struct tok_ids *out;
    struct err *e;
};

static void put_id(struct tok_ids *out, int32_t id)
{
    MEM_GROW(out->ids, out->cap, out->n + 1);
    out->ids[out->n++] = id;
}

static int encode_words(const struct encoding *c, const char *s, size_t len, bool is_first)
{
    if (len == 0)
        return 0;
    int which = 0;
    bool is_continued = is_first && (c->flags & TOK_CONTINUE);
    int rc = tok_pretokenize(c->t, c->x, is_first, is_continued, &s, len, &which, c->e);
    if (rc == 0)
        tok_bpe_words(c->t, c->x, s, &c->x->spans[which], c->out);
    return rc;
}

/* Text between added tokens, before it is normalized. */
static int encode_piece(const struct encoding *c, const char *s, size_t len, bool is_first)
{
    bool is_special = c->flags & TOK_SPECIAL;
    if (len == 0)
        return 0;
    tok_normalize(c->t, c->x, !is_first || !(c->flags & TOK_CONTINUE), &s, &len);
    size_t from = 0;
    struct tok_span at;
    const struct tok_added *a;
    while ((a = tok_matcher_find(&c->t->normalized, s, len, from, is_special, &at))) {
        int rc = encode_words(c, s + from, at.start - from, is_first && from == 0);
        if (rc < 0)
            return rc;
        put_id(c->out, a->id);
        from = at.end;
    }
    return encode_words(c, s + from, len - from, is_first && from == 0);
}

static int encode_text(const struct encoding *c, const char *s, size_t len)
{
    size_t from = 0;
    struct tok_span at;
    const struct tok_added *a;
    while ((a = tok_matcher_find(&c->t->raw, s, len, from, c->flags & TOK_SPECIAL, &at))) {
        int rc = encode_piece(c, s + from, at.start - from, from == 0);
        if (rc < 0)
            return rc;
        put_id(c->out, a->id);
        from = at.end;
    }
    return encode_piece(c, s + from, len - from, from == 0);
}

int tok_encode(const struct tok *t, const char *s, size_t len, int flags, struct tok_ids *out,
               struct err *e)
{
    if (len > INT32_MAX / 8)
        return err_set(e, ERR_RANGE, "text of %zu bytes: more than 256 MiB", len);
    size_t good = utf8_check(s, len);
    if (good < len)
        return err_set(e, ERR_FORMAT, "byte %zu: not UTF-8", good);
    struct encoding c = {t, tok_scratch_take(t), flags, out, e};
    for (size_t i = 0; i < t->n_before && (flags & TOK_ADD); i++)
        put_id(out, t->before[i]);
    int rc = encode_text(&c, s, len);
    for (size_t i = 0; i < t->n_after && (flags & TOK_ADD); i++)
        put_id(out, t->after[i]);
    tok_scratch_give(t, c.x);
    return rc;
}
