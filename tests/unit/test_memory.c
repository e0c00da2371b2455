/* SPDX-License-Identifier: MIT
 * How much memory there is, what a model plans to take of it, and what happens when it is
 * refused. */
#include "base/file.h"
#include "base/mem.h"
#include "lm/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

static char root[] = "/tmp/test_memory.XXXXXX";

static void clear(void)
{
    char *command = mem_printf("rm -rf '%s'/*", root);
    assert_int_equal(system(command), 0);
    free(command);
}

/* Writes a file below root, with its folders. */
static void put(const char *name, const char *text)
{
    char *path = mem_printf("%s/%s", root, name), *slash = strrchr(path, '/');
    *slash = '\0';
    assert_int_equal(file_mkdirs(path, NULL), 0);
    *slash = '/';
    assert_int_equal(file_write_all(path, text, strlen(text), NULL), 0);
    free(path);
}

/* A level of control groups v2. */
static void put_group(const char *folder, const char *max, const char *current,
                      const char *stat)
{
    const char *const files[][2] = {
        {"memory.max", max}, {"memory.current", current}, {"memory.stat", stat}};
    for (int i = 0; i < 3; i++) {
        char *name = mem_printf("sys/fs/cgroup%s/%s", folder, files[i][0]);
        put(name, files[i][1]);
        free(name);
    }
}

#define MEMINFO "MemTotal: 64000 kB\nMemFree: 100 kB\nMemAvailable: 32000 kB\nBuffers: 1 kB\n"

static void memory_left_is_the_least_of_all_limits(void **state)
{
    (void)state;
    clear();
    assert_int_equal(mem_available_under(root), 0); /* unknown */
    put("proc/meminfo", MEMINFO);
    assert_int_equal(mem_available_under(root), 32000 * 1024);
    put("proc/self/cgroup", "0::/slurm/job_7/step_0\n");
    assert_int_equal(mem_available_under(root), 32000 * 1024); /* nothing mounted */
    put_group("/slurm/job_7/step_0", "max\n", "9000\n", "");
    assert_int_equal(mem_available_under(root), 32000 * 1024);
    put_group("/slurm/job_7", "20000000\n", "15000000\n", "anon 1\n");
    assert_int_equal(mem_available_under(root), 5000000);
    put_group(
        "/slurm/job_7", "20000000\n", "15000000\n",
        "anon 9000000\ninactive_file 4000000\nactive_file 1000000\nslab_reclaimable 500000\n"
        "slab_unreclaimable 77\n");
    assert_int_equal(mem_available_under(root), 10500000);
    put_group("/slurm", "3000\n", "1000\n", "");
    assert_int_equal(mem_available_under(root), 2000);
    put_group("", "1500\n", "1000\n", ""); /* a container's own root has a limit, too */
    assert_int_equal(mem_available_under(root), 500);
    put_group("", "1500\n", "1600\n", "");
    assert_int_equal(mem_available_under(root), 1); /* full is not unknown */
}

static void a_limit_counts_without_meminfo(void **state)
{
    (void)state;
    clear();
    put("proc/self/cgroup", "0::/\n");
    put_group("", "7000\n", "3000\n", "");
    assert_int_equal(mem_available_under(root), 4000);
}

static void the_first_version_of_groups_counts(void **state)
{
    (void)state;
    clear();
    put("proc/meminfo", MEMINFO);
    put("proc/self/cgroup",
        "12:cpuset:/a\n7:cpu,memory:/slurm/job_7\n1:name=systemd:/b\n0::/\n");
    put("sys/fs/cgroup/memory/slurm/job_7/memory.limit_in_bytes", "9223372036854771712\n");
    put("sys/fs/cgroup/memory/slurm/job_7/memory.usage_in_bytes", "100\n");
    assert_int_equal(mem_available_under(root), 32000 * 1024);
    put("sys/fs/cgroup/memory/slurm/memory.limit_in_bytes", "5000\n");
    put("sys/fs/cgroup/memory/slurm/memory.usage_in_bytes", "4000\n");
    put("sys/fs/cgroup/memory/slurm/memory.stat", "inactive_file 1\ntotal_inactive_file 200\n");
    assert_int_equal(mem_available_under(root), 1200);
}

