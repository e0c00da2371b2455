/* SPDX-License-Identifier: MIT
 *
 * demo-blank: an untrained small model, the first step of the demonstration model's recipe.
 *
 *     demo-blank TEXT.jsonl DIR SEED
 *
 * Writes a Hugging Face folder: tokenizer.json (byte-level BPE of 512 ids, merges learned from
 * the text's words, digits kept single), tokenizer_config.json, config.json (Llama: 4 layers,
 * width 128, 4 heads, 2 key/value heads) and model.safetensors with N(0, 0.02) weights; the
 * output projections of each block are scaled by 1/sqrt(2 layers), as GPT-2 does.
 */
#include "base/file.h"
#include "base/mem.h"
#include "base/opt.h"
#include "base/rng.h"
#include "lm/config.h"
#include "stream/st.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    N_BYTES = 256,
    N_SPECIAL = 3,
    N_VOCAB = 512,
    MAX_WORD = 24,
    N_MERGES = N_VOCAB - N_BYTES - N_SPECIAL
};

static const char *const special[N_SPECIAL] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};

struct word {
    char key[MAX_WORD + 1];
    int64_t count;
    int n;
    int16_t ids[MAX_WORD];
};
struct corpus {
    struct word *words;
    size_t n, cap;
};
struct merge {
    int16_t left, right;
};

static void count_word(struct corpus *c, const char *s, int len)
{
    if (len < 2 || len > MAX_WORD)
        return;
    for (size_t i = 0; i < c->n; i++)
        if (!strncmp(c->words[i].key, s, (size_t)len) && !c->words[i].key[len]) {
            c->words[i].count++;
            return;
        }
    MEM_GROW(c->words, c->cap, c->n + 1);
    struct word *w = &c->words[c->n++];
    memset(w, 0, sizeof *w);
    memcpy(w->key, s, (size_t)len);
    w->count = 1;
    w->n = len;
    for (int i = 0; i < len; i++)
        w->ids[i] = (int16_t)(unsigned char)s[i];
}

/* Words as the byte-level pre-tokenizer cuts them: letters with the one space before them.
 * JSON's own names and escapes are counted too; they are few. */
static void count_words(struct corpus *c, const char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        size_t start = i;
        if (text[i] == ' ' && i + 1 < len && isalpha((unsigned char)text[i + 1]))
            i++;
        size_t letters = i;
        while (i < len && isalpha((unsigned char)text[i]))
            i++;
        if (i > letters)
            count_word(c, text + start, (int)(i - start));
        else
            i = start + 1;
    }
}

static int64_t best_pair(const struct corpus *c, struct merge *best)
{
    int64_t *count = mem_zalloc((size_t)N_VOCAB * N_VOCAB, sizeof *count), most = 0;
    for (size_t i = 0; i < c->n; i++)
        for (int k = 0; k + 1 < c->words[i].n; k++)
            count[c->words[i].ids[k] * N_VOCAB + c->words[i].ids[k + 1]] += c->words[i].count;
    for (int p = 0; p < N_VOCAB * N_VOCAB; p++)
        if (count[p] > most) {
            most = count[p];
            *best = (struct merge){(int16_t)(p / N_VOCAB), (int16_t)(p % N_VOCAB)};
        }
    free(count);
    return most;
}

static void apply_merge(struct corpus *c, struct merge m, int16_t id)
{
    for (size_t i = 0; i < c->n; i++) {
        struct word *w = &c->words[i];
        int n = 0;
        for (int k = 0; k < w->n; k++) {
            bool is_pair = k + 1 < w->n && w->ids[k] == m.left && w->ids[k + 1] == m.right;
            w->ids[n++] = is_pair ? id : w->ids[k];
            k += is_pair;
        }
        w->n = n;
    }
}

static int learn_merges(struct corpus *c, struct merge *merges)
{
    int n = 0;
    while (n < N_MERGES && best_pair(c, &merges[n]) > 1) {
        apply_merge(c, merges[n], (int16_t)(N_BYTES + n));
        n++;
    }
    return n;
}

