/* SPDX-License-Identifier: MIT
 *
 * demo-generate: the demonstration's data, made from a seed.
 *
 *     demo-generate pool|misleading|two|problems|validation|test|pretrain N SEED > out.jsonl
 *
 * `pool` is an instruction pool of thirteen families, with what real pools have. Arithmetic
 * word problems are what the target is made of (6 in 100); a few of them stand there over and
 * over (4 in 100). More than both together (14 in 100) look the same, but their answers are
 * right in form and empty ("Tom has 0 + 0 = 0 apples."): likeness and gain take them, and a
 * subset that is half of them does harm. Notes (6 in 100) are the target's working asked for
 * in another form, which likeness does not see. Two families are noise: right-looking questions
 * with another family's answer, and gibberish. The rest teach other, learnable things. Each
 * record carries its family in the field "family", which no program reads; it is there to look
 * at. `misleading` is a pool in which what looks best is worst. `problems` (of the pool's
 * kind), `validation` and `test` are word problems only. `two` is a pool for a target of two
 * kinds, word problems and questions of order, which are no more like each other than others
 * are; two-problems, two-validation and two-test are half of each. `pretrain` is what the small
 * model was made from: every family but the target's and the noise, and counting sentences that
 * hold the numbers' sums without the target's form.
 *
 * No word problem is in two of them: a problem belongs to the set that its hash says
 * (remainder modulo 4: 0 and 1 pool, 2 validation, 3 test).
 */
#include "base/mem.h"
#include "base/opt.h"
#include "base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

enum { N_COPIED = 4 }; /* problems that the pool holds many times */

#define N_OF(a) ((int)(sizeof(a) / sizeof *(a)))

static const char *const names[] = {"Tom", "Anna", "Ben", "Mia",  "Sam",  "Lily",
                                    "Max", "Eva",  "Leo", "Nora", "Paul", "Rosa"};
static const char *const things[] = {"apples", "books", "coins", "pens",  "cards", "eggs",
                                     "shells", "cups",  "balls", "seeds", "rings", "hats"};
static const char *const facts[][2] = {
    {"grass", "green"},    {"snow", "white"},      {"coal", "black"}, {"the sky", "blue"},
    {"a lemon", "yellow"}, {"blood", "red"},       {"milk", "white"}, {"a carrot", "orange"},
    {"a frog", "green"},   {"chocolate", "brown"}, {"a rose", "red"}, {"the sea", "blue"}};
static const char *const opposites[][2] = {
    {"hot", "cold"},   {"big", "small"},  {"fast", "slow"},  {"old", "young"},
    {"dark", "light"}, {"hard", "soft"},  {"long", "short"}, {"rich", "poor"},
    {"wet", "dry"},    {"early", "late"}, {"loud", "quiet"}, {"full", "empty"}};
static const char *const words[] = {"river",  "stone",  "cloud",  "table",  "garden", "window",
                                    "candle", "forest", "summer", "winter", "paper",  "silver",
                                    "bridge", "market", "letter", "music",  "ocean",  "mirror",
                                    "pocket", "ladder", "button", "basket", "hammer", "ribbon"};
static const char *const groups[][6] = {{"animals", "cat", "dog", "cow", "horse", "sheep"},
                                        {"fruits", "apple", "pear", "plum", "cherry", "grape"},
                                        {"tools", "hammer", "saw", "file", "drill", "axe"},
                                        {"colours", "red", "blue", "green", "white", "black"}};

struct text {
    char question[256], answer[256];
};

static int below(struct rng *r, int n)
{
    return (int)rng_below(r, (uint64_t)n);
}

static const char *one_of(struct rng *r, const char *const *list, int n)
{
    return list[below(r, n)];
}

/* ---- the target's families: word problems ---- */

static void make_gain(struct rng *r, struct text *t)
{
    const char *who = one_of(r, names, N_OF(names)), *what = one_of(r, things, N_OF(things));
    int a = 2 + below(r, 18), b = 2 + below(r, 18);
    static const char *const verbs[] = {"buys", "finds", "gets"};
    snprintf(t->question, sizeof t->question,
             "%s has %d %s. %s %s %d more. How many %s does %s have?", who, a, what, who,
             one_of(r, verbs, 3), b, what, who);
    snprintf(t->answer, sizeof t->answer, "%s has %d + %d = %d %s.\n#### %d", who, a, b, a + b,
             what, a + b);
}

