// Asks the CUDA runtime about LibTorch's stream.
#include "lib/ops/cuda/queue.h"

#include <cuda_runtime_api.h>

namespace mta::ops::cuda {

bool is_capturing(c10::Device device) {
  const Queue queue(device);
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  const cudaError_t error = cudaStreamIsCapturing(queue.stream(), &status);
  TORCH_CHECK(error == cudaSuccess, "stream of ", device, ": ", cudaGetErrorString(error));
  return status != cudaStreamCaptureStatusNone;
}

}  // namespace mta::ops::cuda
