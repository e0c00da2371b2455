/* SPDX-License-Identifier: MIT
 *
 * cpu: which instruction sets are here, and OpenBLAS's choice of kernel.
 *
 * OpenBLAS up to 0.3.24 does not know some newer Intel and AMD CPUs and takes a kernel several
 * times slower than the machine. The kernel is chosen when the library loads, by
 * OPENBLAS_CORETYPE or its own look at the CPU, so the only mend is to start again:
 * cpu_fix_blas() compares the two and, where they disagree, sets OPENBLAS_CORETYPE and
 * re-executes the program once, before anything was read.
 *
 * OpenMP's idle threads spin for about a millisecond, which is a disaster where several
 * programs share the cores (make -j): ten times slower was seen. That, too, is settled when the
 * library loads, so the same re-execution sets GOMP_SPINCOUNT to some microseconds, unless the
 * user has set it or OMP_WAIT_POLICY.
 */
#ifndef RAISE_BASE_CPU_H
#define RAISE_BASE_CPU_H

#include <stdbool.h>
#include <stdio.h>

enum cpu_isa { CPU_BASE, CPU_AVX2, CPU_AVX512 };

/* The best set that this machine has and RAISE_ISA=base|avx2|avx512 allows. */
enum cpu_isa cpu_isa(void);
const char *cpu_isa_name(enum cpu_isa isa);
bool cpu_has_amx_bf16(void);
bool cpu_has_avx512_bf16(void);
const char *cpu_model_name(void); /* "AMD EPYC", borrowed */

/* Kernel that OpenBLAS uses now, and the one that suits this CPU. A program that calls one of
 * these or cpu_fix_blas() links OpenBLAS, and is refused before it starts where the address
 * space is limited (ulimit -v) to less than the libraries need. */
const char *cpu_blas_kernel(void);
const char *cpu_blas_wanted(void);

/* First line of main() in every program that multiplies matrices. Returns when nothing needs to
 * change, when OPENBLAS_CORETYPE is set by the user, or after the re-execution. */
void cpu_fix_blas(char **argv);
bool cpu_was_reexecuted(void);
/* What -V says of BLAS; NULL where there is none: it is set by cpu_fix_blas(). */
extern void (*cpu_describe_blas)(FILE *f);

#endif
