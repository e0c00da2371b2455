/* SPDX-License-Identifier: MIT
 * top: the best rows of many; see top.h. */
#include "base/top.h"

#include <stdlib.h>

bool top_is_before(const struct top_row *a, const struct top_row *b)
{
    if (a->key > b->key || a->key < b->key)
        return a->key > b->key;
    return a->tie != b->tie ? a->tie < b->tie : a->row < b->row;
}

static int compare(const void *a, const void *b)
{
    return top_is_before(a, b) ? -1 : top_is_before(b, a) ? 1 : 0;
}

void top_sort(struct top_row *rows, int64_t n)
{
    qsort(rows, (size_t)n, sizeof *rows, compare);
}

void top_offer(struct top_row *heap, int64_t *n, int64_t cap, struct top_row x)
{
    int64_t i;
    if (*n < cap) {
        for (i = (*n)++; i > 0 && top_is_before(&heap[(i - 1) / 2], &x); i = (i - 1) / 2)
            heap[i] = heap[(i - 1) / 2];
        heap[i] = x;
        return;
    }
    if (!cap || !top_is_before(&x, &heap[0]))
        return;
    for (i = 0;;) {
        int64_t child = 2 * i + 1;
        if (child >= cap)
            break;
        if (child + 1 < cap && top_is_before(&heap[child], &heap[child + 1]))
            child++;
        if (!top_is_before(&x, &heap[child]))
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = x;
}
