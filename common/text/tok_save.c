/* SPDX-License-Identifier: MIT
 * tok_save: a tokenizer as the files of a Hugging Face folder; see tok.h.
 *
 * What the loader of a GGUF set up is written as the parts that `tokenizers` builds the same
 * from. Merges of equal rank (SentencePiece's splits of one token, or equal scores) have an
 * order there: that of the ids of left and right, as transformers converts such vocabularies.
 */
#include "base/file.h"
#include "base/mem.h"
#include "text/tok_priv.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

static json_t *name_of(const struct tok *t, int64_t id)
{
    size_t len;
    const char *s = id < 0 ? NULL : tok_vocab_at(&t->names, id, &len);
    return s ? json_stringn_nocheck(s, len) : json_null();
}

static json_t *text_of(const struct buf *b)
{
    return json_stringn_nocheck(b->len ? b->data : "", b->len);
}

/* A part alone, or a sequence of them under `list`. */
static json_t *sequence(json_t *parts, const char *list)
{
    json_t *one = json_null();
    if (json_array_size(parts) > 1)
        return json_pack("{s:s, s:o}", "type", "Sequence", list, parts);
    if (json_array_size(parts) == 1)
        one = json_incref(json_array_get(parts, 0));
    json_decref(parts);
    return one;
}

static json_t *replace(const struct tok_norm *r)
{
    return json_pack("{s:s, s:{s:o}, s:o}", "type", "Replace", "pattern", "String",
                     text_of(&r->from), "content", text_of(&r->to));
}

static json_t *normalizer(const struct tok *t)
{
    static const char *const FORMS[] = {"NFC", "NFD", "NFKC", "NFKD"};
    json_t *parts = json_array();
    for (size_t i = 0; i < t->n_norms; i++) {
        const struct tok_norm *r = &t->norms[i];
        json_t *part;
        if (r->kind == NORM_REPLACE)
            part = replace(r);
        else if (r->kind == NORM_PREPEND)
            part = json_pack("{s:s, s:o}", "type", "Prepend", "prepend", text_of(&r->to));
        else
            part = json_pack("{s:s}", "type", FORMS[r->kind - NORM_NFC]);
        json_array_append_new(parts, part);
    }
    return sequence(parts, "normalizers");
}

static json_t *byte_level(void)
{
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0,
                     "trim_offsets", 1, "use_regex", 0);
}

/* Of a GGUF: digits apart, a regular expression. */
static json_t *pre_tokenizer(const struct tok *t)
{
    json_t *parts = json_array();
    for (size_t i = 0; i < t->n_pres; i++) {
        const struct tok_pre *p = &t->pres[i];
        json_t *part;
        if (p->kind == PRE_DIGITS)
            part = json_pack("{s:s, s:b}", "type", "Digits", "individual_digits",
                             p->behavior == SPLIT_ISOLATED);
        else
            part = json_pack("{s:s, s:{s:o}, s:s, s:b}", "type", "Split", "pattern", "Regex",
                             text_of(&p->string), "behavior", "Isolated", "invert", 0);
        json_array_append_new(parts, part);
    }
    if (t->is_byte_level)
        json_array_append_new(parts, byte_level());
    return sequence(parts, "pretokenizers");
}

static json_t *decoder(const struct tok *t)
{
    if (t->decoder == DECODE_BYTES)
        return byte_level();
    json_t *parts = json_array();
    for (size_t i = 0; i < t->n_decode_replace; i++)
        json_array_append_new(parts, replace(&t->decode_replace[i]));
    json_array_append_new(parts, json_pack("{s:s}", "type", "ByteFallback"));
    json_array_append_new(parts, json_pack("{s:s}", "type", "Fuse"));
    if (t->n_decode_strip)
        json_array_append_new(parts,
                              json_pack("{s:s, s:s, s:I, s:i}", "type", "Strip", "content", " ",
                                        "start", (json_int_t)t->n_decode_strip, "stop", 0));
    return sequence(parts, "decoders");
}

static void add_specials(const struct tok *t, json_t *list, json_t *known, const int32_t *ids,
                         size_t n)
{
    for (size_t i = 0; i < n; i++) {
        json_t *name = name_of(t, ids[i]);
        json_array_append_new(
            list, json_pack("{s:{s:O, s:i}}", "SpecialToken", "id", name, "type_id", 0));
        json_object_set_new_nocheck(
            known, json_string_value(name),
            json_pack("{s:O, s:[i], s:[O]}", "id", name, "ids", (int)ids[i], "tokens", name));
        json_decref(name);
    }
}

static json_t *post_processor(const struct tok *t)
{
    if (t->n_before + t->n_after == 0)
        return json_null();
    json_t *one = json_array(), *two = json_array(), *known = json_object();
    json_t *lists[] = {one, two};
    for (int i = 0; i < 2; i++) {
        add_specials(t, lists[i], known, t->before, t->n_before);
        json_array_append_new(lists[i],
                              json_pack("{s:{s:s, s:i}}", "Sequence", "id", "A", "type_id", 0));
        add_specials(t, lists[i], known, t->after, t->n_after);
    }
    json_array_append_new(two,
                          json_pack("{s:{s:s, s:i}}", "Sequence", "id", "B", "type_id", 1));
    return json_pack("{s:s, s:o, s:o, s:o}", "type", "TemplateProcessing", "single", one,
                     "pair", two, "special_tokens", known);
}

