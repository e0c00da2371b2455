/* SPDX-License-Identifier: MIT
 * version: of the programs and of the file format. */
#ifndef RAISE_BASE_VERSION_H
#define RAISE_BASE_VERSION_H

#include <stdio.h>

#define RAISE_VERSION "0.1.0"

/* What -V prints: version, compiler, BLAS and its kernel, oneDNN, zstd, CUDA plugin. */
void version_print(FILE *f, const char *program);

#endif
