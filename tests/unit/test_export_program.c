/* SPDX-License-Identifier: MIT
 * raise-export, run as a program on trajectories and plans that are made here. */
#include "base/file.h"
#include "base/mem.h"
#include "data/dataset.h"
#include "learn/traj.h"
#include "plan/plan.h"

#include <libgen.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/raise-test-XXXXXX";
static char program[4096];

static const char pool[] = "{\"instruction\":\"q0\",\"output\":\"a0\"}\n"
                           "{\"instruction\":\"q1\",\"output\":\"a1\",\"id\":7}\n"
                           "{\"instruction\":\"bad\"}\n"
                           "{\"instruction\":\"q3\",\"output\":\"a3\"}\n"
                           "{\"instruction\":\"q4\",\"output\":\"a4\"}\n";

static void write_text(const char *path, const char *text)
{
    struct err e = ERR_INIT;
    if (file_write_all(path, text, strlen(text), &e) < 0)
        fail_msg("%s", e.msg);
}

static void load(struct dataset *d)
{
    struct err e = ERR_INIT;
    struct data_options opt = {.on_error = DATA_SKIP};
    if (dataset_read(d, "pool.jsonl", &opt, &e) < 0)
        fail_msg("%s", e.msg);
}

/* Two steps of two classes: q3 | q0, then q1 q3 | none. */
static void make_trajectory(const char *path, double loss, const char *status, bool has_dataset)
{
    struct dataset d;
    struct traj t;
    struct err e = ERR_INIT;
    const int64_t rows[] = {2, 0, 1, 2}, offsets[] = {0, 1, 2, 4, 4};
    load(&d);
    traj_init(&t, 2, 2, 4);
    t.n_picks = 4;
    t.batch = 2;
    t.dataset = has_dataset ? d.hash : 0;
    for (int i = 0; i < 4; i++) {
        t.pick[i] = rows[i];
        t.pick_score[i] = 0.5F * (float)i;
        t.source[i] = d.records[rows[i]].source;
        t.record_hash[i] = d.records[rows[i]].hash;
    }
    memcpy(t.list_offset, offsets, sizeof offsets);
    t.perf[0] = -2;
    t.perf[1] = -1.75;
    t.perf[2] = -loss;
    snprintf(t.status, sizeof t.status, "%s", status);
    if (traj_write(&t, path, 0, NULL, &e) < 0)
        fail_msg("%s", e.msg);
    traj_free(&t);
    dataset_free(&d);
}

static void make_plan(const char *path)
{
    struct dataset d;
    struct plan p;
    struct err e = ERR_INIT;
    load(&d);
    plan_init(&p, 1, 2);
    p.step_offset[1] = 2;
    p.dataset = d.hash;
    snprintf(p.method, sizeof p.method, "random");
    for (int i = 0; i < 2; i++) {
        p.pick[i] = 3 - i;
        p.pick_score[i] = NAN;
        p.source[i] = d.records[3 - i].source;
        p.record_hash[i] = d.records[3 - i].hash;
    }
    if (plan_write(&p, path, 0, NULL, &e) < 0)
        fail_msg("%s", e.msg);
    plan_free(&p);
    dataset_free(&d);
}

static void make_features(const char *path)
{
    struct err e = ERR_INIT;
    struct st_msg *m = st_msg_new();
    st_msg_set_meta(m, "raise.kind", "features");
    st_msg_set_meta(m, "raise.version", ST_FORMAT_VERSION);
    st_msg_add(m, "len_x", ST_I32, 1, (int64_t[]){1}, &(int32_t){1});
    if (st_write(path, 0, m, &e) < 0)
        fail_msg("%s", e.msg);
    st_msg_free(m);
}

static int make_dir(void **state)
{
    (void)state;
    if (!mkdtemp(dir) || chdir(dir) != 0)
        return -1;
    write_text("pool.jsonl", pool);
    make_trajectory("t.st.zst", 1.5, "ok", true);
    make_trajectory("anon.st.zst", 1.5, "ok", false);
    make_trajectory("u.st.zst", 1.25, "ok", true);
    make_trajectory("bad.st.zst", 0.5, "step 2: loss is not finite", true);
    make_plan("p.st.zst");
    make_features("f.st.zst");
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command);
}

static char *slurp(const char *path)
{
    struct err e = ERR_INIT;
    char *text = NULL;
    size_t len;
    if (file_read_all(path, &text, &len, &e) < 0)
        fail_msg("%s", e.msg);
    return text;
}