static void the_address_space_has_a_limit(void **state)
{
    (void)state;
    struct rlimit old, tight;
    long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%lld", &pages) != 1)
        skip();
    fclose(f);
    assert_int_equal(getrlimit(RLIMIT_AS, &old), 0);
    tight = old;
    tight.rlim_cur = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + (64 << 20);
    assert_int_equal(setrlimit(RLIMIT_AS, &tight), 0);
    int64_t left = mem_available_bytes();
    setrlimit(RLIMIT_AS, &old);
    assert_true(left > 0 && left <= 64 << 20);
}

/* ---- models ---- */

static char *fixture(void)
{
    const char *tests = getenv("RAISE_TESTS");
    return mem_printf("%s/fixtures/lm/llama", tests ? tests : "tests");
}

/* Estimates are the plan's to judge, and --force overrides it; a device asks the system. */
static void only_the_system_refuses_memory(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct lm_dev *d = lm_dev_open_cpu(LM_F32, &e);
    assert_non_null(d);
    int64_t left = mem_available_bytes();
    assert_null(d->ops->alloc(d, (size_t)1 << 62, &e));
    assert_int_equal(e.code, ERR_MEMORY);
    void *p = d->ops->alloc(d, (size_t)left + ((size_t)65 << 20), &e); /* never touched */
    if (!p)
        fail_msg("%s", e.msg);
    d->ops->free(d, p);
    lm_dev_close(d);
}

static struct lm_ops refusing; /* the device's own but for alloc */
static void *(*real_alloc)(struct lm_dev *d, size_t bytes, struct err *e);
static int n_granted; /* allocations before one is refused */

static void *refuse(struct lm_dev *d, size_t bytes, struct err *e)
{
    if (n_granted-- > 0)
        return real_alloc(d, bytes, e);
    err_set(e, ERR_MEMORY, "refused");
    return NULL;
}

/* Whichever allocation of a first batch is refused, the next try has everything. */
static void a_refused_allocation_leaves_no_half(void **state)
{
    (void)state;
    static const int32_t ids[] = {3, 14, 15, 9};
    static const uint8_t is_loss[] = {0, 1, 1, 1};
    static const int64_t offsets[] = {0, 4};
    const struct lm_batch b = {ids, is_loss, offsets, 1, 4};
    struct lm_options o = LM_OPTIONS_DEFAULTS;
    char *path = fixture();
    double want = 0;
    o.precision = LM_PRECISION_FP32;
    o.micro_tokens = 4;
    for (int n = 2; n >= 0; n--) { /* the rotary table and the activations; last of all none */
        struct err e = ERR_INIT;
        double nll = 0;
        struct lm *m = lm_open(path, &o, &e);
        assert_non_null(m);
        const struct lm_ops *own = m->d->ops;
        refusing = *own;
        real_alloc = own->alloc;
        refusing.alloc = refuse;
        n_granted = n;
        m->d->ops = &refusing;
        int code = lm_nll(m, &b, &nll, NULL, &e);
        assert_int_equal(code, n == 2 ? 0 : ERR_MEMORY);
        m->d->ops = own;
        assert_int_equal(lm_nll(m, &b, &nll, NULL, &e), 0);
        assert_non_null(m->cos_sin);
        want = n == 2 ? nll : want;
        assert_true(nll == want && nll > 0);
        lm_close(m);
    }
    free(path);
}

