/* SPDX-License-Identifier: MIT
 * text/tok: ids and decoded text against Hugging Face's `tokenizers` (fixtures/tok/make.py made
 * them), what the loaders refuse, and that threads, cache and the long-word path change
 * nothing. */
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "text/tok.h"
#include "text/tok_priv.h"
#include "text/tok_uni.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

static char *fixture(const char *name)
{
    const char *root = getenv("RAISE_TESTS");
    return mem_printf("%s/fixtures/tok/%s", root ? root : "tests", name);
}

static struct tok *load(const char *name)
{
    struct err e = ERR_INIT;
    char *path = fixture(name);
    struct tok *t = tok_load(path, &e);
    if (!t)
        print_message("%s\n", e.msg);
    assert_non_null(t);
    free(path);
    return t;
}

static struct tok_ids encode(const struct tok *t, const char *s, size_t len, int flags)
{
    struct err e = ERR_INIT;
    struct tok_ids ids = {0};
    int rc = tok_encode(t, s, len, flags, &ids, &e);
    if (rc < 0)
        print_message("%s\n", e.msg);
    assert_int_equal(rc, 0);
    return ids;
}

/* ---- against the reference ---- */

static void check_case(const struct tok *t, const json_t *c)
{
    const json_t *text = json_object_get(c, "text"), *want = json_object_get(c, "ids");
    const char *s = json_string_value(text);
    int flags = (int)json_integer_value(json_object_get(c, "flags"));
    struct tok_ids ids = encode(t, s, json_string_length(text), flags);
    bool is_same = ids.n == json_array_size(want);
    for (size_t i = 0; i < ids.n && is_same; i++)
        is_same = ids.ids[i] == json_integer_value(json_array_get(want, i));
    if (!is_same) {
        print_message("%s, flags %d: \"%s\"\nours",
                      json_string_value(json_object_get(c, "model")), flags, s);
        for (size_t i = 0; i < ids.n; i++)
            print_message(" %d", ids.ids[i]);
        print_message("\n");
    }
    assert_true(is_same);
    const json_t *decoded = json_object_get(c, "decoded");
    struct err e = ERR_INIT;
    struct buf out = {0};
    assert_int_equal(tok_decode(t, ids.ids, ids.n, flags == 0, &out, &e), 0);
    assert_int_equal(out.len, json_string_length(decoded));
    assert_memory_equal(buf_str(&out), json_string_value(decoded), out.len);
    buf_free(&out);
    free(ids.ids);
}

static void ids_equal_the_reference(void **state)
{
    (void)state;
    char *path = fixture("cases.json");
    json_error_t je;
    json_t *cases = json_load_file(path, JSON_ALLOW_NUL, &je);
    assert_non_null(cases);
    assert_true(json_array_size(cases) > 400);
    struct tok *t = NULL;
    const char *loaded = "";
    size_t i;
    json_t *c;
    json_array_foreach(cases, i, c)
    {
        const char *name = json_string_value(json_object_get(c, "model"));
        if (strcmp(name, loaded) != 0) {
            tok_free(t);
            t = load(name);
            loaded = name;
        }
        check_case(t, c);
        check_case(t, c); /* now from the cache */
    }
    tok_free(t);
    json_decref(cases);
    free(path);
}

/* A GGUF's tokenizer, saved and read again, gives the reference's ids, too. */
static void what_is_saved_is_the_same(void **state)
{
    (void)state;
    char dir[] = "/tmp/raise-test-tok-XXXXXX", *cases_path = fixture("cases.json");
    static const char *const FILES[] = {"tokenizer.json", "tokenizer_config.json",
                                        "generation_config.json"};
    struct err e = ERR_INIT;
    json_error_t je;
    json_t *cases = json_load_file(cases_path, JSON_ALLOW_NUL, &je), *c;
    size_t k, n = 0;
    assert_non_null(mkdtemp(dir));
    for (int i = 0; i < 2; i++) {
        const char *name = i ? "pieces.gguf" : "bytes.gguf";
        struct tok *t = load(name);
        assert_int_equal(tok_save(t, dir, &e), 0);
        struct tok *saved = tok_load(dir, &e);
        assert_non_null(saved);
        assert_int_equal(tok_eos(saved), tok_eos(t));
        assert_int_equal(tok_bos(saved), tok_bos(t));
        assert_string_equal(tok_chat_template(saved), tok_chat_template(t));
        json_array_foreach(cases, k, c)
        {
            bool is_it = !strcmp(json_string_value(json_object_get(c, "model")), name);
            if (is_it)
                check_case(saved, c);
            n += is_it;
        }
        tok_free(t);
        tok_free(saved);
    }
    assert_true(n > 100);
    for (int i = 0; i < 3; i++) {
        char *file = mem_printf("%s/%s", dir, FILES[i]);
        assert_int_equal(unlink(file), 0);
        free(file);
    }
    assert_int_equal(rmdir(dir), 0);
    json_decref(cases);
    free(cases_path);
}

