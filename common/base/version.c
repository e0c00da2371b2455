/* SPDX-License-Identifier: MIT
 * version: what -V prints; see version.h. */
#include "base/version.h"

#include "base/cpu.h"
#include "base/plugin.h"

#include <omp.h>
#include <stdlib.h>
#include <unistd.h>

#if RAISE_HAVE_DNNL
#include <dnnl.h>
#endif
#include <zstd.h>

extern char *openblas_get_config(void);

static void print_onednn(FILE *f)
{
#if RAISE_HAVE_DNNL
    const dnnl_version_t *v = dnnl_version();
    fprintf(f, "onednn    %d.%d.%d\n", v->major, v->minor, v->patch);
#else
    fprintf(f, "onednn    none: fp32 only\n");
#endif
}

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
    fprintf(f, "blas      %s; kernel %s%s\n", openblas_get_config(), cpu_blas_kernel(),
            cpu_was_reexecuted() ? " (set by re-execution)" : "");
    print_onednn(f);
    print_plugin(f);
    fprintf(f, "zstd      %s\n", ZSTD_versionString());
}
