/* SPDX-License-Identifier: MIT
 * version: what -V prints; see version.h. */
#include "base/version.h"

#include "base/cpu.h"
#include "base/plugin.h"

#include <omp.h>
#include <stdlib.h>
#include <unistd.h>

#include <zstd.h>

static void print_plugin(FILE *f)
{
    char *path = plugin_cuda_path();
    fprintf(f, "cuda      %s\n", access(path, F_OK) == 0 ? path : "none: no plugin");
    free(path);
}

void version_print(FILE *f, const char *program)
{
    fprintf(f, "%s %s\n", program, RAISE_VERSION);
#if defined(__clang__)
    fprintf(f, "compiler  clang %s\n", __clang_version__);
#else
    fprintf(f, "compiler  gcc %s\n", __VERSION__);
#endif
    fprintf(f, "cpu       %s, %s kernels, %d threads%s%s\n", cpu_model_name(),
            cpu_isa_name(cpu_isa()), omp_get_max_threads(),
            cpu_has_avx512_bf16() ? ", avx512_bf16" : "",
            cpu_has_amx_bf16() ? ", amx_bf16" : "");
    if (cpu_describe_blas)
        cpu_describe_blas(f);
    else
        fprintf(f, "blas      none: this program multiplies no matrices\n");
    print_plugin(f);
    fprintf(f, "zstd      %s\n", ZSTD_versionString());
}
