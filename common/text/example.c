/* SPDX-License-Identifier: MIT
 * example: records to token ids with a loss mask; see example.h.
 *
 * Neighbouring segments with the same flag form a run, which is encoded as one text, because
 * tokens may span the joint between a template's text and a record's. Special tokens are looked
 * for in the whole run; when more of them turn up than the template's own text has, the record
 * imitates one, and the run is encoded again segment by segment. */
#include "text/example.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

struct marker {
    const char *text; /* a piece of the template; borrowed from it */
    size_t len;
    int64_t n_special; /* special tokens in it */
};

struct encoder {
    const struct tok *t;
    const struct tmpl *tm;
    struct marker *markers;
    int n_markers;
};

static int64_t count_special(const struct tok *t, const struct tok_ids *ids, size_t from)
{
    int64_t n = 0;
    for (size_t i = from; i < ids->n; i++)
        n += tok_is_special(t, ids->ids[i]);
    return n;
}

static void encoder_free(struct encoder *c)
{
    free(c->markers);
    *c = (struct encoder){0};
}

static int encoder_init(struct encoder *c, const struct tok *t, const struct tmpl *tm,
                        struct err *e)
{
    struct tok_ids ids = {0};
    size_t cap = 0;
    int rc = 0;
    *c = (struct encoder){.t = t, .tm = tm};
    for (const char *s; rc == 0 && (s = tmpl_markup(tm, c->n_markers));) {
        ids.n = 0;
        rc = tok_encode(t, s, strlen(s), TOK_SPECIAL, &ids, e);
        MEM_GROW(c->markers, cap, c->n_markers + 1);
        c->markers[c->n_markers++] = (struct marker){s, strlen(s), count_special(t, &ids, 0)};
    }
    free(ids.ids);
    if (rc < 0)
        encoder_free(c);
    return rc;
}

/* Of a text that the template does not list, by looking. */
static int64_t special_in_markup(const struct encoder *c, const struct tmpl_segment *s,
                                 bool is_listed)
{
    for (int i = 0; i < c->n_markers; i++)
        if (c->markers[i].len == s->len && memcmp(c->markers[i].text, s->text, s->len) == 0)
            return c->markers[i].n_special;
    if (is_listed)
        return 0;
    struct tok_ids ids = {0};
    int64_t n = 0;
    if (tok_encode(c->t, s->text, s->len, TOK_SPECIAL | TOK_CONTINUE, &ids, NULL) == 0)
        n = count_special(c->t, &ids, 0);
    free(ids.ids);
    return n;
}

/* ---- one record ---- */

struct encoding {
    struct tok_ids ids;
    uint8_t *is_loss;
    size_t cap;
};

static void mark(struct encoding *x, size_t from, bool is_loss)
{
    MEM_GROW(x->is_loss, x->cap, x->ids.n);
    if (x->ids.n > from)
        memset(x->is_loss + from, is_loss, x->ids.n - from);
}

static void insert(struct encoding *x, size_t at, int32_t id, bool is_loss)
{
    MEM_GROW(x->ids.ids, x->ids.cap, x->ids.n + 1);
    MEM_GROW(x->is_loss, x->cap, x->ids.n + 1);
    memmove(x->ids.ids + at + 1, x->ids.ids + at, (x->ids.n - at) * sizeof *x->ids.ids);
    memmove(x->is_loss + at + 1, x->is_loss + at, x->ids.n - at);
    x->ids.ids[at] = id;
    x->is_loss[at] = is_loss;
    x->ids.n++;
}

/* The tokenizer's EOS, where a turn wants it and does not end so. */
static void end_turn(const struct encoder *c, struct encoding *x, bool is_loss)
{
    int32_t eos = tok_eos(c->t);
    if (eos >= 0 && x->ids.n > 0 && x->ids.ids[x->ids.n - 1] != eos)
        insert(x, x->ids.n, eos, is_loss);
}

/* Those from the first on that are of one origin, as one text. */
static int encode_origin(const struct encoder *c, const struct tmpl_segment *s, int n,
                         int is_more, int *used, struct tok_ids *ids, struct err *e)
{
    struct buf text = {0};
    int k = 0;
    do
        buf_append(&text, s[k].text, s[k].len);
    while (++k < n && s[k].is_markup == s[0].is_markup);
    int flags = (s[0].is_markup ? TOK_SPECIAL : 0) | is_more;
    int rc = tok_encode(c->t, text.data, text.len, flags, ids, e);
    buf_free(&text);
    *used = k;
    return rc;
}