static void same_ids_from_all_threads(void **state)
{
    (void)state;
    static const char TEXT[] = "The quick brown fox, and 48 clips in April and May.";
    struct tok *t = load("split.json");
    struct tok_ids want = encode(t, TEXT, strlen(TEXT), TOK_ADD);
    int n_bad = 0;
#pragma omp parallel for num_threads(4) reduction(+ : n_bad)
    for (int i = 0; i < 400; i++) {
        struct err e = ERR_INIT;
        struct tok_ids got = {0};
        n_bad += tok_encode(t, TEXT, strlen(TEXT), TOK_ADD, &got, &e) != 0 || got.n != want.n ||
                 memcmp(got.ids, want.ids, want.n * sizeof *want.ids) != 0;
        free(got.ids);
    }
    assert_int_equal(n_bad, 0);
    free(want.ids);
    tok_free(t);
}

/* Far more words than the cache has places: some replace others, none is taken for another. */
static void cached_words_are_not_confused(void **state)
{
    (void)state;
    struct tok *t = load("bytes.json");
    struct err e = ERR_INIT;
    struct buf text = {0}, back = {0};
    for (int i = 0; i < 100000; i++)
        buf_printf(&text, " %c%c%c%c", 'a' + i % 26, 'a' + i / 26 % 26, 'a' + i / 676 % 26,
                   'a' + i / 17576);
    for (int round = 0; round < 2; round++) {
        struct tok_ids ids = encode(t, text.data, text.len, 0);
        back.len = 0;
        assert_int_equal(tok_decode(t, ids.ids, ids.n, true, &back, &e), 0);
        assert_int_equal(back.len, text.len);
        assert_memory_equal(back.data, text.data, text.len);
        free(ids.ids);
    }
    buf_free(&text);
    buf_free(&back);
    tok_free(t);
}

/* Words of every length across the border between the two ways of merging, alone (cut to fit
 * the short way) and as a part of one that takes the long way. */
static void long_words_merge_like_short_ones(void **state)
{
    (void)state;
    struct tok *t = load("pieces.json");
    t->is_cut_at_space = false; /* so that the whole text is one word */
    struct tok *cut = load("pieces.json");
    assert_true(cut->is_cut_at_space);
    struct buf text = {0};
    for (int i = 0; i < 60; i++) {
        buf_puts(&text, i % 3 ? " the" : i % 2 ? " instructions" : " x");
        struct tok_ids a = encode(t, text.data, text.len, 0);
        struct tok_ids b = encode(cut, text.data, text.len, 0);
        assert_int_equal(a.n, b.n);
        assert_memory_equal(a.ids, b.ids, a.n * sizeof *a.ids);
        free(a.ids);
        free(b.ids);
    }
    buf_free(&text);
    tok_free(t);
    tok_free(cut);
}

/* ---- names and flags ---- */

static void special_tokens_are_named(void **state)
{
    (void)state;
    struct tok *t = load("pieces.gguf");
    assert_int_equal(tok_bos(t), 1);
    assert_int_equal(tok_eos(t), 2);
    assert_int_equal(tok_pad(t), -1);
    assert_true(tok_adds_bos(t));
    assert_string_equal(tok_chat_template(t), "{{ messages }}");
    assert_int_equal(tok_id(t, "</s>"), 2);
    assert_int_equal(tok_id(t, "no such token"), -1);
    tok_free(t);
    t = load("bytes.gguf");
    assert_false(tok_adds_bos(t));
    assert_int_equal(tok_n_vocab(t), 400);
    tok_free(t);
    t = load("split.json"); /* without a tokenizer_config.json: from the template */
    assert_int_equal(tok_bos(t), 0);
    assert_null(tok_chat_template(t));
    tok_free(t);
}

