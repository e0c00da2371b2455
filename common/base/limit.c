/* SPDX-License-Identifier: MIT
 * limit: bounds on what a file unfolds to; see limit.h. */
#include "base/limit.h"

#include "base/mem.h"
#include "base/text.h"

int limit_unfold(int64_t n_in, int64_t n_out, int ratio, const char *name, struct err *e)
{
    char in[TEXT_AMOUNT], out[TEXT_AMOUNT];
    if (n_out <= LIMIT_UNFOLDED || n_out / ratio <= n_in)
        return 0;
    return err_set(
        e, ERR_RANGE,
        "%s: %s of it unfold to %s and more: over %d to 1 it is not read (unpack it first, "
        "if that is meant)",
        name, text_bytes(in, n_in), text_bytes(out, n_out), ratio);
}

int limit_room(size_t bytes, const char *name, struct err *e)
{
    char want[TEXT_AMOUNT], have[TEXT_AMOUNT];
    int64_t room = bytes > LIMIT_UNFOLDED ? mem_available_bytes() : 0;
    if (!room || bytes <= (size_t)room)
        return 0;
    return err_set(e, ERR_RANGE, "%s: takes %s of memory, and %s is available", name,
                   text_bytes(want, (int64_t)bytes), text_bytes(have, room));
}