/* Runs the program quietly; NULL: that stream is not looked at. */
static void expect(const char *args, int status, const char *out, const char *err)
{
    char *command = mem_printf("'%s' -q %s >out 2>err", program, args);
    int rc = system(command);
    char *got_out = slurp("out"), *got_err = slurp("err");
    assert_true(WIFEXITED(rc));
    if (WEXITSTATUS(rc) != status)
        fail_msg("%s: exit status %d: %s", args, WEXITSTATUS(rc), got_err);
    if (out)
        assert_string_equal(got_out, out);
    if (err)
        assert_string_equal(got_err, err);
    free(got_out);
    free(got_err);
    free(command);
}

#define Q0 "{\"instruction\": \"q0\", \"output\": \"a0\"}\n"
#define Q1 "{\"instruction\": \"q1\", \"output\": \"a1\", \"id\": 7}\n"
#define Q3 "{\"instruction\": \"q3\", \"output\": \"a3\"}\n"
#define Q4 "{\"instruction\": \"q4\", \"output\": \"a4\"}\n"

static void records_come_in_training_order(void **state)
{
    (void)state;
    expect("t.st.zst pool.jsonl", 0, Q3 Q0 Q1 Q3, "");
    expect("--unique t.st.zst pool.jsonl", 0, Q3 Q0 Q1, "");
    expect("p.st.zst pool.jsonl", 0, Q4 Q3, "");
    expect("- pool.jsonl <t.st.zst", 0, Q3 Q0 Q1 Q3, "");
    expect("- pool.jsonl <p.st.zst", 0, Q4 Q3, "");
    expect("p.st.zst - <pool.jsonl", 0, Q4 Q3, "");
    expect("-f indices t.st.zst pool.jsonl", 0, "3\n0\n1\n3\n", "");
    expect(
        "-f messages --unique p.st.zst pool.jsonl", 0,
        "{\"messages\": [{\"role\": \"user\", \"content\": \"q4\"}, {\"role\": \"assistant\", "
        "\"content\": \"a4\"}]}\n{\"messages\": [{\"role\": \"user\", \"content\": \"q3\"}, "
        "{\"role\": \"assistant\", \"content\": \"a3\"}]}\n",
        "");
}