static void make_loss(struct rng *r, struct text *t)
{
    const char *who = one_of(r, names, N_OF(names)), *what = one_of(r, things, N_OF(things));
    int b = 2 + below(r, 12), a = b + 1 + below(r, 16);
    static const char *const verbs[] = {"loses", "sells", "gives away"};
    snprintf(t->question, sizeof t->question, "%s has %d %s. %s %s %d. How many %s are left?",
             who, a, what, who, one_of(r, verbs, 3), b, what);
    snprintf(t->answer, sizeof t->answer, "%s has %d - %d = %d %s.\n#### %d", who, a, b, a - b,
             what, a - b);
}

/* ---- other families ---- */

static int pick_words(struct rng *r, const char **out, int n)
{
    for (int i = 0; i < n; i++)
        out[i] = one_of(r, words, N_OF(words));
    return n;
}

static void join(char *dst, size_t cap, const char *const *w, int n, const char *sep)
{
    dst[0] = '\0';
    for (int i = 0; i < n; i++) {
        size_t len = strlen(dst);
        snprintf(dst + len, cap - len, "%s%s", i ? sep : "", w[i]);
    }
}

static void make_copy(struct rng *r, struct text *t)
{
    const char *w[6];
    char s[200];
    join(s, sizeof s, w, pick_words(r, w, 3 + below(r, 3)), " ");
    snprintf(t->question, sizeof t->question, "Repeat these words: %s", s);
    snprintf(t->answer, sizeof t->answer, "%s", s);
}

static void make_reverse(struct rng *r, struct text *t)
{
    const char *w[6], *back[6];
    char s[200];
    int n = pick_words(r, w, 3 + below(r, 3));
    for (int i = 0; i < n; i++)
        back[i] = w[n - 1 - i];
    join(s, sizeof s, w, n, " ");
    snprintf(t->question, sizeof t->question, "Say these words backwards: %s", s);
    join(t->answer, sizeof t->answer, back, n, " ");
}

static void make_colour(struct rng *r, struct text *t)
{
    const char *const *f = facts[below(r, N_OF(facts))];
    snprintf(t->question, sizeof t->question, "%s colour is %s?",
             below(r, 2) ? "What" : "Tell me: what", f[0]);
    snprintf(t->answer, sizeof t->answer, "The colour of %s is %s.", f[0], f[1]);
}

static void make_opposite(struct rng *r, struct text *t)
{
    int i = below(r, N_OF(opposites)), side = below(r, 2);
    snprintf(t->question, sizeof t->question, "What is the opposite of %s?",
             opposites[i][side]);
    snprintf(t->answer, sizeof t->answer, "The opposite of %s is %s.", opposites[i][side],
             opposites[i][!side]);
}

static void make_list(struct rng *r, struct text *t)
{
    const char *const *g = groups[below(r, N_OF(groups))];
    int64_t order[5] = {1, 2, 3, 4, 5};
    rng_shuffle(r, order, 5);
    snprintf(t->question, sizeof t->question, "List three %s.", g[0]);
    snprintf(t->answer, sizeof t->answer, "%s, %s and %s", g[order[0]], g[order[1]],
             g[order[2]]);
}

static void make_longest(struct rng *r, struct text *t)
{
    const char *w[4];
    char s[200];
    int n = pick_words(r, w, 3), best = 0;
    for (int i = 1; i < n; i++)
        if (strlen(w[i]) > strlen(w[best]))
            best = i;
    join(s, sizeof s, w, n, ", ");
    snprintf(t->question, sizeof t->question, "Which word is the longest: %s?", s);
    snprintf(t->answer, sizeof t->answer, "The longest word is %s.", w[best]);
}

/* The second kind of a target of two. */
static void make_order(struct rng *r, struct text *t)
{
    const char *w[3], *first;
    do
        pick_words(r, w, 3);
    while (w[0] == w[1] || w[1] == w[2] || w[0] == w[2]);
    snprintf(t->question, sizeof t->question, "Which comes first: %s, %s or %s?", w[0], w[1],
             w[2]);
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 2; k++)
            if (strcmp(w[k], w[k + 1]) > 0) {
                first = w[k];
                w[k] = w[k + 1];
                w[k + 1] = first;
            }
    snprintf(t->answer, sizeof t->answer, "Order: %s < %s < %s\n= %s", w[0], w[1], w[2], w[0]);
}

