/* SPDX-License-Identifier: MIT
 * The tables of every kind of file against raise-stream(5), and against files with one thing
 * wrong. A kind that gets a table is named in `kinds`, and tested. */
#include "features/features.h"
#include "forge.h"
#include "learn/checkpoint.h"
#include "learn/learners.h"
#include "learn/traj.h"
#include "learn/untrained.h"
#include "plan/plan.h"
#include "pool.h"

#include <stdio.h>
#include <unistd.h>

enum { MAX_TABLES = 5 };
static struct kind {
    const char *section; /* of the page */
    const struct st_table *tables[MAX_TABLES];
} kinds[] = {
    {"features",
     {&features_head_table, &features_row_table, &features_target_table,
      &features_cluster_table}},
    {"trajectory", {&traj_table}},
    {"checkpoint", {&checkpoint_table}},
    {"untrained", {&untrained_table}},
    {"plan", {&plan_table}},
    {"policy", {&policy_head_table}}, /* and the learners', see set_up */
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

static char path[] = "/tmp/raise-kinds-XXXXXX";

/* ---- the page ---- */

static char *page; /* raise-stream.5 */

static int set_up(void **state)
{
    for (int i = 0; learners()[i]; i++)
        kinds[N_KINDS - 1].tables[i + 1] = learners()[i]->table;
    (void)state;
    const char *root = getenv("RAISE_TESTS");
    char *name = mem_printf("%s/../man/raise-stream.5", root ? root : "tests");
    struct err e = ERR_INIT;
    size_t len;
    char *data;
    int rc = file_read_all(name, &data, &len, &e);
    free(name);
    if (rc < 0) {
        print_error("%s\n", e.msg);
        return -1;
    }
    page = mem_strndup(data, len);
    free(data);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(page);
    return 0;
}

/* From the heading to the next; owned by the caller. */
static char *section(const char *macro, const char *title)
{
    char *head = mem_printf("\n%s %s\n", macro, title), *from = strstr(page, head);
    if (!from)
        fail_msg("raise-stream(5) has no section %s", title);
    from += strlen(head);
    const char *ss = strstr(from, "\n.Ss "), *sh = strstr(from, "\n.Sh ");
    const char *end = ss && (!sh || ss < sh) ? ss : sh;
    free(head);
    return end ? mem_strndup(from, (size_t)(end - from)) : mem_strdup(from);
}

/* Is `word` in the text, not as a part of a longer one? */
static bool has_word(const char *text, const char *word)
{
    static const char more[] = "abcdefghijklmnopqrstuvwxyz_0123456789.";
    size_t n = strlen(word);
    for (const char *p = text; (p = strstr(p, word)); p += n)
        if ((p == text || !strchr(more, p[-1])) &&
            (!p[n] || !strchr(more, p[n]) ||
             (p[n] == '.' && (!p[n + 1] || !strchr(more, p[n + 1])))))
            return true;
    return false;
}

/* Calls `each` with name and "F32 [N, D]" of every row of the section's list. */
static void each_row(const char *text, const struct kind *k,
                     void (*each)(const struct kind *k, const char *name, const char *type))
{
    for (const char *p = strstr(text, ".It "); p; p = strstr(p, "\n.It ")) {
        char names[64], type[64];
        p += *p == '\n' ? 5 : 4;
        if (!strncmp(p, "Sy ", 3))
            continue;
        assert_int_equal(sscanf(p, "%63[^\n] ", names), 1);
        char *ta = strstr(names, " Ta ");
        assert_non_null(ta);
        *ta = '\0';
        assert_int_equal(sscanf(p + strlen(names) + 4, "%63[^\n]", type), 1);
        ta = strstr(type, " Ta ");
        assert_non_null(ta);
        *ta = '\0';
        for (char *name = strtok(names, ", "); name; name = strtok(NULL, ", "))
            each(k, name, type);
    }
}

static const struct st_column *find_column(const struct kind *k, const char *name)
{
    for (int i = 0; i < MAX_TABLES && k->tables[i]; i++)
        for (const struct st_column *c = k->tables[i]->columns; c && c->name; c++)
            if (!strcmp(c->name, name))
                return c;
    return NULL;
}

static int n_rows_of_page;

static void row_has_a_column(const struct kind *k, const char *name, const char *type)
{
    const struct st_column *c = find_column(k, name);
    if (!c)
        fail_msg("%s: raise-stream(5) has %s, no table does", k->section, name);
    char *want = mem_printf("%s %s", st_dtype_name(c->dtype), c->shape);
    if (strcmp(want, type) != 0)
        fail_msg("%s: %s is %s, raise-stream(5) says %s", k->section, name, want, type);
    free(want);
    n_rows_of_page++;
}

static void page_and_tables_agree_on_tensors(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_KINDS; i++) {
        char *text = section(".Ss", kinds[i].section);
        int n = 0;
        n_rows_of_page = 0;
        each_row(text, &kinds[i], row_has_a_column);
        for (int t = 0; t < MAX_TABLES && kinds[i].tables[t]; t++)
            for (const struct st_column *c = kinds[i].tables[t]->columns; c && c->name;
                 c++, n++)
                if (!has_word(text, c->name))
                    fail_msg("%s: raise-stream(5) lacks %s", kinds[i].section, c->name);
        assert_true(n > 0);
        assert_int_equal(n_rows_of_page, n);
        free(text);
    }
}

