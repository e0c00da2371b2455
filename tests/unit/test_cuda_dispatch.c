/* SPDX-License-Identifier: MIT
 * The loader of the CUDA plugin: none, damaged, of another version, no such device. */
#include "base/mem.h"
#include "lm/backend.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Names a file beside this test as the plugin. */
static void use(const char *name)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 64);
    assert_true(n > 0);
    path[n] = '\0';
    strcpy(strrchr(path, '/') + 1, name);
    setenv("RAISE_CUDA_PLUGIN", path, 1);
}

static void refused(int index, int code, const char *why)
{
    struct err e = ERR_INIT;
    assert_null(lm_dev_open_cuda(index, &e));
    assert_int_equal(e.code, code);
    if (!strstr(e.msg, why))
        fail_msg("\"%s\" does not say \"%s\"", e.msg, why);
}

static void a_missing_plugin_is_named(void **state)
{
    (void)state;
    setenv("RAISE_CUDA_PLUGIN", "/nowhere/raise-cuda.so", 1);
    refused(0, ERR_IO, "/nowhere/raise-cuda.so: No such file");
    unsetenv("RAISE_CUDA_PLUGIN");
    refused(0, ERR_IO, "raise-cuda.so: No such file");
}

static void a_file_that_is_no_library_is_refused(void **state)
{
    (void)state;
    setenv("RAISE_CUDA_PLUGIN", "/proc/self/status", 1);
    refused(0, ERR_UNSUPPORTED, "cuda: ");
}

static void another_version_is_refused_before_it_is_called(void **state)
{
    (void)state;
    use("old-cuda.so");
    refused(0, ERR_MISMATCH, "is of version 0.0.1, this program of");
}

static void another_build_is_refused_before_it_is_called(void **state)
{
    (void)state;
    use("stale-cuda.so");
    refused(0, ERR_MISMATCH, "is of another build");
}

static void a_device_that_is_not_there_is_an_error(void **state)
{
    (void)state;
    use("host-cuda.so"); /* which has device 0 alone */
    refused(7, ERR_UNSUPPORTED, "device 7");
}

static void a_device_opens_allocates_and_closes(void **state)
{
    (void)state;
    use("host-cuda.so");
    struct err e = ERR_INIT;
    struct lm_dev *d = lm_dev_open_cuda(0, &e);
    assert_non_null(d);
    assert_string_equal(d->ops->name, "cuda");
    assert_int_equal(d->act, LM_BF16);
    assert_null(d->ops->alloc(d, (size_t)1 << 62, &e));
    assert_non_null(strstr(e.msg, "do not fit"));
    lm_dev_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_missing_plugin_is_named),
        cmocka_unit_test(a_file_that_is_no_library_is_refused),
        cmocka_unit_test(another_version_is_refused_before_it_is_called),
        cmocka_unit_test(another_build_is_refused_before_it_is_called),
        cmocka_unit_test(a_device_that_is_not_there_is_an_error),
        cmocka_unit_test(a_device_opens_allocates_and_closes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