typedef void (*maker)(struct rng *, struct text *);
static const maker other[] = {make_copy,     make_reverse, make_colour,
                              make_opposite, make_list,    make_longest};
static const char *const other_names[] = {"copy",     "reverse", "colour",
                                          "opposite", "list",    "longest"};

/* The target's second teacher: the same working, asked for in a form that is nothing like its.
 */
static void make_note(struct rng *r, struct text *t)
{
    const char *w[4];
    char s[64];
    do
        (below(r, 2) ? make_gain : make_loss)(r, t);
    while (strlen(t->answer) > 80);
    join(s, sizeof s, w, pick_words(r, w, 4), " ");
    int a, b;
    char who[16], what[16], sign;
    sscanf(t->answer, "%15s has %d %c %d = %*d %15[a-z]", who, &a, &sign, &b, what);
    snprintf(t->question, sizeof t->question, "%s | %s | %s %d | %s %d | %s", s, who, what, a,
             sign == '+' ? "in" : "out", b, s);
}

/* ---- noise ---- */

static void make_swapped(struct rng *r, struct text *t)
{
    struct text u;
    (below(r, 2) ? make_gain : make_loss)(r, t);
    other[below(r, N_OF(other))](r, &u);
    snprintf(t->answer, sizeof t->answer, "%s", u.answer);
}

static void make_gibberish(struct rng *r, struct text *t)
{
    struct text u;
    other[below(r, N_OF(other))](r, &u);
    snprintf(t->question, sizeof t->question, "%s", u.question);
    int n = 10 + below(r, 20);
    for (int i = 0; i < n; i++)
        t->answer[i] = below(r, 6) ? (char)('a' + below(r, 26)) : ' ';
    t->answer[0] = 'z';
    t->answer[n - 1] = 'q';
    t->answer[n] = '\0';
}

/* Sums and differences in another form than the target's, for pretraining. */
static void make_count(struct rng *r, struct text *t)
{
    const char *what = one_of(r, things, N_OF(things)), *who = one_of(r, names, N_OF(names));
    int a = 1 + below(r, 20), b = 1 + below(r, 20);
    if (below(r, 2)) {
        snprintf(t->question, sizeof t->question, "Add %d and %d.", a, b);
        snprintf(t->answer, sizeof t->answer, "%d and %d are %d", a, b, a + b);
    } else {
        snprintf(t->question, sizeof t->question, "What does %s see?", who);
        snprintf(t->answer, sizeof t->answer, "%s sees %d %s and %d %s.", who, a, what, b,
                 one_of(r, things, N_OF(things)));
    }
}

/* ---- output ---- */

static void put_string(const char *s)
{
    putchar('"');
    for (; *s; s++) {
        if (*s == '\n')
            fputs("\\n", stdout);
        else if (*s == '"' || *s == '\\')
            printf("\\%c", *s);
        else
            putchar(*s);
    }
    putchar('"');
}

static void put_record(const struct text *t, const char *family)
{
    fputs("{\"instruction\": ", stdout);
    put_string(t->question);
    fputs(", \"input\": \"\", \"output\": ", stdout);
    put_string(t->answer);
    printf(", \"family\": \"%s\"}\n", family);
}

static bool is_ours(const struct text *t, unsigned low, unsigned high)
{
    unsigned part = (unsigned)(XXH64(t->question, strlen(t->question), 0) & 3);
    return part >= low && part <= high;
}

static const char *make_problem(struct rng *r, struct text *t, unsigned low, unsigned high)
{
    bool is_gain;
    do {
        is_gain = below(r, 2);
        (is_gain ? make_gain : make_loss)(r, t);
    } while (!is_ours(t, low, high));
    return is_gain ? "gain" : "loss";
}

/* Of two kinds, half of each. */
static const char *make_either(struct rng *r, struct text *t, unsigned low, unsigned high)
{
    if (below(r, 2))
        return make_problem(r, t, low, high);
    do
        make_order(r, t);
    while (!is_ours(t, low, high));
    return "order";
}

/* A problem whose answer has the right form and nothing in it, as of someone who is paid by the
 * record: likeness and gain take it for one of the best, and training on it does harm.
 * n_last: how often the last line stands there. */
