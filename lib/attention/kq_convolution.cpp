// The key-query convolution: padding, both kinds of causality, initial kernels.
#include "lib/attention/stages.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/zeros.h>

namespace mta {
namespace {

constexpr double kConstantStart = 0.3;
constexpr double kNormalSigma = 0.3;

/// Zero columns on the left of the keys: p of the method's stage 3.
std::int64_t left_pad(const KqConvolutionConfig& config) {
  switch (config.pad) {
    case KeyPad::Left:
      return config.key - 1;
    case KeyPad::Right:
      return 0;
    case KeyPad::Both:
      break;
  }
  return (config.key - 1) / 2;
}

/// Kernels of one entry for every query offset: the identity
///     0 0 0 0 0                          1 0 0 0 0
///     0 0 0 0 0    or the `diagonal`     0 1 0 0 0    which follows the same distance upwards.
///     0 0 1 0 0                          0 0 1 0 0
at::Tensor pointed_kernels(const KqConvolutionConfig& config, std::int64_t heads, bool diagonal) {
  at::Tensor kernel = at::zeros({heads, config.query, config.key}, at::kDouble);
  for (std::int64_t above = 0; above < (diagonal ? config.query : 1); ++above) {
    const std::int64_t column = left_pad(config) - above;
    if (column >= 0) kernel.select(1, config.query - 1 - above).select(1, column).fill_(1);
  }
  return kernel;
}

InitialValue initial_kernel(KernelInit init, const KqConvolutionConfig& config,
                            std::int64_t heads) {
  switch (init) {
    case KernelInit::Zero:
      return InitialValue::constant(0);
    case KernelInit::Constant:
      return InitialValue::constant(kConstantStart);
    case KernelInit::Uniform:
      return InitialValue::uniform(-1, 1);
    case KernelInit::Normal:
      return InitialValue::truncated_normal(kNormalSigma);
    case KernelInit::Diagonal:
      return InitialValue::of(pointed_kernels(config, heads, true));
    case KernelInit::Identity:
      break;
  }
  return InitialValue::of(pointed_kernels(config, heads, false));
}

/// C[i, j] = sum_{a, b} kernel[h, a, b] map[i - (c_q-1) + a, j - p + b], zero outside the map.
/// map [B, H, R, T], kernel [H, c_q, c_k].
at::Tensor convolve(const at::Tensor& map, const at::Tensor& kernel, std::int64_t pad_left) {
  const std::int64_t pad_right = kernel.size(2) - 1 - pad_left;
  const at::Tensor padded =
      at::constant_pad_nd(map, {pad_left, pad_right, kernel.size(1) - 1, 0}, 0);
  return at::conv2d(padded, kernel.unsqueeze(1), /*bias=*/{}, /*stride=*/1,
                    /*padding=*/at::IntArrayRef{0}, /*dilation=*/1, /*groups=*/kernel.size(0));
}

/// The paper's equation (4): row i reads keys up to i, also in the rows above it. Row by row of the
/// kernel: what row i - s contributes is cut at its own diagonal + s, convolved, and moved down by
/// s.
at::Tensor convolve_exactly(const at::Tensor& scores, const at::Tensor& kernel,
                            std::int64_t pad_left, const MapWindow& window) {
  at::Tensor sum;
  for (std::int64_t a = 0; a < kernel.size(1); ++a) {
    const std::int64_t shift = kernel.size(1) - 1 - a;
    if (shift >= window.rows) continue;  // these rows are above the window
    const at::Tensor seen = scores.tril(window.first_row + shift);
    const at::Tensor row = convolve(seen, kernel.narrow(1, a, 1), pad_left);
    const at::Tensor moved =
        at::constant_pad_nd(row.narrow(2, 0, window.rows - shift), {0, 0, shift, 0}, 0);
    sum = sum.defined() ? sum + moved : moved;
  }
  return sum;
}

}  // namespace

Stage kq_convolution(LayerBuilder& layer, const KqConvolutionConfig& config, Side side) {
  const bool before = side == Side::BeforeSoftmax;
  const bool exact = before && layer.config().causality == Causality::Exact;
  const std::string name = before ? "kq_before" : "kq_after";
  const std::int64_t maps = before ? layer.shape().heads : layer.weight_maps();
  const std::int64_t pad_left = left_pad(config);
  const at::Tensor kernel = layer.add(name + ".kernel", {maps, config.query, config.key},
                                      initial_kernel(layer.config().init, config, maps));
  return {.name = name,
          .apply =
              [=](const at::Tensor& map, const MapWindow& window) {
                const at::Tensor typed = kernel.to(map.scalar_type());
                return exact ? convolve_exactly(map, typed, pad_left, window)
                             : convolve(map, typed, pad_left);
              },
          .rows_above = config.query - 1,
          .future = exact ? Future::Scores : Future::Zero,
          .fuse =
              [=](ops::AttentionCall& call) {
                (before ? call.kq_before : call.kq_after) = ops::KqConvolution{
                    .kernel = kernel,
                    .pad_left = pad_left,
                    .causality = exact ? ops::Causality::Exact : ops::Causality::Double};
              }};
}

}  // namespace mta
