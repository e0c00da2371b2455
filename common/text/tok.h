/* SPDX-License-Identifier: MIT
 *
 * tok: tokenizers. Text to ids and back, equal to Hugging Face's `tokenizers`.
 *
 * From tokenizer.json: byte-level BPE (GPT-2, Llama 3, Qwen, SmolLM2) with its own
 * pre-tokenizer regexes (PCRE2 with Unicode properties), NFC, ignore_merges, added tokens; and
 * SentencePiece-style BPE with byte fallback (Llama 2, Mistral). From GGUF metadata: kinds
 * "gpt2" and "llama". What the file asks for and we do not have is an error that names it.
 *
 * A tokenizer is read-only after loading. tok_encode may be called from several threads at
 * once; each thread has its own scratch and cache inside.
 */
#ifndef RAISE_TEXT_TOK_H
#define RAISE_TEXT_TOK_H

#include "base/err.h"
#include "stream/gguf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tok; /* owned; tok_free */
/* tokenizer.json (plain or .zst), and what stands beside it: names of special tokens, tokens
 * that were added later, the chat template (tok_config.c). EOS is that of the names, or, where
 * they say none that is a token, of config.json or generation_config.json. */
struct tok *tok_load_json(const char *path, struct err *e) RAISE_MUST_CHECK;
struct tok *tok_load_gguf(const struct gguf *g, const char *name,
                          struct err *e) RAISE_MUST_CHECK;
/* From a Hugging Face folder (its tokenizer.json) or a GGUF file. */
struct tok *tok_load(const char *model_path, struct err *e) RAISE_MUST_CHECK;
void tok_free(struct tok *t); /* NULL-safe */
/* One that came from a GGUF as tokenizer.json, tokenizer_config.json and generation_config.json
 * of the folder `dir`, which exists. */
int tok_save(const struct tok *t, const char *dir, struct err *e) RAISE_MUST_CHECK;

int64_t tok_n_vocab(const struct tok *t); /* highest id + 1, added tokens included */
int32_t tok_bos(const struct tok *t);     /* -1: none */
int32_t tok_eos(const struct tok *t);
int32_t tok_pad(const struct tok *t);
bool tok_adds_bos(const struct tok *t);                 /* the post-processor puts BOS first */
int32_t tok_id(const struct tok *t, const char *token); /* -1: unknown */
/* Whether an id is an added token that the model's files call special. */
bool tok_is_special(const struct tok *t, int32_t id);
int32_t tok_unk(const struct tok *t);
/* Chat template (Jinja) carried by the model, and the one that it has for conversations with
 * tools; NULL: none. Borrowed. */
const char *tok_chat_template(const struct tok *t);
const char *tok_tool_template(const struct tok *t);
/* What stands as "chat_template" is neither a text nor texts by name. */
bool tok_has_odd_template(const struct tok *t);
uint64_t tok_hash(const struct tok *t); /* identity of vocabulary, merges and rules */

enum {
    TOK_SPECIAL = 1, /* special tokens in the text become their ids; else they are plain text */
    TOK_ADD = 2,     /* what the post-processor adds (BOS, EOS) */
    TOK_CONTINUE = 4 /* the text goes on after other text: no prefix space is put before it */
};

struct tok_ids {
    int32_t *ids; /* owned; free() */
    size_t n, cap;
};
/* Appends the ids of s[0..len). ERR_FORMAT: not UTF-8, with the byte's offset. */
int tok_encode(const struct tok *t, const char *s, size_t len, int flags, struct tok_ids *out,
               struct err *e) RAISE_MUST_CHECK;
/* Text of ids, appended to *out (mem.h). is_special_shown false: special tokens left out. */
struct buf;
int tok_decode(const struct tok *t, const int32_t *ids, size_t n, bool is_special_shown,
               struct buf *out, struct err *e) RAISE_MUST_CHECK;
/* What one token stands for, byte for byte: a part of a character where it is no more. */
void tok_text(const struct tok *t, int32_t id, struct buf *out);
/* The text as its tokens give it back: in the tokenizer's normal form, and with spaces for what
 * stands for them. Appended; of a text that is a part of another, but for what composes with
 * its neighbours. */
void tok_plain(const struct tok *t, const char *s, size_t len, struct buf *out);
/* One token as shown to a person (byte-level escapes undone where they are UTF-8). */
void tok_show(const struct tok *t, int32_t id, struct buf *out);

#endif
