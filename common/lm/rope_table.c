/* SPDX-License-Identifier: MIT
 * rope_table: rotary frequencies with the linear and llama3 scalings.
 *
 * The arithmetic is float where transformers' is float: an angle at position 4000 computed
 * in double differs from the float one by 1e-4, and the models were trained with the latter. */
#include "lm/config_check.h"

#include <math.h>

const char *const lm_rope_names[LM_N_ROPE_SCALINGS] = {[LM_ROPE_NONE] = "default",
                                                       [LM_ROPE_LINEAR] = "linear",
                                                       [LM_ROPE_LLAMA3] = "llama3",
                                                       [LM_ROPE_DYNAMIC] = "dynamic"};

/* Llama 3.1's rule: long waves are slowed by the factor, short ones kept, between them a
 * linear blend in (original context / wavelength). */
static float scale_llama3(const struct lm_config *c, float f)
{
    float factor = (float)c->rope_factor, low = (float)c->rope_low_freq;
    float high = (float)c->rope_high_freq, old = (float)c->rope_original_positions;
    float wave = 2 * 3.14159265358979323846f / f;
    if (wave > old / low)
        return f / factor;
    if (wave < old / high)
        return f;
    float smooth = (old / wave - low) / (high - low);
    return (1 - smooth) * f / factor + smooth * f;
}

void lm_rope_frequencies(const struct lm_config *c, float *inv_freq)
{
    int64_t K = c->d_head;
    for (int64_t i = 0; i < K / 2; i++) {
        float f = 1.0f / powf((float)c->rope_theta, (float)(2 * i) / (float)K);
        if (c->rope_scaling == LM_ROPE_LINEAR)
            f /= (float)c->rope_factor;
        else if (c->rope_scaling == LM_ROPE_LLAMA3)
            f = scale_llama3(c, f);
        inv_freq[i] = f;
    }
}