static void continued_text_gets_no_prefix(void **state)
{
    (void)state;
    static const char *const MODELS[] = {"pieces.json", "pieces.gguf", "meta.json"};
    for (int i = 0; i < 3; i++) {
        struct tok *t = load(MODELS[i]);
        struct tok_ids whole = encode(t, "the brown", 9, 0);
        struct tok_ids a = encode(t, "the", 3, 0);
        struct tok_ids b = encode(t, " brown", 6, TOK_CONTINUE);
        assert_int_equal(whole.n, a.n + b.n);
        assert_memory_equal(whole.ids, a.ids, a.n * sizeof *a.ids);
        assert_memory_equal(whole.ids + a.n, b.ids, b.n * sizeof *b.ids);
        free(whole.ids);
        free(a.ids);
        free(b.ids);
        tok_free(t);
    }
}

static void shown(const struct tok *t, int32_t id, const char *want)
{
    struct buf out = {0};
    tok_show(t, id, &out);
    assert_string_equal(buf_str(&out), want);
    buf_free(&out);
}

static void tokens_are_shown(void **state)
{
    (void)state;
    struct tok *t = load("bytes.json");
    shown(t, tok_id(t, "\xc4\xa0the"), " the"); /* "Ġthe" */
    shown(t, tok_id(t, "\xc4\x8a"), "\\n");     /* "Ċ" */
    shown(t, tok_id(t, "\xc3\xbf"), "<0xFF>");  /* "ÿ", the byte 0xFF */
    shown(t, tok_id(t, "<|im_end|>"), "<|im_end|>");
    shown(t, 1 << 30, "<no token 1073741824>");
    tok_free(t);
    t = load("pieces.json");
    shown(t, tok_id(t, TOK_SPACE "the"), " the");
    shown(t, tok_id(t, "<0x0A>"), "<0x0A>");
    tok_free(t);
}

static void hash_is_of_content(void **state)
{
    (void)state;
    static const char *const MODELS[] = {"bytes.json",  "bytes.gguf", "split.json",
                                         "pieces.json", "meta.json",  "unknown.json"};
    uint64_t seen[6];
    for (int i = 0; i < 6; i++) {
        struct tok *t = load(MODELS[i]), *again = load(MODELS[i]);
        seen[i] = tok_hash(t);
        assert_true(seen[i] == tok_hash(again));
        for (int k = 0; k < i; k++)
            assert_true(seen[i] != seen[k]);
        tok_free(t);
        tok_free(again);
    }
}

/* ---- what is refused ---- */

static void refuses_what_is_not_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *text, *place;
    } CASES[] = {
        {"ab\xff", "byte 2"},    {"\xc3", "byte 0"},         {"abcdefgh\xed\xa0\x80", "byte 8"},
        {"x\xc0\x80", "byte 1"}, {"\xe0\x80\x80", "byte 0"}, {"\xf4\x90\x80\x80", "byte 0"},
        {"ok\xe2\x96", "byte 2"}};
    struct tok *t = load("bytes.json");
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct err e = ERR_INIT;
        struct tok_ids ids = {0};
        int rc = tok_encode(t, CASES[i].text, strlen(CASES[i].text), 0, &ids, &e);
        assert_int_equal(rc, ERR_FORMAT);
        assert_non_null(strstr(e.msg, CASES[i].place));
        free(ids.ids);
    }
    tok_free(t);
}

static void refuses_unknown_ids(void **state)
{
    (void)state;
    struct tok *t = load("bytes.json");
    struct err e = ERR_INIT;
    struct buf out = {0};
    int32_t ids[] = {5, 1 << 20};
    assert_int_equal(tok_decode(t, ids, 2, true, &out, &e), ERR_RANGE);
    assert_non_null(strstr(e.msg, "1048576"));
    buf_free(&out);
    tok_free(t);
}

static char path[] = "/tmp/raise-tok-XXXXXX.json";

static struct tok *load_text(const char *text, size_t len, struct err *e)
{
    FILE *f = fopen(path, "wb"); /* without the sync of file_write_all: there are many */
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
    return tok_load(path, e);
}

#define MODEL(more, merges)                                                                    \
    "\"model\":{\"type\":\"BPE\"," more                                                        \
    "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[" merges "]}"
#define SMALL MODEL("", "\"a b\"")
#define SPLIT(regex)                                                                           \
    "{\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":" \
    "\"" regex "\"}}," SMALL "}"

