/* SPDX-License-Identifier: MIT
 * What a path to a model names, by content; and errors that say what a file is instead. */
#include "base/file.h"
#include "base/mem.h"
#include "base/sniff.h"
#include "lm/lm.h"
#include "stream/model_path.h"
#include "stream/st.h"
#include "text/tok.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/test_model_path.XXXXXX";
static char *file; /* in it */

static void put(const char *path, const void *data, size_t len)
{
    assert_int_equal(file_write_all(path, data, len, NULL), 0);
}

static char *beside(const char *name)
{
    return mem_printf("%s/%s", dir, name);
}

static const struct {
    const char *bytes;
    size_t len;
    const char *what;
} others[] = {
#define IS(bytes, what)                                                                        \
    {                                                                                          \
        bytes, sizeof(bytes) - 1, what                                                         \
    }
    IS("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n",
       "a git-lfs pointer, not the file: git lfs pull"),
    IS(" \n<!DOCTYPE html>\n<title>404</title>", "an HTML page"),
    IS("<html lang=\"en\">", "an HTML page"),
    IS("\x1f\x8b\x08\0\0\0\0\0\0\3", "a gzip file"),
    IS("PAR1\x15\x04\x15\x10", "a Parquet file"),
    IS("PK\x03\x04 and more", "a zip archive"),
    IS("\x28\xb5\x2f\xfd\x24\x01\0\0", "a zstd file"),
#undef IS
};
enum { N_OTHERS = sizeof others / sizeof *others };

static void files_are_known_by_their_first_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_OTHERS; i++)
        assert_string_equal(sniff(others[i].bytes, others[i].len), others[i].what);
    assert_null(sniff("{\"a\": 1}", 8));
    assert_null(sniff("<instruction>", 13));
    assert_null(sniff("", 0));
    assert_null(sniff_file("/nowhere"));
}

static void a_gguf_is_one_by_its_magic(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct lm_config c;
    char *like_gguf = beside("text.gguf");
    put(file, "GGUF\x09\0\0\0", 8);
    assert_int_equal(model_path_kind(file, &e), MODEL_GGUF);
    assert_int_equal(lm_config_read(&c, file, &e), ERR_UNSUPPORTED); /* as a GGUF */
    assert_non_null(strstr(e.msg, "GGUF version 9"));
    assert_null(lm_open(file, &(struct lm_options)LM_OPTIONS_DEFAULTS, &e));
    assert_non_null(strstr(e.msg, "GGUF version 9"));
    assert_null(tok_load(file, &e));
    assert_non_null(strstr(e.msg, "GGUF version 9"));
    put(like_gguf, "some words", 10);
    assert_int_equal(model_path_kind(like_gguf, &e), ERR_FORMAT);
    assert_int_equal(model_path_kind(dir, &e), MODEL_FOLDER);
    free(like_gguf);
}

/* Each of the doors says the same of a path that is none. */
static void what_is_no_model_is_named(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct lm_config c;
    for (size_t i = 0; i < N_OTHERS; i++) {
        put(file, others[i].bytes, others[i].len);
        assert_int_equal(lm_config_read(&c, file, &e), ERR_FORMAT);
        assert_non_null(strstr(e.msg, others[i].what));
        assert_non_null(strstr(e.msg, file));
        e.msg[0] = '\0';
        assert_null(lm_open(file, &(struct lm_options)LM_OPTIONS_DEFAULTS, &e));
        assert_non_null(strstr(e.msg, others[i].what));
    }
    put(file, "", 0);
    assert_int_equal(lm_config_read(&c, file, &e), ERR_FORMAT);
    assert_non_null(strstr(e.msg, "an empty file"));
    assert_int_equal(lm_config_read(&c, "/nowhere", &e), ERR_IO);
    assert_string_equal(e.msg, "/nowhere: No such file or directory");
    assert_null(tok_load("/nowhere", &e));
    assert_string_equal(e.msg, "/nowhere: No such file or directory");
}

static void a_folder_without_configuration_is_named(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct lm_config c;
    char *adapter = beside("adapter_config.json");
    assert_int_equal(lm_config_read(&c, dir, &e), ERR_FORMAT);
    assert_non_null(strstr(e.msg, "has no config.json"));
    put(adapter, "{}", 2);
    assert_int_equal(lm_config_read(&c, dir, &e), ERR_FORMAT);
    assert_non_null(strstr(e.msg, "an adapter, not a model"));
    unlink(adapter);
    free(adapter);
}

static void files_of_a_folder_are_named(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct lm_config c;
    char *config = beside("config.json");
    for (size_t i = 0; i < N_OTHERS; i++) {
        struct st_msg *m;
        put(config, others[i].bytes, others[i].len);
        assert_int_equal(lm_config_read(&c, dir, &e), ERR_FORMAT);
        assert_non_null(strstr(e.msg, others[i].what));
        assert_non_null(strstr(e.msg, config));
        m = st_msg_parse(others[i].bytes, others[i].len, "model.safetensors", &e);
        assert_null(m);
        assert_non_null(strstr(e.msg, others[i].what));
    }
    unlink(config);
    free(config);
}

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return 1;
    file = beside("model.bin");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char *command = mem_printf("rm -rf '%s'", dir);
    int rc = system(command);
    free(command);
    free(file);
    return rc;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_known_by_their_first_bytes),
        cmocka_unit_test(a_gguf_is_one_by_its_magic),
        cmocka_unit_test(what_is_no_model_is_named),
        cmocka_unit_test(a_folder_without_configuration_is_named),
        cmocka_unit_test(files_of_a_folder_are_named),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
