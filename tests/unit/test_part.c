/* SPDX-License-Identifier: MIT
 * stream/part: what a kill leaves is taken up whole, whatever was torn. */
#include "base/file.h"
#include "base/mem.h"
#include "stream/part.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/raise-part-XXXXXX";
static char path[64];
static const char parameters[] = "dataset=1\nmodel=2\n";
static const char *const entries[] = {"first", "", "a third that is longer"};
enum { N_ENTRIES = 3 };

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/out.part", dir);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(dir);
}

static void write_all(void)
{
    struct err e = ERR_INIT;
    struct part *p = part_open(path, parameters, false, &e);
    assert_non_null(p);
    for (int i = 0; i < N_ENTRIES; i++)
        assert_int_equal(part_put(p, entries[i], strlen(entries[i]), &e), 0);
    part_close(p, false);
}

static void check_entries(struct part *p, int64_t n)
{
    struct err e = ERR_INIT;
    for (int64_t i = 0; i < n; i++) {
        char *data;
        size_t len;
        assert_int_equal(part_get(p, i, &data, &len, &e), 0);
        assert_int_equal(len, strlen(entries[i]));
        assert_memory_equal(data, entries[i], len);
        free(data);
    }
}

static void a_part_is_continued(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    write_all();
    struct part *p = part_open(path, parameters, true, &e);
    assert_non_null(p);
    assert_int_equal(part_n_entries(p), N_ENTRIES);
    check_entries(p, N_ENTRIES);
    part_close(p, true);
    assert_false(file_exists(path));
    p = part_open(path, parameters, true, &e); /* none there: a new one */
    assert_non_null(p);
    assert_int_equal(part_n_entries(p), 0);
    part_close(p, true);
}

/* Cut after any byte, or with any byte changed, a part gives the whole entries before the
 * damage, and can be written on. */
static size_t whole_len; /* of the undamaged part */

static void check_damaged(const char *bytes, size_t len)
{
    struct err e = ERR_INIT;
    struct stat st;
    assert_int_equal(file_write_all(path, bytes, len, &e), 0);
    struct part *p = part_open(path, parameters, true, &e);
    if (!p) { /* damage of the header's own text is another run's part */
        assert_true(e.code == ERR_MISMATCH || e.code == ERR_FORMAT);
        return;
    }
    int64_t n = part_n_entries(p);
    assert_true(n <= N_ENTRIES);
    check_entries(p, n);
    size_t want = whole_len;
    for (int64_t i = n; i < N_ENTRIES; i++)
        want -= 16 + strlen(entries[i]);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, want); /* what follows is cut off */
    for (int64_t i = n; i < N_ENTRIES; i++)
        assert_int_equal(part_put(p, entries[i], strlen(entries[i]), &e), 0);
    check_entries(p, N_ENTRIES);
    part_close(p, false);
    p = part_open(path, parameters, true, &e);
    assert_non_null(p);
    assert_int_equal(part_n_entries(p), N_ENTRIES);
    part_close(p, true);
}

static void damage_costs_what_follows_it_only(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    char *bytes;
    size_t len;
    write_all();
    assert_int_equal(file_read_all(path, &bytes, &len, &e), 0);
    whole_len = len;
    for (size_t n = 0; n < len; n++)
        check_damaged(bytes, n);
    for (size_t i = 0; i < 8 * len; i++) {
        bytes[i / 8] ^= (char)(1 << i % 8);
        check_damaged(bytes, len);
        bytes[i / 8] ^= (char)(1 << i % 8);
    }
    free(bytes);
}

static void another_run_is_refused(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    write_all();
    assert_null(part_open(path, "dataset=1\nmodel=3\n", true, &e));
    assert_int_equal(e.code, ERR_MISMATCH);
    assert_non_null(strstr(e.msg, "it had model=2, this one has model=3"));
    assert_null(part_open(path, "dataset=1\n", true, &e));
    assert_int_equal(e.code, ERR_MISMATCH);
    struct part *p = part_open(path, "dataset=1\nmodel=3\n", false, &e); /* not resumed */
    assert_non_null(p);
    assert_int_equal(part_n_entries(p), 0);
    assert_null(part_open(path, parameters, true, &e)); /* locked */
    assert_non_null(strstr(e.msg, "another run is writing it"));
    part_close(p, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_part_is_continued),
        cmocka_unit_test(damage_costs_what_follows_it_only),
        cmocka_unit_test(another_run_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
