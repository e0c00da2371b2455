/* SPDX-License-Identifier: MIT
 * stops: strings that end generation; see generate.h. */
#include "base/mem.h"
#include "lm/generate.h"

#include <string.h>

/* Where `text` begins in b, or its end. */
static size_t place_of(const struct buf *b, const char *text)
{
    size_t n = strlen(text);
    for (size_t i = 0; n && i + n <= b->len; i++)
        if (memcmp(b->data + i, text, n) == 0)
            return i;
    return b->len;
}

bool lm_stops_cut(const struct lm_stops *s, const int32_t *ids, int64_t n, struct buf *out)
{
    struct buf text = {0};
    struct err e = ERR_INIT;
    while (tok_decode(s->tok, ids, (size_t)n, false, &text, &e) < 0) {
        text.len = 0;
        n--; /* ends: no ids have a text */
    }
    size_t len = text.len;
    for (int64_t i = 0; i < s->n; i++)
        text.len = place_of(&text, s->texts[i]);
    bool is_cut = text.len < len;
    if (out && text.len)
        buf_append(out, text.data, text.len);
    buf_free(&text);
    return is_cut;
}