static json_t *added_tokens(const struct tok *t)
{
    json_t *list = json_array();
    for (size_t i = 0; i < t->n_added; i++) {
        const struct tok_added *a = &t->added[i];
        json_array_append_new(list,
                              json_pack("{s:i, s:o, s:b, s:b, s:b, s:b, s:b}", "id", (int)a->id,
                                        "content", json_stringn_nocheck(a->text, a->len),
                                        "single_word", a->is_single_word, "lstrip",
                                        a->takes_left, "rstrip", a->takes_right, "normalized",
                                        a->is_normalized, "special", a->is_special));
    }
    return list;
}

static int compare_pairs(const void *a, const void *b)
{
    const struct tok_pair *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return (x->key > y->key) - (x->key < y->key);
}

static json_t *merge(const struct tok *t, const struct tok_pair *p)
{
    json_t *left = name_of(t, (int64_t)(p->key >> 32));
    json_t *right = name_of(t, (int64_t)(p->key & UINT32_MAX)), *both;
    const char *a = json_string_value(left), *b = json_string_value(right);
    if (strchr(a, ' ') || strchr(b, ' '))
        return json_pack("[o, o]", left, right);
    char *text = mem_printf("%s %s", a, b);
    both = json_string_nocheck(text);
    free(text);
    json_decref(left);
    json_decref(right);
    return both;
}

static json_t *merges(const struct tok *t)
{
    struct tok_pair *order = mem_alloc(t->n_pairs + 1, sizeof *order);
    size_t n = 0;
    for (size_t i = 0; i < t->n_pair_slots; i++)
        if (t->pairs[i].key != UINT64_MAX)
            order[n++] = t->pairs[i];
    qsort(order, n, sizeof *order, compare_pairs);
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, merge(t, &order[i]));
    free(order);
    return list;
}

static json_t *model(const struct tok *t)
{
    json_t *vocab = json_object();
    for (size_t id = 0; id < t->names.n; id++) {
        json_t *name = name_of(t, (int64_t)id);
        if (json_is_string(name))
            json_object_set_new_nocheck(vocab, json_string_value(name),
                                        json_integer((json_int_t)id));
        json_decref(name);
    }
    return json_pack("{s:s, s:n, s:o, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE",
                     "dropout", "unk_token", name_of(t, t->unk), "continuing_subword_prefix",
                     "end_of_word_suffix", "fuse_unk", t->is_unk_fused, "byte_fallback",
                     t->has_byte_fallback, "ignore_merges", t->is_merge_ignored, "vocab", vocab,
                     "merges", merges(t));
}

static void set_known(json_t *o, const char *key, json_t *v)
{
    if (json_is_null(v))
        json_decref(v);
    else
        json_object_set_new_nocheck(o, key, v);
}

static json_t *config(const struct tok *t)
{
    json_t *o = json_pack("{s:b, s:b, s:s}", "add_bos_token", tok_adds_bos(t),
                          "clean_up_tokenization_spaces", 0, "tokenizer_class",
                          "PreTrainedTokenizerFast");
    set_known(o, "bos_token", name_of(t, t->bos));
    set_known(o, "eos_token", name_of(t, t->eos));
    set_known(o, "pad_token", name_of(t, t->pad));
    set_known(o, "unk_token", name_of(t, t->unk));
    if (t->chat_template)
        json_object_set_new_nocheck(o, "chat_template", json_string_nocheck(t->chat_template));
    return o;
}

static json_t *generation_config(const struct tok *t)
{
    const int32_t ids[] = {t->bos, t->eos, t->pad};
    static const char *const KEYS[] = {"bos_token_id", "eos_token_id", "pad_token_id"};
    json_t *o = json_object();
    for (int i = 0; i < 3; i++)
        if (ids[i] >= 0)
            json_object_set_new(o, KEYS[i], json_integer(ids[i]));
    return o;
}

static int write_json(const char *dir, const char *name, json_t *o, struct err *e)
{
    char *path = mem_printf("%s/%s", dir, name);
    char *text = json_dumps(o, JSON_INDENT(2));
    int rc = text ? file_write_all(path, text, strlen(text), e)
                  : err_set(e, ERR_FORMAT, "%s: a token is not UTF-8", path);
    json_decref(o);
    free(text);
    free(path);
    return rc;
}

int tok_save(const struct tok *t, const char *dir, struct err *e)
{
    json_t *o =
        json_pack("{s:s, s:n, s:n, s:o, s:o, s:o, s:o, s:o, s:o}", "version", "1.0",
                  "truncation", "padding", "added_tokens", added_tokens(t), "normalizer",
                  normalizer(t), "pre_tokenizer", pre_tokenizer(t), "post_processor",
                  post_processor(t), "decoder", decoder(t), "model", model(t));
    int rc = write_json(dir, "tokenizer.json", o, e);
    if (rc == 0)
        rc = write_json(dir, "tokenizer_config.json", config(t), e);
    return rc < 0 ? rc : write_json(dir, "generation_config.json", generation_config(t), e);
}
