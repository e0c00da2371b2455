/* SPDX-License-Identifier: MIT
 * prov_older: what older records of a history need not say; see prov_older.h. */
#include "stream/prov_older.h"

#include "base/mem.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

char *prov_older_key(const char *name, const char *hex)
{
    return mem_printf("%s %s", hex, name);
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    return s ? s : "";
}

/* Parts a record's inputs: *kept, an array, and the names of the others, *gone. Both owned. */
static void part_inputs(const json_t *record, const json_t *inputs, json_t **kept,
                        json_t **gone)
{
    size_t i;
    json_t *x;
    *kept = json_array();
    *gone = json_object();
    json_array_foreach(json_object_get(record, "inputs"), i, x)
    {
        char *key = prov_older_key(text_of(x, "name"), text_of(x, "xxh64"));
        if (json_object_get(inputs, key))
            json_object_set_new(*gone, text_of(x, "name"), json_true());
        else
            json_array_append(*kept, x);
        free(key);
    }
}

/* The command line with "..." for each run of words whose last part is in `gone`. */
static char *shorten_args(const char *args, const json_t *gone)
{
    struct buf b = {0};
    bool was_gone = false;
    while (*args) {
        size_t n = strcspn(args, " ");
        char *word = mem_strndup(args, n), *slash = strrchr(word, '/');
        bool is_gone = json_object_get(gone, slash ? slash + 1 : word) || !strcmp(word, "...");
        if (!is_gone || !was_gone) {
            buf_puts(&b, b.len ? " " : "");
            buf_puts(&b, is_gone ? "..." : word);
        }
        was_gone = is_gone;
        free(word);
        args += n + (args[n] == ' ');
    }
    return buf_str(&b);
}

void prov_older_shorten(json_t *history, const char *program, const json_t *inputs)
{
    size_t i;
    json_t *record, *kept, *gone;
    json_array_foreach(history, i, record)
    {
        if (strcmp(text_of(record, "program"), program) != 0)
            continue;
        part_inputs(record, inputs, &kept, &gone);
        json_int_t later = json_integer_value(json_object_get(record, "later")),
                   n = (json_int_t)json_object_size(gone);
        if (n > PROV_SHARED || (later > 0 && n > 0)) {
            char *args = shorten_args(text_of(record, "args"), gone);
            json_object_set_new(record, "args", json_string(args));
            json_object_set(record, "inputs", kept);
            json_object_set_new(record, "later", json_integer(later + n));
            free(args);
        }
        json_decref(kept);
        json_decref(gone);
    }
}
