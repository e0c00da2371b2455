/* SPDX-License-Identifier: MIT
 * picks: checks that plans and trajectories share; see picks.h. */
#include "plan/picks.h"

#include <inttypes.h>

int picks_check_offsets(const char *file, const char *name, const int64_t *offset,
                        int64_t n_lists, int64_t n, struct err *e)
{
    for (int64_t i = 0; i < n_lists; i++)
        if (offset[i] > offset[i + 1])
            return err_set(e, ERR_FORMAT, "%s: %s: entry %" PRId64 " descends", file, name,
                           i + 1);
    if (offset[0] != 0 || offset[n_lists] != n)
        return err_set(e, ERR_FORMAT,
                       "%s: %s: goes from %" PRId64 " to %" PRId64 ", expected 0 to %" PRId64,
                       file, name, offset[0], offset[n_lists], n);
    return 0;
}

int picks_check_rows(const char *file, const int64_t *pick, const int64_t *source, int64_t n,
                     struct err *e)
{
    for (int64_t i = 0; i < n; i++)
        if (pick[i] < 0 || source[i] < 0)
            return err_set(e, ERR_RANGE,
                           "%s: pick %" PRId64 ": row %" PRId64 " of record %" PRId64
                           " is negative",
                           file, i, pick[i], source[i]);
    return 0;
}
