/* SPDX-License-Identifier: MIT
 * cpu_blas: OpenBLAS's choice of kernel, and the address space that it needs; see cpu.h. */
#define _GNU_SOURCE
#include "base/cpu.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <unistd.h>

#if RAISE_HAVE_DNNL
#include <dnnl.h>
#endif

extern char *openblas_get_config(void);
extern char *openblas_get_corename(void);

static const char reexec_mark[] = "RAISE_REEXEC"; /* "blas": the kernel was set, or "omp" */

/* ---- address space ---- */

/* Address space, in MiB, that the libraries and their first products take: measured with
 * OpenBLAS 0.3.21 and oneDNN 2.7 (fp32 and bf16), with a reserve. A thread has a buffer of
 * OpenBLAS's, an arena of malloc's and a stack. */
enum { SPACE_MIB = 512, SPACE_A_THREAD_MIB = 160 };

static long n_threads(void)
{
    const char *set = getenv("OMP_NUM_THREADS");
    long n = set ? strtol(set, NULL, 10) : 0;
    cpu_set_t cpus;
    if (n > 0)
        return n;
    return sched_getaffinity(0, sizeof cpus, &cpus) ? 1 : CPU_COUNT(&cpus);
}

/* With less, OpenBLAS spins for ever as it is loaded, or in its first product, and oneDNN takes
 * addresses that it did not get. So this runs before any library's own start, where of the
 * process nothing is set up but libc: no sanitizer either. */
__attribute__((no_sanitize("address", "undefined", "thread"))) static void
refuse_small_space(int argc, char **argv, char **envp)
{
    (void)argc;
    (void)envp;
    struct rlimit limit;
    char line[256];
    if (getrlimit(RLIMIT_AS, &limit) || limit.rlim_cur == RLIM_INFINITY)
        return;
    long n = n_threads(), want = SPACE_MIB + n * SPACE_A_THREAD_MIB;
    if (limit.rlim_cur >> 20 >= (rlim_t)want)
        return;
    const char *name = argv[0] ? argv[0] : "raise", *slash = strrchr(name, '/');
    int len =
        snprintf(line, sizeof line,
                 "%.64s: ulimit -v leaves %llu MiB of address space, and %ld threads that "
                 "multiply matrices take %ld: raise it, or set OMP_NUM_THREADS\n",
                 slash ? slash + 1 : name, (unsigned long long)limit.rlim_cur >> 20, n, want);
    ssize_t done = len > 0 ? write(STDERR_FILENO, line, (size_t)len) : 0;
    (void)done;
    _exit(EXIT_FAILURE);
}
__attribute__((section(".preinit_array"),
               used)) static void (*const before_libraries)(int, char **,
                                                            char **) = refuse_small_space;

/* ---- the kernel ---- */

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

static void describe(FILE *f)
{
    fprintf(f, "blas      %s; kernel %s%s\n", openblas_get_config(), cpu_blas_kernel(),
            cpu_was_reexecuted() ? " (set by re-execution)" : "");
#if RAISE_HAVE_DNNL
    const dnnl_version_t *v = dnnl_version();
    fprintf(f, "onednn    %d.%d.%d\n", v->major, v->minor, v->patch);
#else
    fprintf(f, "onednn    none: fp32 only\n");
#endif
}

void cpu_fix_blas(char **argv)
{
    cpu_describe_blas = describe;
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
