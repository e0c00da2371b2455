/* SPDX-License-Identifier: MIT
 * rope_table: rotary frequencies with the linear, llama3 and yarn scalings.
 *
 * The arithmetic is float where transformers' is float: an angle at position 4000 computed
 * in double differs from the float one by 1e-4, and the models were trained with the latter. */
#include "lm/config_check.h"

#include <math.h>

const char *const lm_rope_names[LM_N_ROPE_SCALINGS] = {[LM_ROPE_NONE] = "default",
                                                       [LM_ROPE_LINEAR] = "linear",
                                                       [LM_ROPE_LLAMA3] = "llama3",
                                                       [LM_ROPE_DYNAMIC] = "dynamic",
                                                       [LM_ROPE_YARN] = "yarn"};

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

double lm_rope_attention(double factor)
{
    return factor <= 1 ? 1 : 0.1 * log(factor) + 1;
}

/* The dimension that turns so many times within the original context; not a whole number. */
static double yarn_dimension(const struct lm_config *c, double turns)
{
    double positions = (double)c->rope_original_positions;
    return (double)c->d_head * log(positions / (turns * 2 * 3.14159265358979323846)) /
           (2 * log(c->rope_theta));
}

struct ramp {
    float from, width;
};

/* YaRN's rule: dimensions that turn often are kept, those that turn seldom slowed by the
 * factor; between them a ramp. */
static struct ramp yarn_ramp(const struct lm_config *c)
{
    double from = yarn_dimension(c, c->rope_fast), to = yarn_dimension(c, c->rope_slow);
    if (c->is_rope_truncated) {
        from = floor(from);
        to = ceil(to);
    }
    from = fmax(from, 0);
    to = fmin(to, (double)(c->d_head - 1));
    return (struct ramp){(float)from, (float)(from == to ? 0.001 : to - from)};
}

static float scale_yarn(const struct lm_config *c, struct ramp r, int64_t i, float wave)
{
    float slowed = fminf(fmaxf(((float)i - r.from) / r.width, 0), 1), kept = 1 - slowed;
    return 1 / ((float)c->rope_factor * wave) * (1 - kept) + 1 / wave * kept;
}

float lm_rope_frequencies(const struct lm_config *c, float *inv_freq)
{
    int64_t K = c->d_head;
    bool is_yarn = c->rope_scaling == LM_ROPE_YARN;
    struct ramp ramp = is_yarn ? yarn_ramp(c) : (struct ramp){0, 1};
    for (int64_t i = 0; i < K / 2; i++) {
        float wave = powf((float)c->rope_theta, (float)(2 * i) / (float)K);
        float f = is_yarn ? scale_yarn(c, ramp, i, wave) : 1.0f / wave;
        if (c->rope_scaling == LM_ROPE_LINEAR)
            f /= (float)c->rope_factor;
        else if (c->rope_scaling == LM_ROPE_LLAMA3)
            f = scale_llama3(c, f);
        inv_freq[i] = f;
    }
    return is_yarn ? (float)c->rope_attention : 1;
}
