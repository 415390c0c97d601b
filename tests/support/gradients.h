// Autograd against central differences, in double, every element.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace mta::check {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

/// (f(x + h) - f(x - h)) / 2h for element i of the contiguous leaf `x`, which f reads.
inline double central_difference(const std::function<at::Tensor()>& f, const at::Tensor& x,
                                 std::int64_t i) {
  constexpr double kStep = 1e-6;
  double& element = x.data_ptr<double>()[i];
  const double middle = element;
  element = middle + kStep;
  const double above = f().item<double>();
  element = middle - kStep;
  const double below = f().item<double>();
  element = middle;
  return (above - below) / (2 * kStep);
}

/// Expects the gradients of the scalar f() in every element of `leaves` (contiguous double tensors
/// that require gradients) to match central differences to 1e-6 of the largest one or 1.
/// Weight outputs at random inside f: with a plain sum, transposed results look right.
inline void expect_gradients(const std::function<at::Tensor()>& f, const NamedTensors& leaves) {
  constexpr double kTolerance = 1e-6;
  for (const auto& [unused, leaf] : leaves) leaf.mutable_grad() = at::Tensor();
  f().backward();
  for (const auto& [name, leaf] : leaves) {
    ASSERT_TRUE(leaf.grad().defined()) << name << " has no gradient";
    const at::Tensor gradient = leaf.grad().contiguous();
    ASSERT_TRUE(leaf.is_contiguous()) << name;
    const double scale = std::max(1.0, gradient.abs().max().item<double>());
    const at::NoGradGuard no_grad;
    for (std::int64_t i = 0; i < leaf.numel(); ++i) {
      const double truth = central_difference(f, leaf, i);
      ASSERT_NEAR(gradient.data_ptr<double>()[i], truth, kTolerance * scale)
          << name << ", element " << i << " of " << leaf.numel();
    }
  }
}

}  // namespace mta::check
