/* SPDX-License-Identifier: MIT
 * Values of a record, by the rules that hold for all of them; see dataset_build.h. */
#include "data/dataset_build.h"

json_t *build_get(const json_t *o, const char *key)
{
    json_t *v = json_object_get(o, key);
    return json_is_null(v) ? NULL : v;
}

int build_wrong_type(struct builder *b, const char *path, const json_t *v, const char *want)
{
    return err_set(b->e, ERR_FORMAT, "field \"%s\" is %s, expected %s", path, data_type_name(v),
                   want);
}

int build_is_missing(struct builder *b, const char *path)
{
    return err_set(b->e, ERR_FORMAT, "\"%s\" is missing", path);
}

int build_is_empty(struct builder *b, const char *path)
{
    return err_set(b->e, ERR_FORMAT, "\"%s\" is empty", path);
}

int build_string(struct builder *b, const json_t *v, const char *path, const json_t **s)
{
    if (!v)
        return build_is_missing(b, path);
    if (json_is_number(v))
        b->how->met_number = true;
    if (!json_is_string(v))
        return build_wrong_type(b, path, v, "string");
    *s = v;
    return 0;
}

json_t *build_list_of(struct builder *b, json_t *v)
{
    json_error_t why;
    if (json_is_array(v))
        return json_incref(v);
    if (!json_is_string(v) || json_string_value(v)[0] != '[')
        return NULL;
    return data_json_load(json_string_value(v), json_string_length(v), JSON_REJECT_DUPLICATES,
                          b->how->numbers_are_text, &why);
}

void build_turn(struct builder *b, enum data_role role, const char *text, size_t len)
{
    MEM_GROW(b->turns, b->cap, b->n + 1);
    b->turns[b->n++] = (struct data_turn){.role = role, .text = text, .len = len};
}

void build_json_turn(struct builder *b, enum data_role role, const json_t *s)
{
    size_t len = json_string_length(s);
    build_turn(b, role, arena_strndup(b->arena, json_string_value(s), len), len);
}