static void a_plan_knows_of_attention_and_saving(void **state)
{
    (void)state;
    struct lm_options o = LM_OPTIONS_DEFAULTS;
    struct lm_memory plain, longer, saved, full;
    struct err e = ERR_INIT;
    struct lm_config c;
    char *path = fixture();
    o.precision = LM_PRECISION_FP32;
    o.micro_tokens = 64;
    o.longest = 16;
    assert_int_equal(lm_plan(path, &o, &plain, &e), 0);
    o.longest = 60;
    assert_int_equal(lm_plan(path, &o, &longer, &e), 0);
    assert_true(longer.attention > plain.attention && plain.attention > 0);
    assert_int_equal(longer.total - plain.total, longer.attention - plain.attention);
    o.micro_tokens = 1;
    o.longest = 1;
    o.is_saved = true;
    assert_int_equal(lm_plan(path, &o, &saved, &e), 0);
    assert_int_equal(lm_config_read(&c, path, &e), 0);
    assert_int_equal(saved.saving, lm_config_n_params(&c) * 4);
    assert_true(saved.total >= saved.weights + saved.saving);
    o.is_saved = false;
    o.tuning = LM_TUNE_FULL; /* no second copy of the weights */
    assert_int_equal(lm_plan(path, &o, &full, &e), 0);
    o.is_widened = true;
    o.tuning = LM_TUNE_NONE;
    assert_int_equal(lm_plan(path, &o, &plain, &e), 0);
    assert_int_equal(full.weights, plain.weights);
    free(path);
}

/* Full weights come from the file again, which must be the same. */
static void a_reset_notices_another_file(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct lm_options o = LM_OPTIONS_DEFAULTS;
    char *path = fixture();
    clear();
    char *copy =
        mem_printf("cp '%s/config.json' '%s/model.safetensors' '%s'", path, path, root);
    assert_int_equal(system(copy), 0);
    o.precision = LM_PRECISION_FP32;
    o.tuning = LM_TUNE_FULL;
    struct lm *m = lm_open(root, &o, &e);
    assert_non_null(m);
    assert_int_equal(lm_reset(m, 1, &e), 0);
    char *weights = mem_printf("%s/model.safetensors", root);
    FILE *f = fopen(weights, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, -2, SEEK_END), 0);
    assert_true(fputc(0x11, f) != EOF && fclose(f) == 0);
    assert_int_equal(lm_reset(m, 1, &e), ERR_MISMATCH);
    assert_non_null(strstr(e.msg, "changed since it was loaded"));
    lm_close(m);
    free(weights);
    free(copy);
    free(path);
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(root) ? 0 : 1;
}

static int tear_down(void **state)
{
    (void)state;
    clear();
    return rmdir(root);
}

/* Bytes of mapped files that are in memory. */
static long resident_files(void)
{
    char line[128];
    long kib = -1;
    FILE *f = fopen("/proc/self/status", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        if (!strncmp(line, "RssFile:", 8))
            kib = strtol(line + 8, NULL, 10);
    fclose(f);
    return kib * 1024;
}

static void read_pages_are_given_back(void **state)
{
    (void)state;
    enum { LEN = 32 << 20, PART = LEN / 2 + 5 };
    struct file_map map;
    char *path = mem_printf("%s/large", root), *data = mem_alloc(LEN, 1);
    unsigned sum = 0;
    for (int i = 0; i < LEN; i++)
        data[i] = (char)(i * 7);
    assert_int_equal(file_write_all(path, data, LEN, NULL), 0);
    assert_int_equal(file_map_open(&map, path, NULL), 0);
    for (int i = 0; i < LEN; i += 512)
        sum += map.data[i + 1];
    long before = resident_files();
    file_map_release(map.data + 3, PART);
    long after = resident_files();
    if (labs(before - after - PART) > 4 << 20) /* pages may be large */
        fail_msg("%ld bytes before, %ld after", before, after);
    assert_memory_equal(map.data, data, LEN); /* from the file again */
    assert_true(sum > 0);
    file_map_close(&map);
    unlink(path);
    free(path);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_left_is_the_least_of_all_limits),
        cmocka_unit_test(a_limit_counts_without_meminfo),
        cmocka_unit_test(the_first_version_of_groups_counts),
        cmocka_unit_test(the_address_space_has_a_limit),
        cmocka_unit_test(only_the_system_refuses_memory),
        cmocka_unit_test(a_refused_allocation_leaves_no_half),
        cmocka_unit_test(a_plan_knows_of_attention_and_saving),
        cmocka_unit_test(a_reset_notices_another_file),
        cmocka_unit_test(read_pages_are_given_back),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
