/* SPDX-License-Identifier: MIT
 * One record: its text is checked, parsed strictly, and made into turns (dataset_layout.c). */
#define XXH_STATIC_LINKING_ONLY /* the state is a struct: no allocation a record */
#include "data/dataset_json.h"

#include <stdio.h>
#include <string.h>

#include <xxhash.h>

static int syntax_error(const json_error_t *why, int64_t *line, struct err *e)
{
    char text[JSON_ERROR_TEXT_LENGTH + 1];
    snprintf(text, sizeof text, "%s", why->text);
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20)
            *p = ' ';
    if (why->line > 1)
        *line += why->line - 1;
    if (json_error_code(why) == json_error_null_character ||
        json_error_code(why) == json_error_null_byte_in_key)
        return err_set(e, ERR_FORMAT, "a string holds a NUL character (\\u0000)");
    return err_set(e, ERR_FORMAT, "not valid JSON: %s", text);
}

/* Each turn as its role (a byte), its length (8 bytes, little-endian) and its text. */
static uint64_t content_hash(const struct data_record *r)
{
    XXH64_state_t state;
    XXH64_reset(&state, 0);
    for (int i = 0; i < r->n_turns; i++) {
        unsigned char head[9] = {(unsigned char)r->turns[i].role};
        for (int k = 0; k < 8; k++)
            head[k + 1] = (unsigned char)((uint64_t)r->turns[i].len >> (8 * k));
        XXH64_update(&state, head, sizeof head);
        XXH64_update(&state, r->turns[i].text, r->turns[i].len);
    }
    return XXH64_digest(&state);
}

int data_slice_check(const struct data_split *s, int64_t i, int64_t *line, struct err *e)
{
    const struct data_slice *slice = &s->slices[i];
    const char *text = s->text + slice->offset;
    *line = slice->line;
    if (slice->why)
        return err_set(e, ERR_FORMAT, "%s", slice->why);
    size_t bad = utf8_check(text, slice->len);
    if (bad == slice->len)
        return 0;
    for (size_t k = 0; k < bad; k++)
        *line += text[k] == '\n';
    return err_set(e, ERR_FORMAT, "invalid UTF-8 at byte %zu of the file",
                   slice->offset + bad + 1);
}

json_t *data_slice_load(const struct data_split *s, int64_t i, bool numbers_are_text,
                        int64_t *line, struct err *e)
{
    json_error_t why;
    json_t *o =
        data_json_load(s->text + s->slices[i].offset, s->slices[i].len,
                       JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, numbers_are_text, &why);
    if (!o)
        syntax_error(&why, line, e);
    else if (!json_is_object(o))
        err_set(e, ERR_FORMAT, "the record is %s, expected object", data_type_name(o));
    if (o && json_is_object(o))
        return o;
    json_decref(o);
    return NULL;
}

static int parse(struct data_record *r, const struct data_split *s, int64_t i, struct arena *a,
                 struct data_reading *how, int64_t *line, struct err *e)
{
    json_t *o = data_slice_load(s, i, how->numbers_are_text, line, e);
    int rc = o ? data_record_build(r, o, a, how, e) : e->code;
    json_decref(o);
    return rc;
}

int data_record_parse(struct data_record *r, const struct data_split *s, int64_t i,
                      struct arena *a, int64_t *line, struct err *e)
{
    const struct data_slice *slice = &s->slices[i];
    *r = (struct data_record){.line = slice->line, .raw = s->text + slice->offset};
    r->raw_len = slice->len;
    struct data_reading how = {.is_csv = s->format == DATA_CSV};
    int rc = data_slice_check(s, i, line, e);
    if (rc == 0)
        rc = parse(r, s, i, a, &how, line, e);
    if (rc < 0 && how.met_number) {
        how.numbers_are_text = true;
        rc = parse(r, s, i, a, &how, line, e);
    }
    if (rc == 0)
        r->hash = content_hash(r);
    return rc;
}