static int encode_run(const struct encoder *c, const struct tmpl_segment *s, int n, int is_more,
                      struct tok_ids *ids, struct err *e)
{
    struct buf text = {0};
    int64_t n_special = 0;
    size_t from = ids->n;
    for (int i = 0; i < n; i++) {
        buf_append(&text, s[i].text, s[i].len);
        n_special += s[i].is_markup ? special_in_markup(c, &s[i], !tmpl_is_model(c->tm)) : 0;
    }
    int rc = tok_encode(c->t, text.data, text.len, TOK_SPECIAL | is_more, ids, e);
    if (rc == 0 && count_special(c->t, ids, from) != n_special) {
        ids->n = from;
        for (int i = 0, used; rc == 0 && i < n; i += used)
            rc = encode_origin(c, s + i, n - i, i ? TOK_CONTINUE : is_more, &used, ids, e);
    }
    buf_free(&text);
    return rc;
}

/* How many segments from the i-th on are encoded as one text. */
static int run_length(const struct tmpl_text *text, int i, bool is_whole)
{
    const struct tmpl_segment *s = text->segments;
    int n = 1;
    while (i + n < text->n_segments && !s[i + n - 1].wants_eos &&
           (is_whole || s[i + n].is_response == s[i].is_response))
        n++;
    return n;
}

