// Random tensors for tests: functions of (seed, name), without a global generator.
#pragma once

#include "lib/core/rng.h"
#include "lib/nn/parameters.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <cstdint>
#include <string_view>

namespace mta::check {

/// Uniform in (-1, 1), double.
inline at::Tensor random_tensor(at::IntArrayRef shape, std::string_view name) {
  at::Tensor tensor = at::empty(shape, at::kDouble);
  Rng rng(/*seed=*/1, stream_of(name), /*index=*/0);
  for (std::int64_t i = 0; i < tensor.numel(); ++i) {
    tensor.data_ptr<double>()[i] = 2 * rng.uniform() - 1;
  }
  return tensor;
}

/// Tokens in [0, vocabulary), int64.
inline at::Tensor random_tokens(at::IntArrayRef shape, std::uint32_t vocabulary,
                                std::string_view name) {
  at::Tensor tensor = at::empty(shape, at::kLong);
  Rng rng(/*seed=*/1, stream_of(name), /*index=*/0);
  for (std::int64_t i = 0; i < tensor.numel(); ++i) {
    tensor.data_ptr<std::int64_t>()[i] = rng.below(vocabulary);
  }
  return tensor;
}

/// Moves every parameter away from where it starts: identity kernels hide mistakes.
inline void randomise(const Parameters& parameters) {
  const at::NoGradGuard no_grad;
  constexpr double kReach = 0.4;
  for (const auto& [name, tensor] : parameters.named()) {
    tensor.add_(random_tensor(tensor.sizes(), name).to(tensor.options()), kReach);
  }
}

/// Norm of the difference over norm of the truth, in double.
inline double relative_error(const at::Tensor& found, const at::Tensor& truth) {
  const at::Tensor wide = truth.detach().to(at::kDouble);
  return ((found.detach().to(at::kDouble) - wide).norm() / wide.norm()).item<double>();
}

}  // namespace mta::check
