/* SPDX-License-Identifier: MIT
 * base/top: what is kept is the head of the sorted list, whatever the order of the offers. */
#include "base/mem.h"
#include "base/rng.h"
#include "base/top.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void the_head_of_the_sorted_list(void **state)
{
    (void)state;
    enum { N = 200 };
    for (int64_t cap = 0; cap <= N + 1; cap += cap < 5 ? 1 : 28)
        for (uint64_t seed = 0; seed < 20; seed++) {
            struct top_row all[N], kept[N + 1];
            int64_t order[N], n = 0;
            struct rng r;
            rng_init(&r, seed, 1);
            for (int i = 0; i < N; i++) { /* many equal keys, some equal ties */
                all[i] = (struct top_row){(double)rng_below(&r, 9), rng_below(&r, 3), i};
                order[i] = i;
            }
            rng_shuffle(&r, order, N);
            for (int i = 0; i < N; i++)
                top_offer(kept, &n, cap, all[order[i]]);
            top_sort(kept, n);
            /* selection sort by the order's own words: key down, tie up, row up */
            for (int64_t k = 0; k < N; k++)
                for (int64_t i = k + 1; i < N; i++)
                    if (all[i].key > all[k].key ||
                        (all[i].key == all[k].key &&
                         (all[i].tie < all[k].tie ||
                          (all[i].tie == all[k].tie && all[i].row < all[k].row)))) {
                        struct top_row x = all[k];
                        all[k] = all[i];
                        all[i] = x;
                    }
            assert_int_equal(n, cap < N ? cap : N);
            for (int64_t k = 0; k < n; k++)
                assert_int_equal(kept[k].row, all[k].row);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_head_of_the_sorted_list)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