/* A byte of [from, to) counts, where the i-th of n segments ends at end[i]. */
static bool is_response_at(const struct tmpl_segment *s, const size_t *end, int n, size_t from,
                           size_t to)
{
    for (int i = 0; i < n && (i == 0 || end[i - 1] < to); i++)
        if (from < end[i] && s[i].is_response)
            return true;
    return false;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static bool is_there(const char *text, size_t len, size_t at, const char *s, size_t n)
{
    return n <= len - at && (n == 0 || memcmp(text + at, s, n) == 0);
}

/* The bytes of the text that a token stands for: *at moves on. The tokenizer may have put a
 * space before the text, and added tokens may take the white space beside them. False: it is
 * not what the text has there. */
static bool take_token(const struct tok *t, int32_t id, const char *text, size_t len,
                       struct buf *token, size_t *at)
{
    token->len = 0;
    tok_text(t, id, token);
    const char *s = token->data;
    size_t n = token->len, skipped = *at, k;
    while (skipped < len &&
           (k = utf8_space((const unsigned char *)text + skipped, len - skipped)) > 0)
        skipped += k;
    if (is_there(text, len, *at, s, n)) {
        *at += n;
    } else if (n > 0 && s[0] == ' ' && is_there(text, len, *at, s + 1, n - 1)) {
        *at += n - 1;
    } else if (is_there(text, len, skipped, s, n)) {
        *at = skipped + n;
    } else {
        return false;
    }
    return true;
}

/* Marks the tokens from the from-th on by the bytes that they stand for, as transformers does:
 * one that holds a byte that counts, counts. False: they are not the text's, for a normalizer
 * changed it across segments, and nothing is marked. */
static bool mark_by_bytes(const struct encoder *c, const struct tmpl_segment *s, int n,
                          struct encoding *x, size_t from)
{
    struct buf text = {0}, token = {0};
    size_t at = 0, before, *end = mem_alloc((size_t)n, sizeof *end);
    int k = 0;
    bool is_it = true;
    for (int i = 0; i < n; i++) {
        tok_plain(c->t, s[i].text, s[i].len, &text);
        end[i] = text.len;
    }
    MEM_GROW(x->is_loss, x->cap, x->ids.n + 1);
    for (size_t i = from; i < x->ids.n && is_it; i++) {
        before = at;
        is_it = take_token(c->t, x->ids.ids[i], text.data, text.len, &token, &at);
        while (k < n && end[k] <= before)
            k++;
        x->is_loss[i] = is_it && is_response_at(s + k, end + k, n - k, before, at);
    }
    free(end);
    while (at < text.len && is_blank(text.data[at])) /* the last token took it */
        at++;
    is_it &= at == text.len;
    buf_free(&text);
    buf_free(&token);
    return is_it;
}

/* One run; of a whole text, by bytes if they can be followed, else segment by segment. */
static int encode_marked(const struct encoder *c, const struct tmpl_text *text, int i, int n,
                         struct encoding *x, struct err *e)
{
    const struct tmpl_segment *s = text->segments + i;
    size_t from = x->ids.n;
    int rc = encode_run(c, s, n, i ? TOK_CONTINUE : 0, &x->ids, e);
    if (rc < 0)
        return rc;
    if (!text->is_whole) {
        mark(x, from, s[0].is_response);
        return 0;
    }
    if (mark_by_bytes(c, s, n, x, from))
        return 0;
    x->ids.n = from;
    for (int k = 0, m; k < n && rc == 0; k += m) {
        for (m = 1; k + m < n && s[k + m].is_response == s[k].is_response; m++)
            ;
        from = x->ids.n;
        rc = encode_run(c, s + k, m, i + k ? TOK_CONTINUE : 0, &x->ids, e);
        if (rc == 0)
            mark(x, from, s[k].is_response);
    }
    return rc;
}

static int encode_text(const struct encoder *c, const struct tmpl_text *text,
                       struct encoding *x, struct err *e)
{
    const struct tmpl_segment *s = text->segments;
    for (int i = 0, n; i < text->n_segments; i += n) {
        n = run_length(text, i, text->is_whole);
        int rc = encode_marked(c, text, i, n, x, e);
        if (rc < 0)
            return rc;
        if (s[i + n - 1].wants_eos)
            end_turn(c, x, s[i + n - 1].is_response);
    }
    int32_t bos = tok_bos(c->t);
    if (text->wants_bos && bos >= 0 && tok_adds_bos(c->t) &&
        (x->ids.n == 0 || x->ids.ids[0] != bos))
        insert(x, 0, bos, false);
    if (x->ids.n > 0)
        x->is_loss[0] = 0; /* nothing before it predicts it */
    return 0;
}

/* Applies the bound and counts; hands the arrays over. Returns as example_make. */
static int finish(struct encoding *y, int64_t max_len, enum example_overlong overlong,
                  struct example *x, struct err *e)
{
    size_t n = y->ids.n;
    if (n > INT32_MAX)
        return err_set(e, ERR_RANGE, "%zu tokens: more than can be counted", n);
    if (max_len > 0 && (int64_t)n > max_len) {
        if (overlong == EXAMPLE_FAIL)
            return err_set(e, ERR_RANGE, "%zu tokens, more than the %lld allowed", n,
                           (long long)max_len);
        if (overlong == EXAMPLE_DROP)
            return 0;
        n = (size_t)max_len;
        x->is_cut = true;
    }
    for (size_t i = 0; i < n; i++)
        x->n_response += y->is_loss[i];
    if (x->n_response == 0) {
        *x = (struct example){.is_empty = !x->is_cut};
        return 0;
    }
    x->n = (int32_t)n;
    x->n_prompt = x->n - x->n_response;
    x->ids = mem_dup(y->ids.ids, n * sizeof *x->ids);
    x->is_loss = mem_dup(y->is_loss, n);
    return 1;
}

static int make(const struct encoder *c, const struct data_record *r, int64_t max_len,
                enum example_overlong overlong, struct example *x, struct err *e)
{
    struct tmpl_text text;
    struct encoding y = {0};
    *x = (struct example){0};
    int rc = tmpl_render(c->tm, r, &text, e);
    if (rc < 0)
        return rc;
    rc = encode_text(c, &text, &y, e);
    if (rc == 0)
        rc = finish(&y, max_len, overlong, x, e);
    free(y.ids.ids);
    free(y.is_loss);
    tmpl_text_free(&text);
    return rc;
}

int example_make(const struct tok *t, const struct tmpl *tm, const struct data_record *r,
                 int64_t max_len, enum example_overlong overlong, struct example *x,
                 struct err *e)
{
    struct encoder c;
    int rc = encoder_init(&c, t, tm, e);
    *x = (struct example){0};
    if (rc == 0)
        rc = make(&c, r, max_len, overlong, x, e);
    encoder_free(&c);
    return rc;
}

void example_free(struct example *x)
{
    free(x->ids);
    free(x->is_loss);
    *x = (struct example){0};
}

/* ---- all records ---- */

static void count(struct example_set *s, const struct example *x)
{
    s->n_dropped += x->n == 0;
    s->n_cut += x->is_cut;
    s->n_tokens += x->n;
    s->n_response_tokens += x->n_response;
    if (x->n > s->max_len)
        s->max_len = x->n;
}

int example_set_make(struct example_set *s, const struct tok *t, const struct tmpl *tm,
                     const struct dataset *d, int64_t max_len, enum example_overlong overlong,
                     struct err *e)
{
    struct encoder c;
    *s = (struct example_set){0};
    int rc = encoder_init(&c, t, tm, e);
    if (rc < 0)
        return rc;
    s->n_examples = d->n_records;
    s->examples = mem_zalloc((size_t)d->n_records, sizeof *s->examples);
    int64_t first_bad = d->n_records; /* the first in the file, whatever thread meets it */
    struct err first = ERR_INIT;
#pragma omp parallel
    {
        struct data_reader *reader = data_reader_new(d);
#pragma omp for schedule(dynamic, 16)
        for (int64_t i = 0; i < d->n_records; i++) {
            struct err local = ERR_INIT;
            const struct data_record *r = data_reader_get(reader, i, &local);
            if (r && make(&c, r, max_len, overlong, &s->examples[i], &local) >= 0)
                continue;
#pragma omp critical(example_set_error)
            if (i < first_bad) {
                first_bad = i;
                first = local;
            }
        }
        data_reader_free(reader);
    }
    encoder_free(&c);
    for (int64_t i = 0; i < d->n_records; i++)
        count(s, &s->examples[i]);
    if (first_bad == d->n_records)
        return 0;
    example_set_free(s);
    err_set(e, first.code, "%s", first.msg);
    return dataset_name_record(e, d, first_bad);
}

void example_set_free(struct example_set *s)
{
    for (int64_t i = 0; i < s->n_examples; i++)
        example_free(&s->examples[i]);
    free(s->examples);
    *s = (struct example_set){0};
}

/* ---- to be looked at ---- */

/* Length of "<|...|>", "<s>" or "</s>" at s, 0 when there is none. */
static size_t marker_at(const char *s)
{
    if (strncmp(s, "<s>", 3) == 0)
        return 3;
    if (strncmp(s, "</s>", 4) == 0)
        return 4;
    if (strncmp(s, "<|", 2) != 0)
        return 0;
    size_t n = 2 + strcspn(s + 2, "|<> \n");
    return n > 2 && strncmp(s + n, "|>", 2) == 0 ? n + 2 : 0;
}

static bool is_listed(const struct buf *list, const char *s, size_t len)
{
    for (size_t i = 0; i + len <= list->len; i++)
        if (memcmp(list->data + i, s, len) == 0)
            return true;
    return false;
}

char *example_foreign_markers(const struct tok *t, const struct tmpl *tm)
{
    struct buf list = {0};
    const char *text;
    for (int i = 0; (text = tmpl_markup(tm, i)); i++)
        for (const char *s = text; *s; s++) {
            size_t n = marker_at(s);
            if (n == 0 || is_listed(&list, s, n))
                continue;
            char *name = mem_strndup(s, n);
            struct tok_ids ids = {0};
            if (tok_encode(t, name, n, TOK_SPECIAL, &ids, NULL) < 0 || ids.n != 1)
                buf_printf(&list, "%s%s", list.len ? ", " : "", name);
            free(ids.ids);
            free(name);
        }
    return list.len ? buf_str(&list) : NULL;
}

static void show_token(const struct tok *t, int32_t id, struct buf *out)
{
    struct buf text = {0};
    tok_show(t, id, &text);
    for (size_t i = 0; i < text.len; i++) {
        unsigned char ch = (unsigned char)text.data[i];
        if (ch == '\n')
            buf_puts(out, "\\n");
        else if (ch == '\t')
            buf_puts(out, "\\t");
        else if (ch == '\r')
            buf_puts(out, "\\r");
        else if (ch < 0x20 || ch == 0x7f)
            buf_printf(out, "\\x%02x", ch);
        else
            buf_putc(out, (char)ch);
    }
    buf_free(&text);
}

void example_show(const struct tok *t, const struct example *x, struct buf *out)
{
    buf_printf(out, "%d tokens: %d prompt, %d response (*)%s\n", x->n, x->n_prompt,
               x->n_response, x->is_cut ? ", cut" : "");
    for (int32_t i = 0; i < x->n; i++) {
        buf_printf(out, "%7d %c |", x->ids[i], x->is_loss[i] ? '*' : ' ');
        show_token(t, x->ids[i], out);
        buf_puts(out, "|\n");
    }
}
