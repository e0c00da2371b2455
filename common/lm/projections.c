/* SPDX-License-Identifier: MIT
 * projections: the matrices that may have an adapter, by name; see lm.h. */
#include "lm/lm.h"

#include <string.h>

const char *const lm_projection_names[LM_N_PROJECTIONS] = {
    "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};

static const char ending[] = "_proj";
enum { END = sizeof ending - 1 };

/* The bits of a name of `len` bytes, with or without its ending; 0: none of ours. */
static unsigned bits_of(const char *name, size_t len)
{
    if (len == 3 && !strncmp(name, "all", 3))
        return LM_ALL_PROJECTIONS;
    if (len > END && !strncmp(name + len - END, ending, END))
        len -= END;
    for (int i = 0; i < LM_N_PROJECTIONS; i++)
        if (strlen(lm_projection_names[i]) == len + END &&
            !strncmp(lm_projection_names[i], name, len))
            return 1U << i;
    return 0;
}

int lm_projections_parse(const char *s, unsigned *targets, struct err *e)
{
    unsigned found = 0;
    while (*s) {
        size_t len = strcspn(s, ",");
        unsigned bits = bits_of(s, len);
        if (!bits)
            return err_set(e, ERR_RANGE,
                           "'%.*s' is none of q, k, v, o, gate, up, down (a list) or all",
                           (int)len, s);
        found |= bits;
        s += len + (s[len] == ',');
    }
    if (!found)
        return err_set(e, ERR_RANGE, "an empty list of projections");
    *targets = found;
    return 0;
}
