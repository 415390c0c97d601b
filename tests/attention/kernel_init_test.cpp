// How kernels and mixing matrices start.
#include "lib/attention/layer.h"
#include "lib/attention/registry.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <vector>

namespace mta {
namespace {

constexpr LayerShape kShape{.dim = 8, .heads = 2, .layer = 0};

/// The kernel of head 1 of a fresh layer.
at::Tensor fresh_kernel(KernelInit init, const KqConvolutionConfig& kq) {
  AttentionConfig config;
  config.kq_before = kq;
  config.init = init;
  Parameters parameters(/*seed=*/5, at::kDouble);
  const AttentionLayer layer(config, kShape, parameters, "", at::kDouble);
  return parameters.at("kq_before.kernel").detach().select(0, 1);
}

at::Tensor matrix(std::vector<double> values, at::IntArrayRef shape) {
  return at::tensor(values, at::kDouble).view(shape);
}

TEST(KernelInit, IdentityIsOneAtTheCurrentQueryAndKey) {
  // clang-format off
  EXPECT_TRUE(fresh_kernel(KernelInit::Identity, {.query = 2, .key = 5, .pad = KeyPad::Both})
                  .equal(matrix({0, 0, 0, 0, 0,
                                 0, 0, 1, 0, 0}, {2, 5})));
  EXPECT_TRUE(fresh_kernel(KernelInit::Identity, {.query = 2, .key = 4, .pad = KeyPad::Both})
                  .equal(matrix({0, 0, 0, 0,
                                 0, 1, 0, 0}, {2, 4})));
  EXPECT_TRUE(fresh_kernel(KernelInit::Identity, {.query = 2, .key = 3, .pad = KeyPad::Left})
                  .equal(matrix({0, 0, 0,
                                 0, 0, 1}, {2, 3})));
  EXPECT_TRUE(fresh_kernel(KernelInit::Identity, {.query = 2, .key = 3, .pad = KeyPad::Right})
                  .equal(matrix({0, 0, 0,
                                 1, 0, 0}, {2, 3})));
  // clang-format on
}

TEST(KernelInit, DiagonalEndsAtTheCurrentQueryAndKey) {
  // clang-format off
  EXPECT_TRUE(fresh_kernel(KernelInit::Diagonal, {.query = 3, .key = 5, .pad = KeyPad::Both})
                  .equal(matrix({1, 0, 0, 0, 0,
                                 0, 1, 0, 0, 0,
                                 0, 0, 1, 0, 0}, {3, 5})));
  EXPECT_TRUE(fresh_kernel(KernelInit::Diagonal, {.query = 3, .key = 2, .pad = KeyPad::Left})
                  .equal(matrix({0, 0,
                                 1, 0,
                                 0, 1}, {3, 2})));
  // clang-format on
}

TEST(KernelInit, ConstantsAndRanges) {
  const KqConvolutionConfig kq{.query = 20, .key = 50};
  EXPECT_TRUE(fresh_kernel(KernelInit::Zero, kq).equal(at::full({20, 50}, 0.0, at::kDouble)));
  EXPECT_TRUE(fresh_kernel(KernelInit::Constant, kq).equal(at::full({20, 50}, 0.3, at::kDouble)));
  const at::Tensor uniform = fresh_kernel(KernelInit::Uniform, kq);
  EXPECT_LT(uniform.abs().max().item<double>(), 1);
  EXPECT_NEAR(uniform.std().item<double>(), 2 / std::sqrt(12.0), 0.03);
  const at::Tensor normal = fresh_kernel(KernelInit::Normal, kq);
  EXPECT_LE(normal.abs().max().item<double>(), 0.9);
  EXPECT_NEAR(normal.std().item<double>(), 0.3, 0.02);
  EXPECT_NEAR(normal.mean().item<double>(), 0, 0.04);
}

TEST(KernelInit, MixingMatricesStartAsTheIdentity) {
  AttentionConfig config = preset("multi_token");
  config.init = KernelInit::Uniform;
  config.heads_after = {.group = 1};
  Parameters parameters(/*seed=*/5, at::kDouble);
  const AttentionLayer layer(config, kShape, parameters, "", at::kDouble);
  EXPECT_TRUE(
      parameters.at("heads_before.weight").detach().equal(at::eye(2, at::kDouble).view({1, 2, 2})));
  EXPECT_TRUE(
      parameters.at("heads_after.weight").detach().equal(at::full({2, 1, 1}, 1.0, at::kDouble)));
}

TEST(KernelInit, DifferentialStartsWithSmallVectors) {
  Parameters parameters(/*seed=*/5, at::kDouble);
  const AttentionLayer layer(preset("differential"), {.dim = 400, .heads = 2, .layer = 0},
                             parameters, "", at::kDouble);
  for (const char* name : {"q1", "k1", "q2", "k2"}) {
    const at::Tensor vector = parameters.at(std::string("differential.lambda_") + name).detach();
    EXPECT_EQ(vector.size(0), 200);
    EXPECT_NEAR(vector.std().item<double>(), 0.1, 0.02);
  }
}

}  // namespace
}  // namespace mta
