/* SPDX-License-Identifier: MIT
 * driver: the targets without libFuzzer, so that any compiler's build runs them.
 *
 *     fuzz TESTS-FOLDER N [TARGET]    every seed, then N seeded mutations of seeds, each target
 *     fuzz TESTS-FOLDER FILE TARGET   one input
 *     fuzz TESTS-FOLDER /K [TARGET]   every seed cut at every K-th byte, and 1000/K flipped
 * bits of it: what must be seen (fuzz.h) is seen
 *
 * An input that crashes the program stays as "fuzz-TARGET.input"; one that takes more than a
 * second, or damage that must be seen and is not, is a finding, too, and stays as well. Prints
 * target, seeds, executions, how many of them were read without an error, and seconds. */
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/text.h"
#include "fuzz.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_SEEDS = 256, MAX_LEN = 1 << 16 };

struct input {
    uint8_t *data;
    size_t len;
};
static struct input seed[MAX_SEEDS];
static int n_seeds, n_findings;
static int64_t n_runs, n_read;

static void add_seed(const char *path)
{
    struct err e = ERR_INIT;
    char *data;
    size_t len;
    if (n_seeds == MAX_SEEDS || file_read_all(path, &data, &len, &e) < 0) {
        fprintf(stderr, "%s: %s\n", path, n_seeds == MAX_SEEDS ? "too many seeds" : e.msg);
        exit(1);
    }
    seed[n_seeds++] = (struct input){(uint8_t *)data, len};
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void load_seeds(const struct target *t, const char *tests)
{
    struct dirent **found;
    char *dir = mem_printf("%s/fuzz/corpus/%s", tests, t->name);
    int n = scandir(dir, &found, NULL, by_name);
    for (int i = 0; i < n; i++) {
        char *path = mem_printf("%s/%s", dir, found[i]->d_name);
        if (found[i]->d_name[0] != '.')
            add_seed(path);
        free(path);
        free(found[i]);
    }
    if (n >= 0)
        free(found);
    for (int i = 0; t->seeds[i]; i++) {
        char *path = mem_printf("%s/%s", tests, t->seeds[i]);
        add_seed(path);
        free(path);
    }
    free(dir);
}

static void free_seeds(void)
{
    while (n_seeds)
        free(seed[--n_seeds].data);
}

static void keep(const char *name, const char *why)
{
    char *kept = mem_printf("%d-%s", n_findings++, name);
    rename(name, kept);
    fprintf(stderr, "%s: %s\n", kept, why);
    free(kept);
}

/* must_fail: this is damage that the target has to see. */
static void run(const struct target *t, const uint8_t *data, size_t len, bool must_fail)
{
    char name[64];
    snprintf(name, sizeof name, "fuzz-%s.input", t->name);
    FILE *f = fopen(name, "wb"); /* left behind by a crash */
    if (!f || fwrite(data, 1, len, f) != len || fclose(f))
        abort();
    double start = fuzz_seconds();
    bool is_read = t->run(data, len);
    n_runs++;
    n_read += is_read;
    if (fuzz_seconds() - start > FUZZ_SECONDS)
        keep(name, "takes more than a second");
    else if (is_read && must_fail)
        keep(name, "is damaged, and was read");
    unlink(name);
}

/* ---- mutations ---- */

static size_t below(struct rng *r, size_t n)
{
    return n ? (size_t)(rng_u64(r) % n) : 0;
}

static size_t insert(uint8_t *x, size_t len, size_t at, const void *p, size_t n)
{
    if (len + n > MAX_LEN)
        return len;
    memmove(x + at + n, x + at, len - at);
    memcpy(x + at, p, n);
    return len + n;
}

static size_t mutate_once(uint8_t *x, size_t len, struct rng *r)
{
    static const char *const words[] = {"-1",         "0",    "1e308", "18446744073709551615",
                                        "2147483648", "null", "[",     "{",
                                        "\"",         "}",    "]",     ",",
                                        "\\u0000",    "\\",   "NaN",   "\r\n",
                                        "true",       "1e-9", "\xff",  "\xc3",
                                        "\xf0\x9f",   "{{",   "{%if",  "<s>"};
    size_t at = below(r, len + 1), n = below(r, 9), to = below(r, len + 1);
    const struct input *other = &seed[below(r, (size_t)n_seeds)];
    switch (below(r, 8)) {
    case 0:
        if (at < len)
            x[at] ^= (uint8_t)(1u << below(r, 8));
        return len;
    case 1:
        if (at < len)
            x[at] = (uint8_t)rng_u64(r);
        return len;
    case 2:
        n = at + n > len ? len - at : n;
        memmove(x + at, x + at + n, len - at - n);
        return len - n;
    case 3: {
        const char *w = words[below(r, sizeof words / sizeof *words)];
        return insert(x, len, at, w, strlen(w));
    }
    case 4: {
        uint8_t chunk[64];
        size_t k = to < len ? len - to : 0;
        k = k > sizeof chunk ? sizeof chunk : k;
        memcpy(chunk, x + to, k);
        return insert(x, len, at, chunk, k);
    }
    case 5:
        for (size_t i = 0; i < n && at + i < len; i++)
            x[at + i] = below(r, 2) ? 0xFF : 0;
        return len;
    case 6: {
        size_t from = below(r, other->len), k = below(r, 64);
        k = from + k > other->len ? other->len - from : k;
        return insert(x, len, at, other->data + from, k);
    }
    default:
        return at; /* cut */
    }
}

static void run_mutations(const struct target *t, int64_t n)
{
    struct rng r;
    uint8_t *x = mem_alloc(MAX_LEN, 1);
    rng_init(&r, 1, (uint64_t)strlen(t->name));
    for (int64_t i = 0; i < n; i++) {
        const struct input *s = &seed[below(&r, (size_t)n_seeds)];
        size_t len = s->len < MAX_LEN ? s->len : MAX_LEN;
        memcpy(x, s->data, len);
        for (size_t k = 1 + below(&r, 6); k; k--)
            len = mutate_once(x, len, &r);
        run(t, x, len, false);
    }
    free(x);
}

/* Is a cut at `len` to be seen? */
static bool is_loss(const struct target *t, const struct input *s, size_t len)
{
    bool is_padded = t->sees & FUZZ_IS_PADDED;
    while (len < s->len &&
           (is_padded ? !s->data[len] : s->data[len] == ' ' || s->data[len] == '\n'))
        len++;
    return t->sees & FUZZ_SEES_CUTS && len < s->len;
}

static void run_damage(const struct target *t, int64_t every)
{
    struct rng r;
    rng_init(&r, 1, 2);
    for (int i = 0; i < n_seeds; i++) {
        const struct input *s = &seed[i];
        for (size_t len = 0; len < s->len; len += (size_t)every)
            run(t, s->data, len, is_loss(t, s, len));
        for (int64_t k = 0; k < 1000 / every && s->len; k++) {
            size_t at = below(&r, s->len);
            uint8_t bit = (uint8_t)(1u << below(&r, 8));
            s->data[at] ^= bit;
            run(t, s->data, s->len, t->sees & FUZZ_SEES_FLIPS);
            s->data[at] ^= bit;
        }
    }
}

static void run_seeds(const struct target *t)
{
    for (int i = 0; i < n_seeds; i++)
        run(t, seed[i].data, seed[i].len, false);
}

static void run_target(const struct target *t, const char *tests, const char *what)
{
    char *end;
    double start = text_clock();
    int64_t n = strtoll(what + (*what == '/'), &end, 10);
    bool is_file = end == what || *end;
    n_runs = n_read = 0;
    if (is_file)
        add_seed(what);
    else
        load_seeds(t, tests);
    int n_loaded = n_seeds;
    if (*what == '/' && !is_file && n > 0) {
        run_damage(t, n);
    } else {
        run_seeds(t);
        if (!is_file && n_seeds)
            run_mutations(t, n);
    }
    printf("%-12s %3d seeds %9" PRId64 " executions, %9" PRId64 " read %7.1f s\n", t->name,
           n_loaded, n_runs, n_read, text_clock() - start);
    fflush(stdout);
    free_seeds();
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return fprintf(stderr, "usage: fuzz TESTS-FOLDER N|FILE|/K [TARGET]\n"), 2;
    fuzz_set_up(argv[1]);
    for (const struct target *t = targets; t->name; t++)
        if (argc < 4 || !strcmp(argv[3], t->name))
            run_target(t, argv[1], argv[2]);
    fuzz_tear_down();
    return n_findings > 0;
}