/* GPT-2's printable stand-in for a byte: itself where it is a visible character of Latin-1,
 * else the next code point from U+0100. */
static void put_byte(struct buf *b, int byte)
{
    int code = byte;
    if (!((byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae)) {
        code = 256;
        for (int i = 0; i < byte; i++)
            code += !((i >= '!' && i <= '~') || (i >= 0xa1 && i <= 0xac) || i >= 0xae);
    }
    if (code < 128) {
        if (code == '"' || code == '\\')
            buf_putc(b, '\\');
        buf_putc(b, (char)code);
    } else {
        buf_putc(b, (char)(0xc0 | code >> 6));
        buf_putc(b, (char)(0x80 | (code & 63)));
    }
}

static void put_token(struct buf *b, const struct merge *merges, int id)
{
    if (id < N_BYTES) {
        put_byte(b, id);
        return;
    }
    put_token(b, merges, merges[id - N_BYTES].left);
    put_token(b, merges, merges[id - N_BYTES].right);
}

static void tokenizer_json(struct buf *b, const struct merge *merges, int n_merges)
{
    buf_puts(b, "{\n \"version\": \"1.0\",\n \"truncation\": null,\n \"padding\": null,\n"
                " \"added_tokens\": [");
    for (int i = 0; i < N_SPECIAL; i++)
        buf_printf(
            b,
            "%s\n  {\"id\": %d, \"content\": \"%s\", \"single_word\": false, \"lstrip\": "
            "false, \"rstrip\": false, \"normalized\": false, \"special\": true}",
            i ? "," : "", N_BYTES + n_merges + i, special[i]);
    buf_puts(b,
             "\n ],\n \"normalizer\": null,\n \"pre_tokenizer\": {\"type\": \"Sequence\", "
             "\"pretokenizers\": [{\"type\": \"Digits\", \"individual_digits\": true}, "
             "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, "
             "\"use_regex\": true}]},\n \"post_processor\": null,\n \"decoder\": {\"type\": "
             "\"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": true, "
             "\"use_regex\": true},\n \"model\": {\"type\": \"BPE\", \"dropout\": null, "
             "\"unk_token\": null, \"continuing_subword_prefix\": null, "
             "\"end_of_word_suffix\": null, \"fuse_unk\": false, \"byte_fallback\": false, "
             "\"ignore_merges\": false,\n  \"vocab\": {");
    for (int i = 0; i < N_BYTES + n_merges; i++) {
        buf_puts(b, i ? ",\"" : "\"");
        put_token(b, merges, i);
        buf_printf(b, "\":%d", i);
    }
    for (int i = 0; i < N_SPECIAL; i++)
        buf_printf(b, ",\"%s\":%d", special[i], N_BYTES + n_merges + i);
    buf_puts(b, "},\n  \"merges\": [");
    for (int i = 0; i < n_merges; i++) {
        buf_puts(b, i ? ",\"" : "\"");
        put_token(b, merges, merges[i].left);
        buf_putc(b, ' ');
        put_token(b, merges, merges[i].right);
        buf_putc(b, '"');
    }
    buf_puts(b, "]\n }\n}\n");
}

static void add_weight(struct st_msg *m, struct rng *r, double sd, const char *name,
                       int64_t rows, int64_t cols)
{
    int64_t shape[2] = {rows, cols ? cols : 1};
    size_t n = (size_t)(shape[0] * shape[1]);
    float *w = mem_alloc(n, sizeof *w);
    for (size_t i = 0; i < n; i++)
        w[i] = sd > 0 ? (float)(sd * rng_normal(r)) : 1.0F;
    st_msg_add_copy(m, name, ST_F32, cols ? 2 : 1, shape, w);
    free(w);
}

static struct st_msg *random_weights(const struct lm_config *c, uint64_t seed)
{
    struct st_msg *m = st_msg_new();
    struct rng r;
    rng_init(&r, seed, 0);
    int64_t D = c->d_model, q = c->n_heads * c->d_head, kv = c->n_kv_heads * c->d_head;
    double sd = 0.02, out = sd / sqrt(2.0 * (double)c->n_layers);
    struct {
        const char *name;
        int64_t rows, cols;
        double sd;
    } part[] = {{"input_layernorm", D, 0, 0},      {"self_attn.q_proj", q, D, sd},
                {"self_attn.k_proj", kv, D, sd},   {"self_attn.v_proj", kv, D, sd},
                {"self_attn.o_proj", D, q, out},   {"post_attention_layernorm", D, 0, 0},
                {"mlp.gate_proj", c->d_ff, D, sd}, {"mlp.up_proj", c->d_ff, D, sd},
                {"mlp.down_proj", D, c->d_ff, out}};
    st_msg_set_meta(m, "format", "pt");
    add_weight(m, &r, sd, "model.embed_tokens.weight", c->n_vocab, D);
    for (int64_t l = 0; l < c->n_layers; l++)
        for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
            char name[96];
            snprintf(name, sizeof name, "model.layers.%lld.%s.weight", (long long)l,
                     part[i].name);
            add_weight(m, &r, part[i].sd, name, part[i].rows, part[i].cols);
        }
    add_weight(m, &r, 0, "model.norm.weight", D, 0);
    return m;
}

