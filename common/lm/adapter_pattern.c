/* SPDX-License-Identifier: MIT
 * adapter_pattern: which rank and alpha a module has; see adapter_pattern.h. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "lm/adapter_pattern.h"

#include "base/mem.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <pcre2.h>

enum { TRIES = 100000 }; /* names are short: a key that takes more is hostile */

/* Whether the key means the module; < 0: it is no expression, or takes too long. */
static int matches(const char *key, const char *module)
{
    int code;
    PCRE2_SIZE at;
    char *whole = mem_printf("^(?:.*\\.)?(?:%s)$", key);
    pcre2_code *re =
        pcre2_compile((PCRE2_SPTR)whole, PCRE2_ZERO_TERMINATED, 0, &code, &at, NULL);
    int found = -1;
    if (re) {
        pcre2_match_data *data = pcre2_match_data_create(1, NULL);
        pcre2_match_context *context = pcre2_match_context_create(NULL);
        pcre2_set_match_limit(context, TRIES);
        code = pcre2_match(re, (PCRE2_SPTR)module, strlen(module), 0, 0, data, context);
        found = code >= 0 ? 1 : code == PCRE2_ERROR_NOMATCH ? 0 : -1;
        pcre2_match_context_free(context);
        pcre2_match_data_free(data);
        pcre2_code_free(re);
    }
    free(whole);
    return found;
}

/* The first key that means the module; *value stays where none does. */
static int look_up(json_t *config, const char *name, const char *place, const char *module,
                   double *value, struct err *e)
{
    const char *key;
    json_t *v, *pattern = json_object_get(config, name);
    if (pattern && !json_is_null(pattern) && !json_is_object(pattern))
        return err_set(e, ERR_FORMAT, "%s: \"%s\" is not an object", place, name);
    json_object_foreach(pattern, key, v)
    {
        int found = matches(key, module);
        if (found < 0)
            return err_set(e, ERR_FORMAT,
                           "%s: %s: \"%s\" is no regular expression that can be "
                           "used",
                           place, name, key);
        if (!(json_number_value(v) > 0))
            return err_set(e, ERR_FORMAT, "%s: %s: \"%s\" is not a positive number", place,
                           name, key);
        if (found) {
            *value = json_number_value(v);
            return 0;
        }
    }
    return 0;
}

int lm_adapter_pattern(json_t *config, const char *place, const char *module, int64_t *rank,
                       double *alpha, struct err *e)
{
    double r = (double)*rank;
    if (look_up(config, "rank_pattern", place, module, &r, e) < 0 ||
        look_up(config, "alpha_pattern", place, module, alpha, e) < 0)
        return e->code;
    if (r != floor(r) || r > 4096)
        return err_set(e, ERR_RANGE, "%s: rank_pattern: a rank of %g", place, r);
    *rank = (int64_t)r;
    return 0;
}
