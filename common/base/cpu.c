/* SPDX-License-Identifier: MIT
 * cpu: instruction sets, and OpenBLAS's choice of kernel; see cpu.h. */
#define _GNU_SOURCE
#include "base/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

extern char *openblas_get_corename(void);

static const char reexec_mark[] = "RAISE_REEXEC"; /* "blas": the kernel was set, or "omp" */

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

const char *cpu_blas_kernel(void)
{
    return openblas_get_corename();
}

const char *cpu_blas_wanted(void)
{
    static const char *const avx512[] = {"SkylakeX", "Cooperlake", "Sapphirerapids"};
    static const char *const avx2[] = {"Haswell", "Zen", "SkylakeX", "Cooperlake",
                                       "Sapphirerapids"};
    const char *now = openblas_get_corename();
    enum cpu_isa isa = cpu_isa();
    if (isa == CPU_BASE)
        return now;
    for (size_t i = 0; isa == CPU_AVX512 && i < sizeof avx512 / sizeof *avx512; i++)
        if (!strcasecmp(now, avx512[i]))
            return now;
    for (size_t i = 0; isa == CPU_AVX2 && i < sizeof avx2 / sizeof *avx2; i++)
        if (!strcasecmp(now, avx2[i]))
            return now;
    return isa == CPU_AVX512 ? "SkylakeX" : "Haswell";
}

bool cpu_was_reexecuted(void)
{
    const char *mark = getenv(reexec_mark);
    return mark && !strcmp(mark, "blas");
}

void cpu_fix_blas(char **argv)
{
    if (getenv(reexec_mark))
        return;
    const char *wanted = cpu_blas_wanted();
    bool is_slow = !getenv("OPENBLAS_CORETYPE") && strcmp(wanted, openblas_get_corename()) != 0;
    bool spins = !getenv("OMP_WAIT_POLICY") && !getenv("GOMP_SPINCOUNT");
    if (!is_slow && !spins)
        return;
    if (is_slow)
        setenv("OPENBLAS_CORETYPE", wanted, 1);
    if (spins)
        setenv("GOMP_SPINCOUNT", "5000", 1);
    setenv(reexec_mark, is_slow ? "blas" : "omp", 1);
    char exe[4096]; /* by its own name, so that top and pkill know it */
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n > 0) {
        exe[n] = '\0';
        execv(exe, argv);
    }
    if (is_slow)
        unsetenv("OPENBLAS_CORETYPE"); /* could not: go on as it is, -V shows the kernel */
}
