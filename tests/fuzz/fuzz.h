/* SPDX-License-Identifier: MIT
 *
 * fuzz: what reads files that others made, one target a parser. driver.c runs them over corpora
 * and mutations of these, libFuzzer (make fuzz) by coverage.
 */
#ifndef RAISE_FUZZ_H
#define RAISE_FUZZ_H

#include <stddef.h>
#include <stdint.h>

struct target {
    const char *name;
    void (*run)(const uint8_t *data, size_t len);
    const char *seeds[6]; /* files below tests/, beside those of tests/fuzz/corpus/NAME */
};
extern const struct target targets[]; /* ends with a NULL name */

/* A folder for the files that are read by name; removed by fuzz_tear_down. base: tests/fuzz. */
void fuzz_set_up(const char *tests);
void fuzz_tear_down(void);

#endif
