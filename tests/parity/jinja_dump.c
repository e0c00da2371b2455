/* SPDX-License-Identifier: MIT
 *
 * jinja_dump: chat templates rendered, for comparison with transformers.
 *
 *     jinja_dump NOW < cases > texts
 *
 * A case is a line of JSON, {"template": TEXT, "messages": [...], "vars": {NAME: VALUE}}; the
 * answer a line of JSON, {"text": TEXT, "spans": [[from, to], ...]}, in characters, of what
 * stands in {% generation %}, or {"error": WHAT, "is_read": IS}, where is_read tells
 * whether the template was read at least. NOW: seconds of strftime_now. */
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "jinja/jinja.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put_spans(const struct jinja_text *x, struct buf *out)
{
    size_t at = 0;
    bool is_inside = false, is_first = true;
    for (size_t i = 0; i <= x->len; i++) {
        bool is_now = i < x->len && (x->from[i] & JINJA_GENERATED);
        if (is_now && !is_inside)
            buf_printf(out, "%s[%zu, ", is_first ? "" : ", ", at);
        else if (!is_now && is_inside)
            buf_printf(out, "%zu]", at);
        is_first &= !is_now;
        is_inside = is_now;
        at += ((unsigned char)x->s[i] & 0xc0) != 0x80;
    }
}

static void answer(const json_t *c, time_t now, struct buf *out)
{
    const json_t *text = json_object_get(c, "template");
    struct err e = ERR_INIT;
    struct jinja_var vars[64] = {{"messages", json_object_get(c, "messages"), JINJA_PER_ITEM}};
    int n = 1, rc = -1;
    const char *key;
    json_t *v;
    json_object_foreach(json_object_get(c, "vars"), key, v)
    {
        if (n < 64)
            vars[n++] = (struct jinja_var){key, v, JINJA_TRUSTED};
    }
    struct jinja_text x = {0};
    struct jinja *t =
        jinja_parse("template", json_string_value(text), json_string_length(text), &e);
    if (t)
        rc = jinja_render(t, vars, n, now, &x, &e);
    if (rc == 0) {
        buf_puts(out, "{\"text\": ");
        text_json_string(out, x.s, x.len);
        buf_puts(out, ", \"spans\": [");
        put_spans(&x, out);
        buf_puts(out, "]}\n");
    } else {
        buf_puts(out, "{\"error\": ");
        text_json_string(out, e.msg, strlen(e.msg));
        buf_printf(out, ", \"is_read\": %s}\n", t ? "true" : "false");
    }
    jinja_text_free(&x);
    jinja_free(t);
}

int main(int argc, char **argv)
{
    char *line = NULL;
    size_t cap = 0;
    struct buf out = {0};
    if (argc != 2)
        return 2;
    json_object_seed(1);
    while (getline(&line, &cap, stdin) > 0) {
        json_error_t why;
        json_t *c = json_loads(line, 0, &why);
        if (!c) {
            fprintf(stderr, "jinja_dump: %s\n", why.text);
            return 1;
        }
        answer(c, (time_t)strtoll(argv[1], NULL, 10), &out);
        fwrite(out.data, 1, out.len, stdout);
        out.len = 0;
        json_decref(c);
    }
    free(line);
    buf_free(&out);
    return ferror(stdout) || fclose(stdout) ? 1 : 0;
}
