// Writes the dropout mask: a thread draws one Philox block, which decides eight keys of a row.
#include "lib/kernels/dropout.h"
#include "lib/kernels/dropout_mask.h"

#include <cuda_runtime.h>

#include <string>

namespace mta::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kBlockKeys = 8;  // keys of one Philox block
constexpr std::int64_t kMostBlocks = std::int64_t{1} << 20;

__global__ void __launch_bounds__(kThreads)
    mask_kernel(const Dropout dropout, const DropoutMask mask) {
  const std::int64_t blocks_a_row = (mask.keys + kBlockKeys - 1) / kBlockKeys;
  const std::int64_t count = mask.maps * mask.rows * blocks_a_row;
  const std::uint32_t stream = dropout.stream + (dropout.step == nullptr ? 0u : *dropout.step);
  const std::uint32_t threshold = dropout_threshold(dropout.rate);
  for (std::int64_t place = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; place < count;
       place += std::int64_t{gridDim.x} * kThreads) {
    const std::int64_t line = place / blocks_a_row;  // a row of a map
    const std::int64_t key = place % blocks_a_row * kBlockKeys;
    const DropoutBlock block =
        dropout_block(dropout.seed, stream, static_cast<std::uint32_t>(line / mask.rows),
                      static_cast<std::uint32_t>(mask.first_row + line % mask.rows),
                      static_cast<std::uint32_t>(key));
    std::uint8_t* to = mask.keep + line * mask.keys + key;
    for (int lane = 0; lane < kBlockKeys && key + lane < mask.keys; ++lane) {
      to[lane] = dropout_factor(block, lane, threshold) != 0.0f ? 1 : 0;
    }
  }
}

}  // namespace

Status dropout_mask(const Dropout& dropout, const DropoutMask& mask, Stream stream) {
  if (!(dropout.rate >= 0 && dropout.rate < 1)) {
    return fail(Status::InvalidArgument,
                "dropout rate " + std::to_string(dropout.rate) + " is not in [0, 1)");
  }
  if (mask.keep == nullptr) return fail(Status::InvalidArgument, "keep is a null pointer");
  const std::int64_t count = mask.maps * mask.rows * ((mask.keys + kBlockKeys - 1) / kBlockKeys);
  if (count == 0) return Status::Ok;
  const std::int64_t blocks = (count + kThreads - 1) / kThreads;
  mask_kernel<<<static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks), kThreads, 0,
                stream>>>(dropout, mask);
  const cudaError_t error = cudaGetLastError();
  if (error == cudaSuccess) return Status::Ok;
  return fail(Status::CudaError, std::string("dropout mask: ") + cudaGetErrorString(error));
}

}  // namespace mta::kernels
