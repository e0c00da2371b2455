/* SPDX-License-Identifier: MIT
 * tok_json: tokenizers from tokenizer.json; see tok.h.
 *
 * The file describes a pipeline of parts, each an object with a "type". A part that is not
 * known here is an error that names it, and so is a setting that would change the ids: a text
 * is tokenized as the file says or not at all. */
#include "text/tok_json.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/sniff.h"
#include "stream/zio.h"
#include "text/tok_uni.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

/* ---- small readers; an absent or null member is its default ---- */

static const char *text_of(const json_t *o, const char *key, const char *if_absent)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : if_absent;
}

static bool flag_of(const json_t *o, const char *key, bool if_absent)
{
    const json_t *v = json_object_get(o, key);
    return json_is_boolean(v) ? json_is_true(v) : if_absent;
}

static const char *type_of(const json_t *o)
{
    return text_of(o, "type", "(no type)");
}

static bool is_type(const json_t *o, const char *type)
{
    return strcmp(type_of(o), type) == 0;
}

static int not_supported(const char *what, const json_t *o, struct err *e)
{
    return err_set(e, ERR_UNSUPPORTED, "%s \"%s\" is not supported", what, type_of(o));
}

/* Calls `one` for the part, or for each part of a sequence whose members are under `list`. */
typedef int part_reader(struct tok *t, const json_t *part, struct err *e);
static int each_part(struct tok *t, const json_t *part, const char *list, part_reader *one,
                     struct err *e)
{
    if (!part || json_is_null(part))
        return 0;
    if (!is_type(part, "Sequence"))
        return one(t, part, e);
    size_t i;
    json_t *member;
    json_array_foreach(json_object_get(part, list), i, member)
    {
        int rc = each_part(t, member, list, one, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* A pattern is {"String": s} or {"Regex": r}. */
static const char *string_pattern(const json_t *part)
{
    return text_of(json_object_get(part, "pattern"), "String", NULL);
}

/* ---- normalizers ---- */

static int read_normalizer(struct tok *t, const json_t *part, struct err *e)
{
    static const char *const FORMS[] = {"NFC", "NFD", "NFKC", "NFKD"}; /* as in the enum */
    for (int i = 0; i < 4; i++)
        if (is_type(part, FORMS[i])) {
            tok_add_norm(t, (enum tok_norm_kind)(NORM_NFC + i), "", 0, "", 0);
            return 0;
        }
    if (is_type(part, "Prepend")) {
        const char *s = text_of(part, "prepend", "");
        tok_add_norm(t, NORM_PREPEND, "", 0, s, strlen(s));
        return 0;
    }
    const char *from = string_pattern(part), *to = text_of(part, "content", "");
    if (is_type(part, "Replace") && from) {
        tok_add_norm(t, NORM_REPLACE, from, strlen(from), to, strlen(to));
        return 0;
    }
    return not_supported("normalizer", part, e);
}

/* ---- pre-tokenizers ---- */

static int read_behavior(const json_t *part, enum tok_behavior *b, struct err *e)
{
    static const char *const NAMES[] = {"Isolated", "Removed", "Contiguous",
                                        "MergedWithPrevious", "MergedWithNext"};
    const char *name = text_of(part, "behavior", "(none)");
    for (int i = 0; i < 5; i++)
        if (strcmp(name, NAMES[i]) == 0) {
            *b = (enum tok_behavior)i;
            return 0;
        }
    return err_set(e, ERR_UNSUPPORTED, "pre_tokenizer: behavior \"%s\" is not supported", name);
}

static int read_split(struct tok *t, const json_t *part, struct err *e)
{
    enum tok_behavior b = SPLIT_ISOLATED;
    int rc = read_behavior(part, &b, e);
    if (rc < 0)
        return rc;
    bool is_inverted = flag_of(part, "invert", false);
    const char *string = string_pattern(part);
    const char *regex = text_of(json_object_get(part, "pattern"), "Regex", NULL);
    if (string)
        tok_add_string(t, string, strlen(string), b, is_inverted);
    else if (regex)
        rc = tok_add_regex(t, regex, b, is_inverted, e);
    else
        rc = err_set(e, ERR_FORMAT, "Split has no pattern");
    return rc < 0 ? err_prefix(e, "pre_tokenizer") : 0;
}

static int read_scheme(const json_t *part, enum tok_scheme *scheme, struct err *e)
{
    bool is_old = flag_of(part, "add_prefix_space", true); /* the name before 2024 */
    const char *name = text_of(part, "prepend_scheme", is_old ? "always" : "never");
    static const char *const NAMES[] = {"always", "first", "never"};
    for (int i = 0; i < 3; i++)
        if (strcmp(name, NAMES[i]) == 0) {
            *scheme = (enum tok_scheme)i;
            return 0;
        }
    return err_set(e, ERR_UNSUPPORTED, "Metaspace: prepend_scheme \"%s\" is not supported",
                   name);
}

static int read_metaspace(struct tok *t, const json_t *part, struct err *e)
{
    enum tok_scheme scheme = SCHEME_ALWAYS;
    int rc = read_scheme(part, &scheme, e);
    const char *s = text_of(part, "replacement", TOK_SPACE);
    if (rc == 0)
        tok_add_metaspace(t, s, strlen(s), scheme, flag_of(part, "split", true));
    return rc;
}

static int read_pre_tokenizer(struct tok *t, const json_t *part, struct err *e)
{
    if (t->is_byte_level)
        return err_set(e, ERR_UNSUPPORTED,
                       "pre_tokenizer: \"%s\" after \"ByteLevel\" is not supported",
                       type_of(part));
    if (is_type(part, "Split"))
        return read_split(t, part, e);
    if (is_type(part, "Metaspace"))
        return read_metaspace(t, part, e);
    if (is_type(part, "Digits")) {
        tok_add_digits(t, flag_of(part, "individual_digits", false));
        return 0;
    }
    if (!is_type(part, "ByteLevel"))
        return not_supported("pre_tokenizer", part, e);
    t->is_byte_level = true;
    if (flag_of(part, "add_prefix_space", true))
        tok_add_prefix_space(t);
    return flag_of(part, "use_regex", true)
               ? tok_add_regex(t, TOK_REGEX_GPT2, SPLIT_ISOLATED, false, e)
               : 0;
}

/* ---- decoders ---- */

static int read_decoder(struct tok *t, const json_t *part, struct err *e)
{
    const char *from = string_pattern(part), *to = text_of(part, "content", "");
    if (is_type(part, "ByteLevel")) {
        t->decoder = DECODE_BYTES;
    } else if (is_type(part, "Replace") && from) {
        tok_add_decode_replace(t, from, strlen(from), to, strlen(to));
    } else if (is_type(part, "Metaspace")) {
        enum tok_scheme scheme = SCHEME_ALWAYS;
        int rc = read_scheme(part, &scheme, e);
        if (rc < 0)
            return rc;
        const char *s = text_of(part, "replacement", TOK_SPACE);
        tok_add_decode_replace(t, s, strlen(s), " ", 1);
        t->n_decode_strip = scheme == SCHEME_NEVER ? 0 : 1;
    } else if (is_type(part, "Strip") && strcmp(to, " ") == 0 &&
               json_integer_value(json_object_get(part, "stop")) == 0) {
        json_int_t n = json_integer_value(json_object_get(part, "start"));
        t->n_decode_strip = n > 0 ? (size_t)n : 0;
    } else if (!is_type(part, "ByteFallback") && !is_type(part, "Fuse")) {
        return not_supported("decoder", part, e); /* those two are what we do anyway */
    }
    return 0;
}

/* ---- the post-processor ---- */

static void put_ids(int32_t **ids, size_t *n, size_t *cap, const json_t *list)
{
    size_t i;
    json_t *id;
    json_array_foreach(list, i, id)
    {
        MEM_GROW(*ids, *cap, *n + 1);
        (*ids)[(*n)++] = (int32_t)json_integer_value(id);
    }
}

static int read_template(struct tok *t, const json_t *part, struct err *e)
{
    const json_t *specials = json_object_get(part, "special_tokens");
    bool has_text = false;
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(part, "single"), i, item)
    {
        const json_t *special = json_object_get(item, "SpecialToken");
        const char *name = text_of(special, "id", NULL);
        if (!special) {
            has_text = true;
            continue;
        }
        const json_t *ids =
            name ? json_object_get(json_object_get(specials, name), "ids") : NULL;
        if (!json_is_array(ids))
            return err_set(e, ERR_FORMAT, "post_processor: \"%s\" has no ids",
                           name ? name : "(no name)");
        if (has_text)
            put_ids(&t->after, &t->n_after, &t->after_cap, ids);
        else
            put_ids(&t->before, &t->n_before, &t->before_cap, ids);
    }
    return 0;
}

static int read_post_processor(struct tok *t, const json_t *part, struct err *e)
{
    if (is_type(part, "TemplateProcessing"))
        return read_template(t, part, e);
    return is_type(part, "ByteLevel") ? 0 : not_supported("post_processor", part, e);
}

/* ---- vocabulary and merges ---- */

static int read_vocab(struct tok *t, const json_t *vocab, struct err *e)
{
    if (!json_is_object(vocab))
        return err_set(e, ERR_FORMAT, "model: has no vocab");
    json_t *m = (json_t *)(uintptr_t)vocab; /* jansson's iterators take no const */
    for (void *it = json_object_iter(m); it; it = json_object_iter_next(m, it)) {
        const char *s = json_object_iter_key(it);
        json_t *id = json_object_iter_value(it);
        if (!json_is_integer(id))
            return err_set(e, ERR_FORMAT, "vocab: \"%.80s\" has no number", s);
        int rc = tok_vocab_add(&t->names, json_integer_value(id), s, strlen(s), e);
        if (rc < 0)
            return err_prefix(e, "vocab");
    }
    return 0;
}

/* "left right", or since 2024 ["left", "right"] */
static bool parts_of_merge(const json_t *m, const char *part[2], size_t len[2])
{
    if (json_is_array(m) && json_array_size(m) == 2) {
        for (size_t i = 0; i < 2; i++) {
            part[i] = json_string_value(json_array_get(m, i));
            len[i] = part[i] ? strlen(part[i]) : 0;
        }
        return part[0] && part[1];
    }
    const char *s = json_string_value(m), *space = s ? strchr(s, ' ') : NULL;
    if (!space)
        return false;
    part[0] = s, len[0] = (size_t)(space - s);
    part[1] = space + 1, len[1] = strlen(space + 1);
    return true;
}

static int read_merges(struct tok *t, const json_t *merges, struct err *e)
{
    if (!json_is_array(merges))
        return err_set(e, ERR_FORMAT, "model: has no merges");
    struct buf join = {0};
    size_t i;
    json_t *m;
    int rc = 0;
    tok_pairs_reserve(t, json_array_size(merges));
    json_array_foreach(merges, i, m)
    {
        const char *part[2];
        size_t len[2];
        if (!parts_of_merge(m, part, len)) {
            rc = err_set(e, ERR_FORMAT, "merges: %zu is no pair", i);
            break;
        }
        join.len = 0;
        buf_append(&join, part[0], len[0]);
        buf_append(&join, part[1], len[1]);
        int32_t a = tok_vocab_find(&t->names, part[0], len[0]);
        int32_t b = tok_vocab_find(&t->names, part[1], len[1]);
        int32_t id = tok_vocab_find(&t->names, buf_str(&join), join.len);
        if (a < 0 || b < 0 || id < 0) {
            rc = err_set(e, ERR_FORMAT, "merges: %zu: \"%.80s\" is not in the vocabulary", i,
                         a < 0   ? part[0]
                         : b < 0 ? part[1]
                                 : join.data);
            break;
        }
        tok_pairs_add(t, a, b, (uint32_t)i, id);
    }
    buf_free(&join);
    return rc;
}

static int read_model(struct tok *t, const json_t *model, struct err *e)
{
    static const char *const MUST_BE_EMPTY[] = {"continuing_subword_prefix",
                                                "end_of_word_suffix"};
    if (!json_is_object(model))
        return err_set(e, ERR_FORMAT, "has no model: not a tokenizer.json");
    if (json_object_get(model, "type") && !is_type(model, "BPE"))
        return not_supported("model", model, e);
    for (size_t i = 0; i < 2; i++)
        if (*text_of(model, MUST_BE_EMPTY[i], ""))
            return err_set(e, ERR_UNSUPPORTED, "model: %s \"%s\" is not supported",
                           MUST_BE_EMPTY[i], text_of(model, MUST_BE_EMPTY[i], ""));
    if (json_number_value(json_object_get(model, "dropout")) > 0)
        return err_set(e, ERR_UNSUPPORTED, "model: dropout is not supported");
    t->is_merge_ignored = flag_of(model, "ignore_merges", false);
    t->is_unk_fused = flag_of(model, "fuse_unk", false);
    t->has_byte_fallback = flag_of(model, "byte_fallback", false);
    int rc = read_vocab(t, json_object_get(model, "vocab"), e);
    if (rc == 0)
        rc = read_merges(t, json_object_get(model, "merges"), e);
    const char *unk = text_of(model, "unk_token", NULL);
    if (rc == 0 && unk && (t->unk = tok_id(t, unk)) < 0)
        rc = err_set(e, ERR_FORMAT, "model: unk_token \"%s\" is not in the vocabulary", unk);
    return rc;
}

int tok_json_added(struct tok *t, const json_t *o, int64_t id, struct err *e)
{
    const char *s = text_of(o, "content", "");
    bool is_special = flag_of(o, "special", false);
    struct tok_added a = {.text = mem_strdup(s),
                          .len = strlen(s),
                          .id = (int32_t)id,
                          .is_special = is_special,
                          .is_normalized = flag_of(o, "normalized", !is_special),
                          .is_single_word = flag_of(o, "single_word", false),
                          .takes_left = flag_of(o, "lstrip", false),
                          .takes_right = flag_of(o, "rstrip", false)};
    int rc = 0;
    if (id != a.id)
        rc = err_set(e, ERR_FORMAT, "added token \"%.80s\" has no id", s);
    else if (a.len)
        rc = tok_add_token(t, &a, e);
    free(a.text);
    return rc;
}

static int read_added(struct tok *t, const json_t *list, struct err *e)
{
    size_t i;
    json_t *o;
    json_array_foreach(list, i, o)
    {
        const json_t *id = json_object_get(o, "id");
        int rc =
            tok_json_added(t, o, json_is_integer(id) ? json_integer_value(id) : INT64_MIN, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int check_ids(const struct tok *t, const int32_t *ids, size_t n, struct err *e)
{
    size_t len;
    for (size_t i = 0; i < n; i++)
        if (!tok_vocab_at(&t->names, ids[i], &len))
            return err_set(e, ERR_RANGE, "post_processor: id %d is no token", ids[i]);
    return 0;
}

static int read_all(struct tok *t, const json_t *root, struct err *e)
{
    int rc = read_model(t, json_object_get(root, "model"), e);
    if (rc == 0)
        rc = each_part(t, json_object_get(root, "normalizer"), "normalizers", read_normalizer,
                       e);
    if (rc == 0)
        rc = each_part(t, json_object_get(root, "pre_tokenizer"), "pretokenizers",
                       read_pre_tokenizer, e);
    t->decoder = DECODE_PIECES;
    if (rc == 0)
        rc = each_part(t, json_object_get(root, "decoder"), "decoders", read_decoder, e);
    if (rc == 0)
        rc = each_part(t, json_object_get(root, "post_processor"), "processors",
                       read_post_processor, e);
    if (rc == 0)
        rc = read_added(t, json_object_get(root, "added_tokens"), e);
    if (rc == 0)
        rc = check_ids(t, t->before, t->n_before, e);
    return rc < 0 ? rc : check_ids(t, t->after, t->n_after, e);
}

/* ---- the file ---- */

json_t *tok_json_parse(const char *text, size_t len, size_t flags, struct err *e)
{
    json_error_t je;
    json_t *root = json_loadb(text, len, flags, &je);
    const char *what = root ? NULL : sniff(text, len);
    if (what)
        err_set(e, ERR_FORMAT, "%s", what);
    else if (!root)
        err_set(e, ERR_FORMAT, "line %d: %s", je.line, je.text);
    return root;
}

int tok_json_read(struct tok *t, const char *path, struct err *e)
{
    char *text = NULL;
    size_t len = 0;
    int rc = file_is_std(path) ? 0 : file_check_regular(path, e);
    if (rc == 0)
        rc = zin_read_all(path, &text, &len, NULL, e);
    if (rc < 0)
        return rc;
    json_t *root = tok_json_parse(text, len, 0, e);
    free(text);
    rc = root ? read_all(t, root, e) : ERR_FORMAT;
    json_decref(root);
    return rc < 0 ? err_prefix(e, "%s", file_name_in(path)) : 0;
}
