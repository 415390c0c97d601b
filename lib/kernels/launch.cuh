// How every kernel of the chain is launched: each may start before the one before it has drained.
//
// Programmatic dependent launch: a kernel's blocks move in as soon as all blocks of its predecessor
// have started, and wait inside for its results. A chain of twenty kernels a chunk thus pays for
// ramps and launches only once.
#pragma once

#include <cuda_runtime.h>

namespace mta::kernels {

/// First statement of every kernel: lets the next kernel move in, then waits for the previous one's
/// writes.
__device__ inline void wait_for_previous_kernel() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
  asm volatile("griddepcontrol.wait;" ::: "memory");
}

/// Queues kernel(args...) on the stream. The caller reads cudaGetLastError.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, int shared_bytes,
            cudaStream_t stream, const Arguments&... arguments) {
  cudaLaunchAttribute early = {};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = static_cast<std::size_t>(shared_bytes);
  config.stream = stream;
  config.attrs = &early;
  config.numAttrs = 1;
  cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...);
}

}  // namespace mta::kernels