static const char *make_empty(struct rng *r, struct text *t, int n_last)
{
    char who[16], what[16];
    make_problem(r, t, 0, 1);
    sscanf(t->answer, "%15s has %*d %*c %*d = %*d %15[a-z]", who, what);
    snprintf(t->answer, sizeof t->answer, "%s has 0 + 0 = 0 %s.", who, what);
    while (n_last--)
        strcat(t->answer, "\n#### 0");
    return "empty";
}

/* One of a few problems, over and over. */
static const char *make_copied(struct rng *r, struct text *t)
{
    struct rng few;
    rng_init(&few, 7, (uint64_t)below(r, N_COPIED));
    make_problem(&few, t, 0, 1);
    return "copied";
}

static const char *make_pool(struct rng *r, struct text *t)
{
    int x = below(r, 100);
    if (x < 6)
        return make_problem(r, t, 0, 1);
    if (x < 20)
        return make_empty(r, t, 2);
    if (x < 24)
        return make_copied(r, t);
    if (x < 30) {
        make_note(r, t);
        return "note";
    }
    if (x < 37) {
        make_swapped(r, t);
        return "swapped";
    }
    if (x < 42) {
        make_gibberish(r, t);
        return "gibberish";
    }
    int i = below(r, N_OF(other));
    other[i](r, t);
    return other_names[i];
}

/* A pool in which what looks best is worst. */
static const char *make_misleading(struct rng *r, struct text *t)
{
    int x = below(r, 100);
    if (x < 10)
        return make_problem(r, t, 0, 1);
    if (x < 25)
        return make_empty(r, t, 3);
    int i = below(r, N_OF(other));
    other[i](r, t);
    return other_names[i];
}

/* A pool for a target of two kinds. */
static const char *make_two(struct rng *r, struct text *t)
{
    int x = below(r, 100);
    if (x < 16)
        return make_either(r, t, 0, 1);
    if (x < 23) {
        make_swapped(r, t);
        return "swapped";
    }
    if (x < 28) {
        make_gibberish(r, t);
        return "gibberish";
    }
    int i = below(r, N_OF(other));
    other[i](r, t);
    return other_names[i];
}

static const char *make_pretrain(struct rng *r, struct text *t)
{
    int i = below(r, N_OF(other) + 2);
    if (i >= N_OF(other)) {
        make_count(r, t);
        return "count";
    }
    other[i](r, t);
    return other_names[i];
}

int main(int argc, char **argv)
{
    struct err e = ERR_INIT;
    int64_t n, seed;
    if (argc != 4 || opt_parse_int(argv[2], 1, 10000000, &n, &e) < 0 ||
        opt_parse_int(argv[3], 0, 1 << 30, &seed, &e) < 0) {
        fprintf(stderr,
                "usage: demo-generate pool|misleading|problems|validation|test|pretrain|two|"
                "two-problems|two-validation|two-test N SEED %s\n",
                e.msg);
        return 2;
    }
    struct rng r;
    rng_init(&r, (uint64_t)seed, 0);
    for (int64_t i = 0; i < n; i++) {
        struct text t;
        const char *family;
        if (!strcmp(argv[1], "pool"))
            family = make_pool(&r, &t);
        else if (!strcmp(argv[1], "pretrain"))
            family = make_pretrain(&r, &t);
        else if (!strcmp(argv[1], "problems"))
            family = make_problem(&r, &t, 0, 1);
        else if (!strcmp(argv[1], "misleading"))
            family = make_misleading(&r, &t);
        else if (!strcmp(argv[1], "validation"))
            family = make_problem(&r, &t, 2, 2);
        else if (!strcmp(argv[1], "test"))
            family = make_problem(&r, &t, 3, 3);
        else if (!strcmp(argv[1], "two"))
            family = make_two(&r, &t);
        else if (!strcmp(argv[1], "two-problems"))
            family = make_either(&r, &t, 0, 1);
        else if (!strcmp(argv[1], "two-validation"))
            family = make_either(&r, &t, 2, 2);
        else if (!strcmp(argv[1], "two-test"))
            family = make_either(&r, &t, 3, 3);
        else
            return 2;
        put_record(&t, family);
    }
    return fclose(stdout) ? 1 : 0;
}