static void refuses_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *text, *name;
    } CASES[] = {
        {"{\"normalizer\":{\"type\":\"Precompiled\"}," SMALL "}", "normalizer \"Precompiled\""},
        {"{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Bert\"}]}," SMALL
         "}",
         "normalizer \"Bert\""},
        {"{\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}," SMALL "}", "\"UnicodeScripts\""},
        {"{\"post_processor\":{\"type\":\"BertProcessing\"}," SMALL "}", "\"BertProcessing\""},
        {"{\"decoder\":{\"type\":\"WordPiece\"}," SMALL "}", "decoder \"WordPiece\""},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", "model \"Unigram\""},
        {"{" MODEL("\"end_of_word_suffix\":\"</w>\",", "") "}", "end_of_word_suffix \"</w>\""},
        {"{" MODEL("\"dropout\":0.1,", "") "}", "dropout"},
        {"{" MODEL("\"unk_token\":\"?\",", "") "}", "unk_token \"?\""},
        {"{" MODEL("", "\"ab\"") "}", "merges: 0"},
        {"{" MODEL("", "\"a b\",[\"b\",\"a\"]") "}", "\"ba\""},
        {"{" MODEL("", "\"a c\"") "}", "\"c\""},
        {"{\"model\":{\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}", "\"b\": its id"},
        {"{\"model\":{\"vocab\":{\"a\":99999999},\"merges\":[]}}", "id 99999999"},
        {"{\"model\":{\"vocab\":{\"a\":-1},\"merges\":[]}}", "id -1"},
        {"{\"model\":{\"vocab\":{\"a\":\"x\"},\"merges\":[]}}", "\"a\" has no number"},
        {"{\"model\":{\"vocab\":{},\"merges\":[]}}", "empty"},
        {"{\"added_tokens\":[{\"id\":1,\"content\":\"x\"}]," SMALL "}", "its id"},
        {"{\"added_tokens\":[{\"content\":\"x\"}]," SMALL "}", "\"x\" has no id"},
        {"[1]", "no model"},
        {"{\"model\":", "line 1"},
        {SPLIT("\\\\bx"), "\\b"},
        {SPLIT("[a&&b]"), "&&"},
        {SPLIT("[a[b]]"), "class inside"},
        {SPLIT("(a"), "regex"},
        {SPLIT("a(?i)b|c"), "group"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct err e = ERR_INIT;
        struct tok *t = load_text(CASES[i].text, strlen(CASES[i].text), &e);
        if (t || !strstr(e.msg, CASES[i].name) || !strstr(e.msg, path))
            print_message("%s: \"%s\" lacks \"%s\"\n", CASES[i].text, e.msg, CASES[i].name);
        assert_null(t);
        assert_non_null(strstr(e.msg, CASES[i].name));
        assert_non_null(strstr(e.msg, path));
    }
}

/* A file cut anywhere is an error; one with a byte changed is an error or a tokenizer. */
static void survive_damage(const char *model, size_t len_min)
{
    char *name = fixture(model), *data = NULL;
    size_t len = 0;
    struct err e = ERR_INIT;
    assert_int_equal(file_read_all(name, &data, &len, &e), 0);
    while (len && data[len - 1] == '\n')
        len--;
    for (size_t i = 0; i < len - len_min; i += 1 + i % 61)
        assert_null(load_text(data, i, &e));
    for (size_t i = 0; i < len; i += 1 + i % 53) {
        char was = data[i];
        data[i] = (char)(was ^ (1 << i % 8));
        struct tok *t = load_text(data, len, &e);
        struct tok_ids ids = {0};
        if (t && tok_encode(t, "the MASK wordy 48 left", 22, TOK_SPECIAL, &ids, &e) < 0)
            assert_true(e.msg[0]);
        free(ids.ids);
        tok_free(t);
        data[i] = was;
    }
    free(data);
    free(name);
}

static void survives_damaged_files(void **state)
{
    (void)state;
    survive_damage("bytes.json", 0);
    survive_damage("bytes.gguf", 32); /* its last bytes may be padding */
    survive_damage("pieces.gguf", 32);
}

/* ---- regexes ---- */

