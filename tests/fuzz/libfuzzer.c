/* SPDX-License-Identifier: MIT
 * libfuzzer: the target that RAISE_FUZZ_TARGET names, for clang's -fsanitize=fuzzer with
 * address sanitizer, whose hooks count what is allocated: an input that takes more than ten
 * times its size and what its target may (fuzz.h) is a finding, as a crash is. */
#include "fuzz.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* sanitizer/allocator_interface.h, which not every clang brings. */
int __sanitizer_install_malloc_and_free_hooks(void (*taken)(const volatile void *, size_t),
                                              void (*given)(const volatile void *));
size_t __sanitizer_get_allocated_size(const volatile void *p);

static const struct target *target;
/* One thread: targets that start others join them within the input. */
static _Atomic(int64_t) now, peak;

static void taken(const volatile void *p, size_t len)
{
    (void)p;
    int64_t is = atomic_fetch_add(&now, (int64_t)len) + (int64_t)len;
    if (is > peak)
        peak = is;
}

static void given(const volatile void *p)
{
    if (p)
        atomic_fetch_sub(&now, (int64_t)__sanitizer_get_allocated_size(p));
}

/* For tests/fuzz/run: the targets' names; or the files below tests/ that are seeds of this. */
static void list(void)
{
    for (const struct target *t = targets; !target && t->name; t++)
        puts(t->name);
    for (int i = 0; target && target->seeds[i]; i++)
        puts(target->seeds[i]);
    exit(0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *name = getenv("RAISE_FUZZ_TARGET"), *tests = getenv("RAISE_TESTS");
    (void)argc;
    (void)argv;
    for (const struct target *t = targets; name && t->name; t++)
        if (!strcmp(t->name, name))
            target = t;
    if (getenv("RAISE_FUZZ_LIST"))
        list();
    if (!target) {
        fprintf(stderr, "RAISE_FUZZ_TARGET names no target\n");
        exit(2);
    }
    fuzz_set_up(tests ? tests : "tests");
    atexit(fuzz_tear_down);
    if (!__sanitizer_install_malloc_and_free_hooks(taken, given)) {
        fprintf(stderr, "memory cannot be counted\n");
        exit(2);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const int64_t mib = 1 << 20;
    int64_t start = now;
    int64_t room = 10 * (int64_t)len + mib * (target->memory ? target->memory : FUZZ_MEMORY);
    double begin = fuzz_seconds();
    peak = start;
    target->run(data, len);
    double seconds = fuzz_seconds() - begin;
    if (peak - start > room) {
        fprintf(stderr, "%s: %lld bytes of memory for an input of %zu\n", target->name,
                (long long)(peak - start), len);
        abort();
    }
    if (seconds > FUZZ_SECONDS) {
        fprintf(stderr, "%s: %.1f s for an input of %zu\n", target->name, seconds, len);
        abort();
    }
    return 0;
}
