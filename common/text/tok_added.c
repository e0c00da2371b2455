/* SPDX-License-Identifier: MIT
 * tok_added: added tokens in a text; see tok_priv.h.
 *
 * The leftmost match, and there the longest, as Aho-Corasick finds it for `tokenizers`. The
 * keys are sorted, so walking down a text narrows a range of them byte by byte: no trie to
 * build. A place where no key's first byte stands costs one look. */
#include "text/tok_priv.h"
#include "text/tok_uni.h"

#include <stdlib.h>
#include <string.h>

static int compare_keys(const void *a, const void *b)
{
    const struct tok_key *x = a, *y = b;
    size_t n = x->len < y->len ? x->len : y->len;
    int c = memcmp(x->text, y->text, n);
    return c ? c : (x->len > y->len) - (x->len < y->len);
}

void tok_matcher_build(struct tok_matcher *m, const struct tok *t, bool is_normalized)
{
    struct tok_scratch *x = tok_scratch_take(t);
    m->keys = mem_zalloc(t->n_added, sizeof *m->keys);
    m->only_first = -1;
    for (size_t i = 0; i < t->n_added; i++) {
        const struct tok_added *a = &t->added[i];
        if (a->is_normalized != is_normalized)
            continue;
        const char *s = a->text;
        size_t len = a->len;
        if (is_normalized)
            tok_normalize(t, x, true, &s, &len);
        if (len == 0)
            continue;
        m->keys[m->n++] = (struct tok_key){mem_strndup(s, len), len, a};
    }
    tok_scratch_give(t, x);
    if (m->n)
        qsort(m->keys, m->n, sizeof *m->keys, compare_keys);
    size_t n_first = 0;
    for (size_t i = 0; i < m->n; i++) {
        unsigned char c = (unsigned char)m->keys[i].text[0];
        n_first += !m->is_first[c];
        m->is_first[c] = true;
        m->only_first = n_first == 1 ? c : -1;
    }
}

void tok_matcher_free(struct tok_matcher *m)
{
    for (size_t i = 0; i < m->n; i++)
        free(m->keys[i].text);
    free(m->keys);
}

/* First key in [lo, hi) whose byte `depth` is at least c; each is longer than depth. */
static size_t lower_bound(const struct tok_matcher *m, size_t lo, size_t hi, size_t depth,
                          int c)
{
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if ((unsigned char)m->keys[mid].text[depth] < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* The longest key that s starts with, or NULL. */
static const struct tok_key *longest(const struct tok_matcher *m, const char *s, size_t len)
{
    const struct tok_key *best = NULL;
    size_t lo = 0, hi = m->n;
    for (size_t depth = 0; lo < hi; depth++) {
        if (m->keys[lo].len == depth) /* the shortest of the range comes first */
            best = &m->keys[lo++];
        if (lo == hi || depth == len)
            break;
        int c = (unsigned char)s[depth];
        size_t first = lower_bound(m, lo, hi, depth, c);
        hi = lower_bound(m, first, hi, depth, c + 1);
        lo = first;
    }
    return best;
}

static size_t next_place(const struct tok_matcher *m, const char *s, size_t len, size_t i)
{
    if (m->only_first >= 0) {
        const char *p = i < len ? memchr(s + i, m->only_first, len - i) : NULL;
        return p ? (size_t)(p - s) : len;
    }
    while (i < len && !m->is_first[(unsigned char)s[i]])
        i++;
    return i;
}

/* A single word must not touch another. */
static bool stands_alone(const char *s, size_t len, struct tok_span m)
{
    const unsigned char *u = (const unsigned char *)s;
    size_t n;
    if (m.start > 0 && uni_is_word(utf8_at(utf8_before(u + m.start), &n)))
        return false;
    return m.end == len || !uni_is_word(utf8_at(u + m.end, &n));
}

static void take_spaces(const struct tok_added *a, const char *s, size_t len, size_t from,
                        struct tok_span *m)
{
    const unsigned char *u = (const unsigned char *)s;
    size_t n;
    while (a->takes_left && m->start > from) {
        const unsigned char *p = utf8_before(u + m->start);
        if (uni_class(utf8_at(p, &n)) != UNI_SPACE)
            break;
        m->start = (size_t)(p - u);
    }
    while (a->takes_right && m->end < len && uni_class(utf8_at(u + m->end, &n)) == UNI_SPACE)
        m->end += n;
}

const struct tok_added *tok_matcher_find(const struct tok_matcher *m, const char *s, size_t len,
                                         size_t from, bool is_special, struct tok_span *at)
{
    if (m->n == 0)
        return NULL;
    for (size_t i = next_place(m, s, len, from); i < len; i = next_place(m, s, len, i)) {
        const struct tok_key *k = longest(m, s + i, len - i);
        if (!k) {
            i++;
            continue;
        }
        *at = (struct tok_span){i, i + k->len};
        if ((k->token->is_special && !is_special) ||
            (k->token->is_single_word && !stands_alone(s, len, *at))) {
            i += k->len; /* what was found is passed over as a whole */
            continue;
        }
        take_spaces(k->token, s, len, from, at);
        return k->token;
    }
    return NULL;
}