static void the_name_of_the_output_gives_the_format(void **state)
{
    (void)state;
    static const struct {
        const char *name, *want;
    } cases[] = {
        {"s.jsonl", Q4 Q3},
        {"s.csv", "\"instruction\",\"output\"\n\"q4\",\"a4\"\n\"q3\",\"a3\"\n"},
        {"s.json",
         "[\n    {\n        \"instruction\": \"q4\",\n        \"output\": \"a4\"\n    },\n"
         "    {\n        \"instruction\": \"q3\",\n        \"output\": \"a3\"\n    }\n]\n"},
        {"s", Q4 Q3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *args = mem_printf("-o %s p.st.zst pool.jsonl", cases[i].name);
        expect(args, 0, "", "");
        char *text = slurp(cases[i].name);
        assert_string_equal(text, cases[i].want);
        free(text);
        free(args);
    }
}

static void fields_tell_why(void **state)
{
    (void)state;
    expect(
        "--unique -w step,class,score,source,reward t.st.zst pool.jsonl", 0,
        "{\"instruction\": \"q3\", \"output\": \"a3\", \"raise_step\": 1, \"raise_class\": 0, "
        "\"raise_score\": 0, \"raise_source\": 3, \"raise_reward\": 0.25}\n"
        "{\"instruction\": \"q0\", \"output\": \"a0\", \"raise_step\": 1, \"raise_class\": 1, "
        "\"raise_score\": 0.5, \"raise_source\": 0, \"raise_reward\": 0.25}\n"
        "{\"instruction\": \"q1\", \"output\": \"a1\", \"id\": 7, \"raise_step\": 2, "
        "\"raise_class\": 0, \"raise_score\": 1, \"raise_source\": 1, \"raise_reward\": "
        "0.25}\n",
        "");
    expect("-w score,step p.st.zst pool.jsonl", 0,
           "{\"instruction\": \"q4\", \"output\": \"a4\", \"raise_score\": null, "
           "\"raise_step\": 1}\n"
           "{\"instruction\": \"q3\", \"output\": \"a3\", \"raise_score\": null, "
           "\"raise_step\": 1}\n",
           "");
    expect("-w step,steps p.st.zst pool.jsonl", 2, "", NULL);
    expect("-w step,step p.st.zst pool.jsonl", 2, "", NULL);
    expect("-w step -f indices p.st.zst pool.jsonl", 2, "", NULL);
}

static void the_best_episode_is_found(void **state)
{
    (void)state;
    expect("--best t.st.zst u.st.zst bad.st.zst pool.jsonl -f indices", 0, "3\n0\n1\n3\n", "");
    char *command =
        mem_printf("'%s' --best bad.st.zst t.st.zst u.st.zst pool.jsonl 2>err >out && "
                   "grep -c 'u.st.zst has the least final validation loss, 1.25' err",
                   program);
    assert_int_equal(system(command), 0);
    free(command);
    expect("--best bad.st.zst pool.jsonl", 1, "",
           "raise-export: none of the 1 episodes ended well\n");
    expect("--best t.st.zst p.st.zst pool.jsonl", 1, "",
           "raise-export: p.st.zst: a plan has no validation loss to compare\n");
    expect("t.st.zst u.st.zst pool.jsonl", 2, "", NULL);
}

static void files_that_do_not_belong_together(void **state)
{
    (void)state;
    write_text("other.jsonl", "{\"instruction\":\"q3\",\"output\":\"a3\"}\n"
                              "{\"instruction\":\"q1\",\"output\":\"a1\"}\n"
                              "{\"question\":\"q0\",\"answer\":\"a0\"}\n");
    expect("t.st.zst other.jsonl", 1, "", NULL);
    char *text = slurp("err");
    assert_non_null(strstr(text,
                           "raise-export: other.jsonl: not the file that t.st.zst was chosen "
                           "from (content "));
    free(text);
    write_text("edited.jsonl", "{\"instruction\":\"q0\",\"output\":\"A0\"}\n\n\n\n"
                               "{\"text\":\"1\"}\n{\"text\":\"2\"}\n"
                               "{\"instruction\":\"q3\",\"output\":\"a3\"}\n");
    expect("anon.st.zst pool.jsonl -f indices", 0, "3\n0\n1\n3\n", "");
    expect("anon.st.zst edited.jsonl", 1, "", NULL);
    text = slurp("err");
    assert_non_null(strstr(text,
                           "raise-export: edited.jsonl:1: record 0: not the one that is pick "
                           "1 of anon.st.zst (content "));
    free(text);
    write_text("short.jsonl", "{\"instruction\":\"q0\",\"output\":\"a0\"}\n");
    expect(
        "anon.st.zst short.jsonl", 1, "",
        "raise-export: short.jsonl: has no usable record 3, which is pick 0 of anon.st.zst\n");
    expect("--match records t.st.zst other.jsonl -f indices", 0, "0\n2\n1\n0\n", "");
    expect("--match records p.st.zst other.jsonl", 1, "",
           "raise-export: other.jsonl: no record with the content of record 4 of p.st.zst\n");
    expect("f.st.zst pool.jsonl", 1, "",
           "raise-export: f.st.zst: expected a trajectory or a plan, found features\n");
    expect("pool.jsonl pool.jsonl", 1, "", NULL);
    expect("t.st.zst absent.json", 1, "",
           "raise-export: absent.json: No such file or directory\n");
    expect("-o sub/none.json t.st.zst pool.jsonl", 1, "", NULL);
}

static void a_stanza_goes_beside_the_file(void **state)
{
    (void)state;
    expect(
        "-o sub.json --stanza - p.st.zst pool.jsonl", 0,
        "{\n  \"sub\": {\n    \"file_name\": \"sub.json\",\n    \"formatting\": \"alpaca\",\n"
        "    \"columns\": {\n      \"prompt\": \"instruction\",\n"
        "      \"response\": \"output\"\n    }\n  }\n}\n",
        "");
    expect("--stanza - p.st.zst pool.jsonl", 2, "", NULL);
    expect("--stanza info.json p.st.zst pool.jsonl", 2, "", NULL); /* of which file? */
    expect("-o - --stanza info.json p.st.zst pool.jsonl", 2, "", NULL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_come_in_training_order),
        cmocka_unit_test(the_name_of_the_output_gives_the_format),
        cmocka_unit_test(fields_tell_why),
        cmocka_unit_test(the_best_episode_is_found),
        cmocka_unit_test(files_that_do_not_belong_together),
        cmocka_unit_test(a_stanza_goes_beside_the_file),
    };
    char self[4096];
    (void)argc;
    if (!realpath(argv[0], self))
        return 1;
    snprintf(program, sizeof program, "%.4000s/../raise-export", dirname(self));
    if (access(program, X_OK) != 0) {
        puts("raise-export is not built");
        return 77;
    }
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
