// Asks the CUDA runtime about the current device.
#include "lib/kernels/device.h"

#include <cuda_runtime.h>

namespace mta::kernels {
namespace {

/// Stands for all kernels, which are built for the same architectures.
__global__ void __launch_bounds__(32) any_kernel() {}

int attribute(cudaDeviceAttr name, int device) {
  int value = 0;
  return cudaDeviceGetAttribute(&value, name, device) == cudaSuccess ? value : 0;
}

}  // namespace

Device current_device() {
  int device = 0;
  Device found;
  cudaFuncAttributes attributes;
  if (cudaGetDevice(&device) == cudaSuccess) {
    constexpr int kTen = 10;
    found.capability = kTen * attribute(cudaDevAttrComputeCapabilityMajor, device) +
                       attribute(cudaDevAttrComputeCapabilityMinor, device);
    found.shared_bytes = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    found.multiprocessors = attribute(cudaDevAttrMultiProcessorCount, device);
    found.has_code = cudaFuncGetAttributes(&attributes, any_kernel) == cudaSuccess;
    if (!found.has_code) cudaGetLastError();  // told by has_code, not to the next launch
  }
  return found;
}

}  // namespace mta::kernels
