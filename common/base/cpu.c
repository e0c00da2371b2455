/* SPDX-License-Identifier: MIT
 * cpu: instruction sets; see cpu.h. What has to do with OpenBLAS is in cpu_blas.c, which only
 * programs that multiply matrices link. */
#define _GNU_SOURCE
#include "base/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

enum cpu_isa cpu_isa(void)
{
    enum cpu_isa best = CPU_BASE;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        best = CPU_AVX2;
    if (best == CPU_AVX2 && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512cd"))
        best = CPU_AVX512;
#endif
    const char *want = getenv("RAISE_ISA");
    for (enum cpu_isa i = CPU_BASE; want && i < best; i++)
        if (!strcmp(want, cpu_isa_name(i)))
            return i;
    return best;
}

const char *cpu_isa_name(enum cpu_isa isa)
{
    static const char *const names[] = {"base", "avx2", "avx512"};
    return names[isa];
}

#if defined(__x86_64__)
static unsigned leaf7(int subleaf, int reg)
{
    unsigned r[4] = {0};
    if (!__get_cpuid_count(7, (unsigned)subleaf, &r[0], &r[1], &r[2], &r[3]))
        return 0;
    return r[reg];
}
#endif

bool cpu_has_amx_bf16(void)
{
#if defined(__x86_64__)
    unsigned edx = leaf7(0, 3);
    return (edx >> 22 & 1) && (edx >> 24 & 1); /* AMX-BF16 and AMX-TILE */
#else
    return false;
#endif
}

bool cpu_has_avx512_bf16(void)
{
#if defined(__x86_64__)
    return cpu_isa() == CPU_AVX512 && (leaf7(1, 0) >> 5 & 1);
#else
    return false;
#endif
}

const char *cpu_model_name(void)
{
    static char name[128];
    FILE *f = *name ? NULL : fopen("/proc/cpuinfo", "r");
    if (f) {
        char line[256];
        while (fgets(line, sizeof line, f) && !*name)
            if (!strncmp(line, "model name", 10) && strchr(line, ':'))
                snprintf(name, sizeof name, "%.*s", (int)strcspn(strchr(line, ':') + 2, "\n"),
                         strchr(line, ':') + 2);
        fclose(f);
    }
    return *name ? name : "unknown CPU";
}

bool cpu_was_reexecuted(void)
{
    const char *mark = getenv("RAISE_REEXEC");
    return mark && !strcmp(mark, "blas");
}

void (*cpu_describe_blas)(FILE *f);
