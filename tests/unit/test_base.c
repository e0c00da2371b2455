/* SPDX-License-Identifier: MIT
 * base/: numbers, random numbers, files that appear complete or not at all. */
#include "base/file.h"
#include "base/mem.h"
#include "base/opt.h"
#include "base/rng.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void numbers_are_strict(void **state)
{
    (void)state;
    int64_t v = 0;
    double d = 0;
    assert_int_equal(opt_parse_int("12", 0, 0, &v, NULL), 0);
    assert_int_equal(v, 12);
    assert_int_equal(opt_parse_int("3K", 0, 0, &v, NULL), 0);
    assert_int_equal(v, 3072);
    assert_int_equal(opt_parse_int("9x", 0, 0, &v, NULL), ERR_FORMAT);
    assert_int_equal(opt_parse_int("", 0, 0, &v, NULL), ERR_FORMAT);
    assert_int_equal(opt_parse_int("99999999999G", 0, 0, &v, NULL), ERR_FORMAT);
    assert_int_equal(opt_parse_int("5", 1, 4, &v, NULL), ERR_RANGE);
    assert_int_equal(opt_parse_real("0.5", 0, 1, &d, NULL), 0);
    assert_int_equal(opt_parse_real("nan", 0, 0, &d, NULL), ERR_FORMAT);
    assert_int_equal(opt_parse_real("1e999", 0, 0, &d, NULL), ERR_FORMAT);
    assert_int_equal(opt_parse_real("2 ", 0, 0, &d, NULL), ERR_FORMAT);
}

static void random_numbers_have_their_moments(void **state)
{
    (void)state;
    struct rng r;
    rng_init(&r, 42, 0);
    double sum = 0, sq = 0, u = 0;
    enum { N = 200000 };
    for (int i = 0; i < N; i++) {
        double x = rng_normal(&r);
        sum += x;
        sq += x * x;
        u += rng_hash_unit(1, 2, 3, (uint64_t)i);
    }
    assert_true(fabs(sum / N) < 0.01 && fabs(sq / N - 1) < 0.02 && fabs(u / N - 0.5) < 0.003);
    struct rng a, b;
    rng_init(&a, 1, 0);
    rng_init(&b, 1, 1);
    assert_true(rng_u64(&a) != rng_u64(&b));
    for (int i = 0; i < 1000; i++)
        assert_true(rng_below(&a, 7) < 7);
}

static void output_appears_whole_or_not_at_all(void **state)
{
    (void)state;
    char dir[] = "/tmp/raise-test-XXXXXX";
    assert_non_null(mkdtemp(dir));
    char *path = mem_printf("%s/x", dir);
    struct err e = ERR_INIT;
    struct outfile *o = outfile_open(path, &e);
    assert_non_null(o);
    assert_int_equal(outfile_write(o, "abc", 3, &e), 0);
    assert_false(file_exists(path));
    outfile_abort(o);
    assert_false(file_exists(path));
    assert_int_equal(file_write_all(path, "abc", 3, &e), 0);
    char *data;
    size_t len;
    assert_int_equal(file_read_all(path, &data, &len, &e), 0);
    assert_int_equal(len, 3);
    assert_string_equal(data, "abc");
    free(data);
    assert_int_equal(file_read_all("/nonexistent/y", &data, &len, &e), ERR_IO);
    assert_string_equal(e.msg, "/nonexistent/y: No such file or directory");
    unlink(path);
    assert_int_equal(rmdir(dir), 0); /* nothing else was left behind */
    free(path);
}

static void devices_are_written_not_replaced(void **state)
{
    (void)state;
    char dir[] = "/tmp/raise-test-XXXXXX";
    assert_non_null(mkdtemp(dir));
    char *link = mem_printf("%s/null", dir), *pipe = mem_printf("%s/pipe", dir);
    struct err e = ERR_INIT;
    struct stat st;
    assert_int_equal(symlink("/dev/null", link), 0);
    assert_int_equal(file_write_all(link, "abc", 3, &e), 0);
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISLNK(st.st_mode)); /* neither renamed over nor removed */
    assert_int_equal(mkfifo(pipe, 0600), 0);
    int fd = open(pipe, O_RDONLY | O_NONBLOCK);
    assert_int_equal(file_write_all(pipe, "abc", 3, &e), 0);
    char got[4] = "";
    assert_int_equal(read(fd, got, 3), 3);
    assert_string_equal(got, "abc");
    close(fd);
    struct outfile *o = outfile_open(dir, &e);
    assert_null(o);
    assert_int_equal(e.code, ERR_IO);
    unlink(link);
    unlink(pipe);
    assert_int_equal(rmdir(dir), 0);
    free(link);
    free(pipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_strict),
        cmocka_unit_test(random_numbers_have_their_moments),
        cmocka_unit_test(output_appears_whole_or_not_at_all),
        cmocka_unit_test(devices_are_written_not_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