static bool is_key(const struct kind *k, const char *name)
{
    for (int i = 0; i < MAX_TABLES && k->tables[i]; i++)
        for (const struct st_key *key = k->tables[i]->keys; key && key->name; key++)
            if (!strcmp(key->name, name))
                return true;
    return false;
}

static void page_and_tables_agree_on_metadata(void **state)
{
    (void)state;
    char *every = section(".Sh", "METADATA");
    for (size_t i = 0; i < N_KINDS; i++) {
        char *text = section(".Ss", kinds[i].section), name[64];
        for (int t = 0; t < MAX_TABLES && kinds[i].tables[t]; t++)
            for (const struct st_key *k = kinds[i].tables[t]->keys; k && k->name; k++)
                if (!has_word(text, k->name) && !has_word(every, k->name))
                    fail_msg("%s: raise-stream(5) lacks %s", kinds[i].section, k->name);
        for (const char *p = text; (p = strstr(p, "raise.")); p += 6)
            if (sscanf(p, "%63[a-z_.0-9]", name) == 1 && name[6]) {
                if (name[strlen(name) - 1] == '.')
                    name[strlen(name) - 1] = '\0';
                if (!is_key(&kinds[i], name))
                    fail_msg("%s: raise-stream(5) has %s, no table does", kinds[i].section,
                             name);
            }
        free(text);
    }
    free(every);
}

/* ---- files with one thing wrong ---- */

static int read_features(const char *name, struct err *e)
{
    struct features f;
    int rc = features_read(&f, name, e);
    if (!rc)
        features_free(&f);
    return rc;
}

static int read_traj(const char *name, struct err *e)
{
    struct traj t;
    int rc = traj_read(&t, name, e);
    if (!rc)
        traj_free(&t);
    return rc;
}

static int read_untrained(const char *name, struct err *e)
{
    struct untrained u;
    int rc = untrained_read(&u, name, e);
    untrained_free(&u);
    return rc;
}

static int read_plan(const char *name, struct err *e)
{
    struct plan p;
    int rc = plan_read(&p, name, e);
    if (!rc)
        plan_free(&p);
    return rc;
}

static int read_policy(const char *name, struct err *e)
{
    struct policy *p = policy_read(name, learners(), e);
    policy_free(p);
    return p ? 0 : e->code;
}

static void features_are_held_to_their_tables(void **state)
{
    (void)state;
    enum { N = 3, D = 2, C = 2 };
    const int32_t len[N] = {1, 2, 3}, class_of[N] = {0, 1, 0};
    const float logp[N] = {-1, -2, -3}, x[N * D] = {0}, centroids[C * D] = {0};
    const uint64_t hash[N] = {7, 8, 9};
    const int64_t source[N] = {0, 1, 5};
    char n_turns[] = "n_turns", chars_y[] = "chars_y", *names[] = {n_turns, chars_y, NULL};
    char quality[] = "quality", complexity[] = "complexity";
    char *marks[] = {quality, complexity, NULL};
    struct features f = {.n = N,
                         .dim = D,
                         .n_classes = C,
                         .len_x = len,
                         .len_y = len,
                         .logp_yx = logp,
                         .logp_y = logp,
                         .embedding = x,
                         .hash = hash,
                         .source = source,
                         .gain_sum = logp,
                         .influence = logp,
                         .record = x,
                         .n_record = 2,
                         .record_names = names,
                         .given = x,
                         .n_given = 2,
                         .given_names = marks,
                         .class_of = class_of,
                         .centroids = centroids,
                         .consistency = logp,
                         .near = logp,
                         .n_targets = 2,
                         .target_embedding = x,
                         .dataset = 1,
                         .model = 2,
                         .adapter = 3,
                         .target = 4,
                         .probe = 5,
                         .warmup = 6,
                         .target_loss = {2, 1},
                         .template = "alpaca",
                         .reduce = "pool",
                         .n_total = 6,
                         .n_covered = 6};
    struct st_msg *m = st_msg_new();
    for (int i = 0; kinds[0].tables[i]; i++)
        st_table_put(kinds[0].tables[i], &f, m);
    for (int i = 0; kinds[0].tables[i]; i++)
        forge_table(kinds[0].tables[i], m, read_features, path);
    forge_truncated(m, read_features, path);
    st_msg_free(m);
}