static void regexes_mean_what_oniguruma_means(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text;
        size_t start, end; /* of the first match; equal: none */
    } CASES[] = {
        {"\\s+", "a \t\xc2\x85\xe3\x80\x80z", 1, 8},
        {"\\s", "\xe1\xa0\x8e", 0, 0}, /* U+180E is no space any more */
        {"\\S", "\xe1\xa0\x8e", 0, 3},
        {"[^\\s]", " \xe1\xa0\x8e", 1, 4},
        {"\\p{L}+",
         "1\xf0\x91\xbc\x82"
         "a",
         1, 6}, /* U+11F02: Unicode 15 */
        {"[\\p{L}]+", "1\xf0\x91\xbc\x82", 1, 5},
        {"\\P{L}", "\xf0\x91\xbc\x82", 0, 0},
        {"\\p{^L}",
         "\xf0\x91\xbc\x82"
         "1",
         4, 5},
        {"\\p{N}{1,3}+", "12345x", 0, 5}, /* Ruby: the repetition of a repetition */
        {"(ab){1,2}+", "ababababx", 0, 8},
        {"a{,2}b", "aaab", 1, 4},
        {"a{x", "a{x", 0, 3},
        {"\\w+", ".a\xcc\x81_\xe2\x93\x90\xc2\xbd\xe2\x85\x93", 1, 10}, /* a half, no third */
        {"\\W+", "a\xe2\x80\x8d-b", 1, 5},
        {"(?i:'s)", "x'\xc5\xbf", 1, 4}, /* long s */
        {"\\u0041+", "AA", 0, 2},
        {"^b", "a\nb", 2, 3},
        {"a$", "a\nb", 0, 1},
        {"\\d+", "x\xd9\xa1\xd9\xa2", 1, 5},
    };
    struct tok_regex_state *x = tok_regex_state_new();
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct err e = ERR_INIT;
        struct tok_regex *r = NULL;
        struct tok_span m = {0, 0};
        const char *text = CASES[i].text;
        int rc = tok_regex_new(&r, CASES[i].pattern, &e);
        if (rc < 0)
            print_message("%s\n", e.msg);
        assert_int_equal(rc, 0);
        rc = tok_regex_find(r, x, text, strlen(text), 0, &m, &e);
        if (m.start != CASES[i].start || m.end != CASES[i].end)
            print_message("%s in %s: %zu to %zu\n", CASES[i].pattern, text, m.start, m.end);
        assert_int_equal(rc, CASES[i].start != CASES[i].end);
        assert_int_equal(m.start, CASES[i].start);
        assert_int_equal(m.end, CASES[i].end);
        tok_regex_free(r);
    }
    tok_regex_state_free(x);
}

/* The hand-written scanners against the patterns that they stand for. */
static void scanners_equal_their_regexes(void **state)
{
    (void)state;
    static const char *const PARTS[] = {"a",
                                        "Z",
                                        "s",
                                        "T",
                                        "re",
                                        "LL",
                                        "'",
                                        "'s",
                                        "'VE",
                                        "'\xc5\xbf",
                                        "1",
                                        "23",
                                        " ",
                                        "  ",
                                        "\n",
                                        "\r",
                                        "\t",
                                        "\v",
                                        ".",
                                        "-",
                                        "_",
                                        "\0",
                                        "\x7f",
                                        "\xc2\x85" /* U+0085 */,
                                        "\xc2\xa0" /* no-break space */,
                                        "\xe3\x80\x80" /* ideographic space */,
                                        "\xe1\xa0\x8e" /* U+180E */,
                                        "\xc3\xa9" /* e acute */,
                                        "\xcc\x81" /* combining acute */,
                                        "\xd9\xa3" /* Arabic three */,
                                        "\xc2\xbd" /* one half */,
                                        "\xe2\x85\xa7" /* Roman VIII */,
                                        "\xe5\xa4\xa9",
                                        "\xf0\x9f\x98\x80" /* emoji */,
                                        "\xe2\x80\x8d" /* joiner */,
                                        "\xf0\x91\xbc\x82" /* a letter of Unicode 15 */,
                                        "\xee\x80\x80" /* private use */};
    enum { N_PARTS = sizeof PARTS / sizeof PARTS[0] };
    static const char *const PATTERNS[] = {TOK_REGEX_GPT2, TOK_REGEX_LLAMA3, TOK_REGEX_QWEN2};
    struct tok_regex_state *x = tok_regex_state_new();
    struct rng r;
    rng_init(&r, 42, 0);
    for (int k = 0; k < 3; k++) {
        struct err e = ERR_INIT;
        struct tok_regex *re = NULL;
        assert_int_equal(tok_regex_new(&re, PATTERNS[k], &e), 0);
        enum tok_scanner scanner = tok_scanner_of(PATTERNS[k]);
        assert_int_not_equal(scanner, SCAN_NONE);
        struct tok_spans got = {0};
        struct buf s = {0};
        for (int i = 0; i < 30000; i++) {
            s.len = got.n = 0;
            for (uint64_t n = 1 + rng_below(&r, 12); n > 0; n--) {
                const char *part = PARTS[rng_below(&r, N_PARTS)];
                buf_append(&s, part, *part ? strlen(part) : 1);
            }
            tok_scan(scanner, s.data, (struct tok_span){0, s.len}, &got);
            size_t from = 0;
            for (size_t w = 0; w < got.n; w++) {
                struct tok_span m = {0, 0};
                assert_int_equal(tok_regex_find(re, x, s.data, s.len, from, &m, &e), 1);
                assert_int_equal(m.start, got.at[w].start);
                assert_int_equal(m.end, got.at[w].end);
                from = m.end;
            }
            assert_int_equal(from, s.len);
        }
        free(got.at);
        buf_free(&s);
        tok_regex_free(re);
    }
    tok_regex_state_free(x);
}