static int write_text(const char *dir, const char *name, const char *text, struct err *e)
{
    char *path = mem_printf("%s/%s", dir, name);
    int rc = file_write_all(path, text, strlen(text), e);
    free(path);
    return rc;
}

static int write_model(const char *dir, const char *text, size_t len, uint64_t seed,
                       struct err *e)
{
    static const char tok_config[] = "{\"tokenizer_class\": \"PreTrainedTokenizerFast\", "
                                     "\"bos_token\": null, \"eos_token\": \"<|endoftext|>\", "
                                     "\"pad_token\": \"<|endoftext|>\", \"model_max_length\": "
                                     "512}\n";
    struct lm_config c = {.family = lm_family_find("llama", NULL),
                          .n_layers = 4,
                          .d_model = 128,
                          .n_heads = 4,
                          .n_kv_heads = 2,
                          .d_head = 32,
                          .d_ff = 384,
                          .n_vocab = N_VOCAB,
                          .max_positions = 512,
                          .norm_eps = 1e-5,
                          .rope_theta = 10000,
                          .is_tied = true};
    struct corpus corpus = {0};
    struct merge merges[N_MERGES];
    count_words(&corpus, text, len);
    int n_merges = learn_merges(&corpus, merges);
    struct buf tok = {0};
    tokenizer_json(&tok, merges, n_merges);
    char *config = lm_config_write_hf(&c), *weights = mem_printf("%s/model.safetensors", dir);
    struct st_msg *m = random_weights(&c, seed);
    int rc = file_mkdirs(dir, e);
    if (!rc)
        rc = write_text(dir, "tokenizer.json", buf_str(&tok), e);
    if (!rc)
        rc = write_text(dir, "tokenizer_config.json", tok_config, e);
    if (!rc)
        rc = write_text(dir, "config.json", config, e);
    if (!rc)
        rc = st_write(weights, ST_PLAIN, m, e);
    st_msg_free(m);
    free(config);
    free(weights);
    buf_free(&tok);
    free(corpus.words);
    return rc;
}

int main(int argc, char **argv)
{
    struct err e = ERR_INIT;
    int64_t seed;
    char *text;
    size_t len;
    if (argc != 4 || opt_parse_int(argv[3], 0, 1 << 30, &seed, &e) < 0) {
        fprintf(stderr, "usage: demo-blank TEXT.jsonl DIR SEED %s\n", e.msg);
        return 2;
    }
    int rc = file_read_all(argv[1], &text, &len, &e);
    if (!rc) {
        rc = write_model(argv[2], text, len, (uint64_t)seed, &e);
        free(text);
    }
    if (rc < 0)
        fprintf(stderr, "demo-blank: %s\n", e.msg);
    return rc < 0;
}
