// What the tests of lib/nn on a GPU share: a function against separate operations and itself.
#pragma once

#include "tests/support/random_tensors.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

namespace mta {

using check::random_tensor;
using check::relative_error;
using Tensors = std::vector<at::Tensor>;

inline constexpr double kEps = 1e-5;
inline constexpr at::ScalarType kTypes[] = {at::kFloat, at::kBFloat16};

class CudaFunctions : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  }
};

/// Several outputs from several inputs.
using Function = std::function<Tensors(const Tensors&)>;

/// Outputs and then gradients of f at `inputs`, for outputs weighted at random, with weights that
/// are the same in every type.
inline Tensors with_gradients(const Function& f, const Tensors& inputs) {
  Tensors leaves;
  for (const at::Tensor& input : inputs) {
    leaves.push_back(input.detach().clone().set_requires_grad(true));
  }
  Tensors results = f(leaves);
  at::Tensor sum;
  for (std::size_t i = 0; i < results.size(); ++i) {
    const at::Tensor weight =
        random_tensor(results[i].sizes(), "out" + std::to_string(i)).to(at::kBFloat16);
    const at::Tensor part = (results[i] * weight.to(results[i].options())).to(at::kDouble).sum();
    sum = sum.defined() ? sum + part : part;
  }
  sum.backward();
  for (const at::Tensor& leaf : leaves) results.push_back(leaf.grad());
  return results;
}

/// `fused` may be off from double by twice what `separate` is, both from the same rounded inputs,
/// and by `slack`, and gives the same bits twice.
inline void expect_as_exact(const Function& fused, const Function& separate, const Tensors& inputs,
                            const std::string& what, double slack = 1e-7) {
  Tensors wide;
  for (const at::Tensor& input : inputs) wide.push_back(input.to(at::kCPU, at::kDouble));
  const Tensors truth = with_gradients(separate, wide);
  const Tensors found = with_gradients(fused, inputs), again = with_gradients(fused, inputs);
  const Tensors rival = with_gradients(separate, inputs);
  for (std::size_t i = 0; i < truth.size(); ++i) {
    const double allowed = 2 * relative_error(rival[i].cpu(), truth[i]) + slack;
    EXPECT_LE(relative_error(found[i].cpu(), truth[i]), allowed) << what << ", result " << i;
    EXPECT_TRUE(at::equal(found[i], again[i])) << what << ", result " << i << " twice";
  }
}

inline at::Tensor on_gpu(at::IntArrayRef shape, const char* name, at::ScalarType type) {
  return random_tensor(shape, name).to(at::kCUDA, type);
}

}  // namespace mta