/* A run of two million spaces must neither overflow a stack nor take quadratic time. */
static void long_runs_are_fine(void **state)
{
    (void)state;
    enum { N = 2000000 };
    static const char *const MODELS[] = {"bytes.json", "split.json", "pieces.json"};
    char *text = mem_alloc(N, 1);
    memset(text, ' ', N);
    for (int i = 0; i < 3; i++) {
        struct tok *t = load(MODELS[i]);
        struct tok_ids ids = encode(t, text, N, 0);
        assert_true(ids.n > 0);
        free(ids.ids);
        tok_free(t);
    }
    free(text);
}

/* ---- behaviours of Split, as `tokenizers` documents them ---- */

static void splits(const char *regex, const char *behavior, const char *invert,
                   const char *want)
{
    struct err e = ERR_INIT;
    char *json = mem_printf("{\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"%s\","
                            "\"invert\":%s,\"pattern\":{%s}}," SMALL "}",
                            behavior, invert, regex);
    struct tok *t = load_text(json, strlen(json), &e);
    assert_non_null(t);
    struct tok_scratch *x = tok_scratch_take(t);
    const char *s = "the-final--countdown";
    int which = 0;
    assert_int_equal(tok_pretokenize(t, x, true, false, &s, strlen(s), &which, &e), 0);
    struct buf out = {0};
    for (size_t i = 0; i < x->spans[which].n; i++) {
        struct tok_span w = x->spans[which].at[i];
        buf_printf(&out, "%s%.*s", i ? "|" : "", (int)(w.end - w.start), s + w.start);
    }
    assert_string_equal(buf_str(&out), want);
    buf_free(&out);
    tok_scratch_give(t, x);
    tok_free(t);
    free(json);
}

static void split_behaviors(void **state)
{
    (void)state;
    static const char *const DASH[] = {"\"String\":\"-\"", "\"Regex\":\"-\""};
    for (int i = 0; i < 2; i++) {
        splits(DASH[i], "Removed", "false", "the|final|countdown");
        splits(DASH[i], "Isolated", "false", "the|-|final|-|-|countdown");
        splits(DASH[i], "MergedWithPrevious", "false", "the-|final-|-|countdown");
        splits(DASH[i], "MergedWithNext", "false", "the|-final|-|-countdown");
        splits(DASH[i], "Contiguous", "false", "the|-|final|--|countdown");
    }
    splits("\"Regex\":\"[a-z]+\"", "Removed", "true", "the|final|countdown");
}

static int make_path(void **state)
{
    (void)state;
    int fd = mkstemps(path, 5);
    return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state)
{
    (void)state;
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_equal_the_reference),
        cmocka_unit_test(what_is_saved_is_the_same),
        cmocka_unit_test(same_ids_from_all_threads),
        cmocka_unit_test(cached_words_are_not_confused),
        cmocka_unit_test(long_words_merge_like_short_ones),
        cmocka_unit_test(special_tokens_are_named),
        cmocka_unit_test(continued_text_gets_no_prefix),
        cmocka_unit_test(tokens_are_shown),
        cmocka_unit_test(hash_is_of_content),
        cmocka_unit_test(refuses_what_is_not_utf8),
        cmocka_unit_test(refuses_unknown_ids),
        cmocka_unit_test(refuses_by_name),
        cmocka_unit_test(survives_damaged_files),
        cmocka_unit_test(regexes_mean_what_oniguruma_means),
        cmocka_unit_test(scanners_equal_their_regexes),
        cmocka_unit_test(long_runs_are_fine),
        cmocka_unit_test(split_behaviors),
    };
    return cmocka_run_group_tests_name("tok", tests, make_path, remove_path);
}
