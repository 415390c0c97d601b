// The GPU of tests labelled cuda, and memory on it that shows what nobody wrote.
#pragma once

#include "lib/ops/attention.h"

#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <limits>
#include <string>
#include <vector>

namespace mta::check {

/// Why the fused kernels cannot run here; empty if they can.
inline std::string no_gpu() {
  if (!at::hasCUDA() || at::detail::getCUDAHooks().getNumGPUs() == 0) return "no CUDA device";
  const at::Tensor x =
      at::zeros({1, 1, 1, 32}, at::TensorOptions(at::Device("cuda:0")).dtype(at::kHalf));
  return ops::cuda_unsupported({.q = x, .k = x, .v = x});
}

/// Fills what the caching allocator will hand out next with NaN: outputs and workspaces that are
/// not written everywhere then show.
inline void poison_free_memory() {
  std::vector<at::Tensor> blocks;
  const auto options = at::TensorOptions(at::Device("cuda:0")).dtype(at::kFloat);
  for (const std::int64_t bytes : {1 << 10, 1 << 14, 1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 27}) {
    for (int copies = 0; copies < 4; ++copies) {
      blocks.push_back(at::full({bytes / 4}, std::numeric_limits<float>::quiet_NaN(), options));
    }
  }
}

}  // namespace mta::check
