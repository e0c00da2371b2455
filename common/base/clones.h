/* SPDX-License-Identifier: MIT
 *
 * clones: functions compiled once for each level of x86-64, the right one chosen when the
 * program is loaded. Results differ between levels only by fused multiply-adds.
 */
#ifndef RAISE_BASE_CLONES_H
#define RAISE_BASE_CLONES_H

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif

#endif
