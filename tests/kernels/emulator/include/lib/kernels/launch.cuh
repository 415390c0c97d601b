// Stands in for lib/kernels/launch.cuh: a launch runs at once.
#pragma once

#include "tests/kernels/emulator/block.h"

#include <cuda_runtime.h>

namespace mta::emulator {
/// Checks the shape and the shared memory as the driver would; what it refuses, cudaGetLastError
/// gives back.
void launch(const void* kernel, dim3 grid, dim3 block, int shared_bytes,
            const std::function<void()>& run);
/// What a block may ask for: MTA_EMULATED_SHARED_KB, or what a block of compute capability 9.0 may.
int shared_limit();
/// MTA_EMULATED_MULTIPROCESSORS, or 3: a problem of a test has more work than that for each.
int multiprocessors();
/// Where the running block's shared memory lies.
std::byte* shared_memory();
}  // namespace mta::emulator

namespace mta::kernels {

inline void wait_for_previous_kernel() {}

template <class Value>
Value* dynamic_shared() {
  return reinterpret_cast<Value*>(emulator::shared_memory());
}

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, int shared_bytes, cudaStream_t,
            const Arguments&... arguments) {
  emulator::launch(reinterpret_cast<const void*>(kernel), grid, block, shared_bytes,
                   [&] { kernel(Parameters(arguments)...); });
}

}  // namespace mta::kernels
