// How every kernel of the chain is launched: each may start before the one before it has drained.
//
// Programmatic dependent launch: a kernel's blocks move in as soon as all blocks of its predecessor
// have started, and wait inside for its results. A chain of twenty kernels a chunk thus pays for
// ramps and launches only once. It needs compute capability 9.0: code for older cards has no wait,
// and is launched the usual way.
#pragma once

#include <cuda_runtime.h>

namespace mta::kernels {

/// First statement of every kernel: lets the next kernel move in, then waits for the previous one's
/// writes.
__device__ inline void wait_for_previous_kernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/// Does the code that this device runs of a kernel wait by itself?
template <class... Parameters>
bool starts_early(void (*kernel)(Parameters...)) {
  constexpr int kArchitectures[] = {__CUDA_ARCH_LIST__};  // ascending
  if (kArchitectures[0] >= 900) return true;
  constexpr int kFirst = 90;
  cudaFuncAttributes attributes = {};
  return cudaFuncGetAttributes(&attributes, kernel) == cudaSuccess &&
         attributes.ptxVersion >= kFirst;
}

/// The shared memory that the launch asked for, at a multiple of 256 bytes.
template <class Value>
__device__ __forceinline__ Value* dynamic_shared() {
  extern __shared__ __align__(256) unsigned char shared_bytes[];
  return reinterpret_cast<Value*>(shared_bytes);
}

/// Queues kernel(args...) on the stream. The caller reads cudaGetLastError. All kernels ask for the
/// same split of a multiprocessor's memory, as much of it shared as there is: a kernel that starts
/// early finds the split of the one before it, which else may hold fewer of its blocks.
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
  config.numAttrs = starts_early(kernel) ? 1 : 0;
  cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                       cudaSharedmemCarveoutMaxShared);
  cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...);
}

}  // namespace mta::kernels
