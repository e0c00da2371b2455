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

/* Each turn as its role (a byte), its length (8 bytes, little-endian), its text, and what it
 * says besides; but no system turn without text. */
static uint64_t content_hash(const struct data_record *r)
{
    XXH64_state_t state;
    XXH64_reset(&state, 0);
    for (int i = 0; i < r->n_turns; i++) {
        if (data_turn_is_blank_system(&r->turns[i]))
            continue;
        unsigned char head[9] = {(unsigned char)r->turns[i].role};
        for (int k = 0; k < 8; k++)
            head[k + 1] = (unsigned char)((uint64_t)r->turns[i].len >> (8 * k));
        XXH64_update(&state, head, sizeof head);
        XXH64_update(&state, r->turns[i].text, r->turns[i].len);
        for (int k = 0; k < 8 && r->turns[i].said; k++) {
            unsigned char byte = (unsigned char)(r->turns[i].said >> (8 * k));
            XXH64_update(&state, &byte, 1);
        }
    }
    return XXH64_digest(&state);
}

int data_text_check(const char *text, size_t len, int64_t place, int64_t *line, struct err *e)
{
    size_t bad = utf8_check(text, len);
    if (bad == len)
        return 0;
    for (size_t k = 0; k < bad; k++)
        *line += text[k] == '\n';
    return err_set(e, ERR_FORMAT, "invalid UTF-8 at byte %lld of the file",
                   (long long)(place + (int64_t)bad) + 1);
}

json_t *data_text_load(const char *text, size_t len, bool numbers_are_text, int64_t *line,
                       struct err *e)
{
    json_error_t why;
    json_t *o = data_json_load(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY,
                               numbers_are_text, &why);
    if (!o)
        syntax_error(&why, line, e);
    else if (!json_is_object(o))
        err_set(e, ERR_FORMAT, "the record is %s, expected object", data_type_name(o));
    if (o && json_is_object(o))
        return o;
    json_decref(o);
    return NULL;
}

static int parse(struct data_record *r, struct arena *a, struct data_reading *how,
                 int64_t *line, struct err *e)
{
    json_t *o = data_text_load(r->raw, r->raw_len, how->numbers_are_text, line, e);
    int rc = o ? data_record_build(r, o, a, how, e) : e->code;
    json_decref(o);
    return rc;
}

int data_record_parse(struct data_record *r, const char *text, size_t len, bool is_csv,
                      int64_t place, struct arena *a, int64_t *line, struct err *e)
{
    *r = (struct data_record){.line = *line, .raw = text, .raw_len = len};
    struct data_reading how = {.is_csv = is_csv};
    int rc = data_text_check(text, len, place, line, e);
    if (rc == 0)
        rc = parse(r, a, &how, line, e);
    if (rc < 0 && how.met_number) {
        how.numbers_are_text = true;
        rc = parse(r, a, &how, line, e);
    }
    if (rc == 0)
        r->hash = content_hash(r);
    return rc;
}