static void trajectories_are_held_to_their_table(void **state)
{
    (void)state;
    struct traj t;
    traj_init(&t, 3, 2, 6);
    t.n_picks = 6;
    t.batch = 2;
    for (int i = 0; i <= 6; i++)
        t.list_offset[i] = i;
    t.pick_loss = mem_zalloc(6, sizeof *t.pick_loss);
    t.test_loss_before = t.test_loss = 1.5;
    t.features = t.policy = t.dataset = t.validation = t.model = 0xd1;
    t.encoding = t.adapter = 0xd1;
    struct st_msg *m = st_msg_new();
    st_table_put(&traj_table, &t, m);
    forge_table(&traj_table, m, read_traj, path);
    forge_truncated(m, read_traj, path);
    st_msg_free(m);
    traj_free(&t);
}

static void untrained_losses_are_held_to_their_table(void **state)
{
    (void)state;
    uint64_t key[] = {3, 5, 9};
    double loss[] = {1, 2, 3};
    struct untrained u = {3, key, loss};
    struct st_msg *m = st_msg_new();
    st_table_put(&untrained_table, &u, m);
    forge_table(&untrained_table, m, read_untrained, path);
    forge_truncated(m, read_untrained, path);
    key[1] = 9; /* no key twice */
    struct st_msg *twice = st_msg_copy(m);
    forge_refused(twice, "key: entry 2 is out of order", "twice", read_untrained, path);
    st_msg_free(m);
}

static void plans_are_held_to_their_table(void **state)
{
    (void)state;
    struct plan p;
    plan_init(&p, 2, 3);
    p.step_offset[1] = 2;
    p.step_offset[2] = 3;
    p.features = p.dataset = 0xd1;
    struct st_msg *m = st_msg_new();
    st_table_put(&plan_table, &p, m);
    forge_table(&plan_table, m, read_plan, path);
    forge_truncated(m, read_plan, path);
    st_msg_free(m);
    plan_free(&p);
}

static void policies_are_held_to_their_tables(void **state)
{
    (void)state;
    struct pool pool;
    pool_make(&pool, 20, 3, 2, 1);
    for (int i = 0; learners()[i]; i++) {
        struct err e = ERR_INIT;
        const struct learner *l = learners()[i];
        const struct policy_options o = {.learner = l, .parts = PART_PAPER, .seed = 1};
        struct policy *p = policy_new(&pool.f, &o, &e);
        if (!p)
            fail_msg("%s", e.msg);
        if (!strcmp(l->name, "reward-model")) { /* what older files have */
            reward_model_of(p)->beta = mem_zalloc(6, sizeof(double));
            reward_model_of(p)->v = 1;
            reward_model_of(p)->n_tried = 3; /* what an update adds */
            reward_model_of(p)->tried = mem_zalloc(3, sizeof(int64_t));
            reward_model_of(p)->listed = mem_zalloc(3, sizeof(int32_t));
        }
        assert_int_equal(policy_write(p, path, 0, NULL, &e), 0);
        struct st_msg *m = st_read(path, "policy", &e);
        assert_non_null(m);
        forge_table(&policy_head_table, m, read_policy, path);
        forge_table(l->table, m, read_policy, path);
        forge_truncated(m, read_policy, path);
        st_msg_free(m);
        policy_free(p);
    }
    pool_free(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(page_and_tables_agree_on_tensors),
        cmocka_unit_test(page_and_tables_agree_on_metadata),
        cmocka_unit_test(features_are_held_to_their_tables),
        cmocka_unit_test(trajectories_are_held_to_their_table),
        cmocka_unit_test(untrained_losses_are_held_to_their_table),
        cmocka_unit_test(plans_are_held_to_their_table),
        cmocka_unit_test(policies_are_held_to_their_tables),
    };
    int fd = mkstemp(path);
    if (fd < 0)
        return 1;
    close(fd);
    int rc = cmocka_run_group_tests(tests, set_up, tear_down);
    unlink(path);
    return rc;
}
