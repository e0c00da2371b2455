/* SPDX-License-Identifier: MIT
 * plugin: where the plugin for GPUs is. */
#ifndef RAISE_BASE_PLUGIN_H
#define RAISE_BASE_PLUGIN_H

/* $RAISE_CUDA_PLUGIN if that is set, else raise-cuda.so beside the executable, else in
 * ../lib/raise from there; if it is in neither place, the first is named. Owned by the caller.
 */
char *plugin_cuda_path(void);

#endif
