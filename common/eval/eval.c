/* SPDX-License-Identifier: MIT
 * eval: the table of tasks; see eval.h. */
#include "eval/eval.h"

#include <string.h>

const struct eval_task eval_tasks[] = {
    {"loss", EVAL_TEMPLATE, eval_loss, &eval_loss_schema, "auto"},
    {"choice", EVAL_TEMPLATE | EVAL_SHOTS | EVAL_BY, eval_choice, &eval_choice_schema, "none"},
    {"gsm8k", EVAL_TEMPLATE | EVAL_SHOTS | EVAL_WRITES, eval_gsm8k, &eval_gsm8k_schema, "none"},
    {NULL, 0, NULL, NULL, NULL},
};

const struct eval_task *eval_task_find(const char *name)
{
    for (const struct eval_task *t = eval_tasks; t->name; t++)
        if (strcmp(t->name, name) == 0)
            return t;
    return NULL;
}

const struct eval_schema *eval_schema_of(const char *task)
{
    const struct eval_task *t = eval_task_find(task);
    return t ? t->schema : NULL;
}
