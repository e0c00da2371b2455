/* SPDX-License-Identifier: MIT
 * libfuzzer: the target that RAISE_FUZZ_TARGET names, for clang's -fsanitize=fuzzer. */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const struct target *target;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *name = getenv("RAISE_FUZZ_TARGET"), *tests = getenv("RAISE_TESTS");
    (void)argc;
    (void)argv;
    for (const struct target *t = targets; name && t->name; t++)
        if (!strcmp(t->name, name))
            target = t;
    if (!target) {
        fprintf(stderr, "RAISE_FUZZ_TARGET names no target\n");
        exit(2);
    }
    fuzz_set_up(tests ? tests : "tests");
    atexit(fuzz_tear_down);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    target->run(data, len);
    return 0;
}
