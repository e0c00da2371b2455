/* SPDX-License-Identifier: MIT
 * base/: numbers, random numbers, files that appear complete or not at all. */
#include "base/arena.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/opt.h"
#include "base/rng.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
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

/* ---- output, whatever ends the process ---- */

struct folder {
    char dir[32];
    char *path; /* of a file in it */
};

static void folder_begin(struct folder *f)
{
    strcpy(f->dir, "/tmp/raise-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->path = mem_printf("%s/x", f->dir);
}

static int n_entries(const char *dir)
{
    int n = -2; /* . and .. */
    DIR *d = opendir(dir);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void folder_end(struct folder *f)
{
    assert_int_equal(rmdir(f->dir), 0); /* nothing was left behind */
    free(f->path);
}

static struct outfile *begin_file(const char *path)
{
    struct err e = ERR_INIT;
    struct outfile *o = outfile_open(path, &e);
    if (!o || outfile_write(o, "new", 3, &e) < 0)
        _exit(99);
    return o;
}

/* LLVM's OpenMP takes locks around fork(), which a child under thread sanitizer never gets. */
static void skip_under_tsan(void)
{
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
    print_message("skipped: forks, which does not end under thread sanitizer\n");
    skip();
#endif
#endif
}

static struct outfile *volatile held; /* by a child until its end: no leak */

/* What a child ends with that runs `body` while it has an output open. */
static int end_of(void (*body)(int), int arg, const char *path)
{
    pid_t child = fork();
    if (child == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        held = begin_file(path);
        body(arg);
        _exit(98);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void raise_it(int sig)
{
    raise(sig);
}

static void signals_leave_nothing(void **state)
{
    skip_under_tsan();
    static const int sigs[] = {SIGINT,  SIGTERM, SIGHUP,  SIGQUIT, SIGPIPE,
                               SIGXCPU, SIGUSR1, SIGUSR2, SIGALRM};
    (void)state;
    struct folder f;
    folder_begin(&f);
    for (size_t i = 0; i < sizeof sigs / sizeof *sigs; i++) {
        int status = end_of(raise_it, sigs[i], f.path);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), sigs[i]);
        assert_int_equal(n_entries(f.dir), 0);
    }
    folder_end(&f);
}

static void call_exit(int status)
{
    if (status == 1)
        mem_alloc((size_t)-1, 2); /* dies */
    exit(status);
}

static void exits_leave_nothing(void **state)
{
    skip_under_tsan();
    (void)state;
    struct folder f;
    folder_begin(&f);
    int quiet = open("/dev/null", O_WRONLY), err = dup(2);
    dup2(quiet, 2);
    assert_int_equal(WEXITSTATUS(end_of(call_exit, 1, f.path)), 1);
    dup2(err, 2);
    close(err);
    close(quiet);
    assert_int_equal(WEXITSTATUS(end_of(call_exit, 3, f.path)), 3);
    assert_int_equal(n_entries(f.dir), 0);
    folder_end(&f);
}

static void limit_size(int arg)
{
    struct rlimit few = {2, 2};
    struct err e = ERR_INIT;
    (void)arg;
    setrlimit(RLIMIT_FSIZE, &few);
    char *path = mem_printf("/tmp/raise-test-limit.%ld", (long)getpid());
    char *want = mem_printf("%s: File too large", path);
    struct outfile *o = outfile_open(path, &e);
    int rc = o ? outfile_write(o, "new", 3, &e) : 0;
    outfile_abort(o);
    bool is_right = rc == ERR_IO && !strcmp(e.msg, want);
    free(path);
    free(want);
    exit(is_right ? 7 : 8);
}

static void a_limit_on_sizes_is_an_error(void **state)
{
    skip_under_tsan();
    (void)state;
    struct folder f;
    folder_begin(&f);
    assert_int_equal(WEXITSTATUS(end_of(limit_size, 0, f.path)), 7);
    folder_end(&f);
}

/* The same signals while other threads make files, and rename them: what is there afterwards is
 * whole, and nothing else is. */
static atomic_int n_made;

static void *make_files(void *arg)
{
    const char *path = arg;
    for (;;) {
        struct err e = ERR_INIT;
        char *name = mem_printf("%s%d", path, atomic_fetch_add(&n_made, 1) % 8);
        if (outfile_commit(begin_file(name), &e) < 0)
            _exit(97); /* its temporary was taken away in the middle */
        free(name);
    }
    return NULL;
}

static void make_and_die(const char *path, unsigned us)
{
    pthread_t t[3];
    for (size_t i = 0; i < 3; i++) {
        char *name = mem_printf("%s.%zu.", path, i);
        pthread_create(&t[i], NULL, make_files, name);
    }
    while (atomic_load(&n_made) < 3)
        usleep(10);
    usleep(us);
    kill(getpid(), SIGTERM); /* any thread may take either */
    kill(getpid(), SIGINT);
    for (;;)
        pause();
}

static void signals_tear_no_commit(void **state)
{
    skip_under_tsan();
    (void)state;
    for (unsigned i = 0; i < 60; i++) {
        struct folder f;
        folder_begin(&f);
        pid_t child = fork();
        if (child == 0)
            make_and_die(f.path, 37 * i);
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        DIR *d = opendir(f.dir);
        for (struct dirent *x; (x = readdir(d));) {
            if (x->d_name[0] == '.')
                continue;
            assert_null(strstr(x->d_name, "tmp"));
            struct stat st;
            assert_int_equal(fstatat(dirfd(d), x->d_name, &st, 0), 0);
            assert_int_equal(st.st_size, 3);
            unlinkat(dirfd(d), x->d_name, 0);
        }
        closedir(d);
        folder_end(&f);
    }
}

static void the_next_call_removes_what_a_kill_left(void **state)
{
    skip_under_tsan();
    (void)state;
    struct folder f;
    struct err e = ERR_INIT;
    folder_begin(&f);
    char *other = mem_printf("%s.tmp-raise.12x", f.path),
         *other2 = mem_printf("%s.tmp1", f.path);
    assert_int_equal(file_write_all(other, "a", 1, &e), 0);
    assert_int_equal(file_write_all(other2, "a", 1, &e), 0);
    end_of(raise_it, SIGKILL, f.path);
    assert_int_equal(n_entries(f.dir), 3);
    struct outfile *living = outfile_open(f.path, &e), *second = outfile_open(f.path, &e);
    assert_int_equal(n_entries(f.dir), 4); /* the dead one's is gone, both of ours are there */
    assert_int_equal(outfile_commit(living, &e), 0);
    assert_int_equal(outfile_commit(second, &e), 0);
    assert_int_equal(n_entries(f.dir), 3);
    unlink(f.path);
    unlink(other);
    unlink(other2);
    free(other);
    free(other2);
    folder_end(&f);
}

static void what_is_replaced_keeps_mode_and_links(void **state)
{
    (void)state;
    struct folder f;
    struct err e = ERR_INIT;
    struct stat st;
    folder_begin(&f);
    char *link = mem_printf("%s.link", f.path), *dangling = mem_printf("%s.far", f.path);
    char *trap = mem_printf("%s.tmp-raise.%ld", f.path, (long)getpid());
    assert_int_equal(file_write_all(f.path, "old", 3, &e), 0);
    assert_int_equal(chmod(f.path, 0640), 0);
    assert_int_equal(symlink("x", link), 0);
    assert_int_equal(symlink("x.link2", dangling), 0); /* to nothing yet */
    assert_int_equal(symlink("x.link", trap), 0);      /* where the temporary would stand */
    assert_int_equal(file_write_all(link, "new1", 4, &e), 0);
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(lstat(f.path, &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0640);
    assert_int_equal(st.st_size, 4);
    assert_int_equal(file_write_all(dangling, "new12", 5, &e), 0);
    assert_int_equal(stat(dangling, &st), 0);
    assert_int_equal(st.st_size, 5);
    unlink(trap);
    char *made = mem_printf("%s.link2", f.path);
    assert_int_equal(unlink(made), 0);
    assert_int_equal(symlink("x.link2", made), 0); /* around in a circle */
    assert_int_equal(file_write_all(dangling, "a", 1, &e), ERR_IO);
    char *want = mem_printf("%s: Too many levels of symbolic links", dangling);
    assert_string_equal(e.msg, want);
    unlink(made);
    unlink(dangling);
    unlink(link);
    unlink(f.path);
    free(want);
    free(made);
    free(trap);
    free(dangling);
    free(link);
    folder_end(&f);
}

/* ---- text ---- */

static const char *quoted(const char *s, size_t len)
{
    static struct buf b;
    b.len = 0;
    text_json_string(&b, s, len);
    return buf_str(&b);
}

static const char *shown(const char *s)
{
    static struct buf b;
    b.len = 0;
    text_printable(&b, s, strlen(s));
    return buf_str(&b);
}

static void text_is_quoted_and_made_printable(void **state)
{
    (void)state;
    assert_string_equal(quoted("a\"\\\n\x01\xc3\xa9", 7), "\"a\\\"\\\\\\n\\u0001\xc3\xa9\"");
    assert_string_equal(quoted("\xed\xa0\x80z\xff", 5),
                        "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz\xef\xbf\xbd\"");
    assert_string_equal(quoted("a\0b", 3), "\"a\\u0000b\"");
    assert_string_equal(shown("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x99\x82"),
                        "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x99\x82");
    assert_string_equal(shown("\x1b[2J\a\n\t\x7f"), "\\x1b[2J\\x07\\n\\t\\x7f");
    assert_string_equal(shown("\xc2\x9b\xe2\x80\xae\xff"), "\\u009b\\u202e\\xff");
    struct err e = ERR_INIT;
    err_set(&e, ERR_FORMAT, "field \"%s\"", "\x1b[31mred\nx");
    assert_string_equal(e.msg, "field \"\\x1b[31mred x\"");
    char *steer = mem_zalloc(1500, 1);
    memset(steer, '\x1b', 1400);
    err_set(&e, ERR_FORMAT, "%s", steer);
    assert_int_equal(strlen(e.msg), sizeof e.msg - 1);
    assert_string_equal(e.msg + sizeof e.msg - 4, "...");
    free(steer);
}

static void numbers_are_as_short_as_they_read_back(void **state)
{
    static const struct {
        double v;
        bool is_float;
        const char *text;
    } rows[] = {
        {(double)0.7F, true, "0.7"},
        {(double)0.7F, false, "0.699999988079071"},
        {0.7, false, "0.7"},
        {1e-5, false, "1e-05"},
        {(double)1.401298464e-45F, true, "1.4013e-45"},
        {4.9406564584124654e-324, false, "4.94065645841247e-324"},
        {0.1 + 0.2, false, "0.30000000000000004"},
        {(double)16777216.0F, true, "16777216"},
        {-0.0, false, "-0"},
    };
    char s[TEXT_REAL];
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_string_equal(
            text_real(s, rows[i].v, rows[i].is_float ? TEXT_FLOAT : TEXT_DOUBLE), rows[i].text);
    struct rng r;
    rng_init(&r, 7, 0);
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = rng_u64(&r);
        double d;
        float f;
        memcpy(&d, &bits, 8);
        memcpy(&f, &bits, 4);
        if (isfinite(d))
            assert_true(strtod(text_real(s, d, TEXT_DOUBLE), NULL) == d);
        if (isfinite(f))
            assert_true(strtof(text_real(s, (double)f, TEXT_FLOAT), NULL) == f);
    }
}

/* Pieces are aligned, do not overlap (also those larger than a chunk), and keep their bytes. */
static void an_arena_hands_out_pieces(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 0, 13, 300000, 8, 262144, 5};
    enum { N = sizeof sizes / sizeof *sizes, ROUNDS = 50 };
    struct arena a = {0};
    unsigned char *p[ROUNDS][N];
    for (int r = 0; r < ROUNDS; r++)
        for (int i = 0; i < N; i++) {
            p[r][i] = arena_take(&a, sizes[i]);
            assert_int_equal((uintptr_t)p[r][i] % 8, 0);
            memset(p[r][i], r * N + i, sizes[i]);
        }
    for (int r = 0; r < ROUNDS; r++)
        for (int i = 0; i < N; i++)
            for (size_t k = 0; k < sizes[i]; k += 7)
                assert_int_equal(p[r][i][k], (unsigned char)(r * N + i));
    assert_string_equal(arena_strndup(&a, "chunks", 5), "chunk");
    arena_free(&a);
    assert_null(a.last);
    assert_string_equal(arena_strndup(&a, "again", 5), "again");
    arena_free(&a);
}

int main(void)
{
    signal(SIGINT,
           SIG_DFL); /* a job in the background has these two ignored, under nohup SIGHUP */
    signal(SIGHUP, SIG_DFL);
    signal(SIGQUIT, SIG_DFL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_strict),
        cmocka_unit_test(an_arena_hands_out_pieces),
        cmocka_unit_test(random_numbers_have_their_moments),
        cmocka_unit_test(output_appears_whole_or_not_at_all),
        cmocka_unit_test(devices_are_written_not_replaced),
        cmocka_unit_test(signals_leave_nothing),
        cmocka_unit_test(exits_leave_nothing),
        cmocka_unit_test(a_limit_on_sizes_is_an_error),
        cmocka_unit_test(signals_tear_no_commit),
        cmocka_unit_test(the_next_call_removes_what_a_kill_left),
        cmocka_unit_test(what_is_replaced_keeps_mode_and_links),
        cmocka_unit_test(text_is_quoted_and_made_printable),
        cmocka_unit_test(numbers_are_as_short_as_they_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
