/* SPDX-License-Identifier: MIT
 * The built-in templates, in the syntax of a template file.
 *
 * Where a model's own chat template exists, these give the same text for conversations of
 * system, user and assistant turns: smollm2, qwen (Qwen 2.5), qwen3 (without reasoning),
 * llama2, llama3 (3.0), llama31 (3.1 to 3.3, without tools) and mistral (v0.3, with the system
 * text in front of the first user's). */
#include "data/tmpl.h"

#include <string.h>

#define CHATML_TURNS                                                                           \
    "[system]\n<|im_start|>system\n{system}<|im_end|>\\n\n"                                    \
    "[user]\n<|im_start|>user\n{user}<|im_end|>\\n\n"                                          \
    "[assistant]\n<|im_start|>assistant\n{assistant}<|im_end|>\\n\n"
#define CHATML_TOOL "[tool]\n<|im_start|>tool\n{tool}<|im_end|>\\n\n"
#define QWEN_TOOL                                                                              \
    "[tool]\n<|im_start|>user\n<tool_response>\n{tool}\n</tool_response><|im_end|>\\n\n"
#define LLAMA3_TURNS                                                                           \
    "[user]\n<|start_header_id|>user<|end_header_id|>\n\n{user}<|eot_id|>\n"                   \
    "[tool]\n<|start_header_id|>ipython<|end_header_id|>\n\n{tool}<|eot_id|>\n"                \
    "[assistant]\n<|start_header_id|>assistant<|end_header_id|>\n\n{assistant}<|eot_id|>\n"

static const struct {
    const char *name, *text;
} builtins[] = {
    {"alpaca",
     "[system]\n{system}\\n\\n\n"
     "[user]\n"
     "Below is an instruction that describes a task. Write a response that appropriately "
     "completes the request.\n\n"
     "### Instruction:\n{instruction}\n\n### Response:\n"
     "[user-input]\n"
     "Below is an instruction that describes a task, paired with an input that provides "
     "further "
     "context. Write a response that appropriately completes the request.\n\n"
     "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
     "[user-next]\n"
     "\n\n### Instruction:\n{user}\n\n### Response:\n"
     "[assistant]\n{assistant}\n"},
    {"chatml", CHATML_TURNS CHATML_TOOL},
    {"smollm2", CHATML_TURNS CHATML_TOOL
     "[options]\n"
     "default_system = You are a helpful AI assistant named SmolLM, trained by Hugging Face\n"},
    {"qwen", CHATML_TURNS QWEN_TOOL
     "[options]\n"
     "default_system = You are Qwen, created by Alibaba Cloud. You are a helpful assistant.\n"},
    {"qwen3", CHATML_TURNS QWEN_TOOL
     "[assistant-last]\n"
     "<|im_start|>assistant\n<think>\n\n</think>\n\n{assistant}<|im_end|>\\n\n"
     "[options]\nreasoning = yes\n"},
    {"llama2", "[user]\n<s>[INST] {user} [/INST]\n"
               "[user-system]\n<s>[INST] <<SYS>>\n{system}\n<</SYS>>\n\n{user} [/INST]\n"
               "[assistant]\n {assistant} </s>\n"
               "[options]\ntrim = yes\n"},
    {"llama3",
     "[system]\n<|start_header_id|>system<|end_header_id|>\n\n{system}<|eot_id|>\n" LLAMA3_TURNS
     "[options]\ntrim = yes\n"},
    {"llama31",
     "[system]\n<|start_header_id|>system<|end_header_id|>\n\n"
     "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
     "{system}<|eot_id|>\n" LLAMA3_TURNS "[options]\ntrim = yes\ndefault_system =\n"},
    {"mistral", "[user]\n[INST] {user}[/INST]\n"
                "[user-system]\n[INST] {system}\n\n{user}[/INST]\n"
                "[assistant]\n {assistant}</s>\n"},
    {"plain", "[system]\n{system}\\n\n"
              "[user]\n{user}\\n\n"
              "[user-next]\n\\n{user}\\n\n"
              "[tool]\n\\n{tool}\\n\n"
              "[assistant]\n{assistant}\n"},
    {"none", "[system]\n{system}\n[user]\n{user}\n[tool]\n{tool}\n[assistant]\n{assistant}\n"},
};
enum { N_BUILTINS = sizeof builtins / sizeof *builtins };

static const char *const names[] = {"alpaca", "chatml",  "smollm2", "qwen",  "qwen3", "llama2",
                                    "llama3", "llama31", "mistral", "plain", "none",  NULL};
_Static_assert(sizeof names / sizeof *names == N_BUILTINS + 1, "a name for each text");

const char *const *tmpl_names(void)
{
    return names;
}

const char *tmpl_builtin(const char *name)
{
    for (int i = 0; i < N_BUILTINS; i++)
        if (strcmp(name, builtins[i].name) == 0)
            return builtins[i].text;
    return NULL;
}
