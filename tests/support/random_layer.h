// An attention layer of any configuration with random weights, in double unless said otherwise.
#pragma once

#include "lib/attention/layer.h"
#include "lib/nn/parameters.h"
#include "lib/nn/rotary.h"
#include "tests/support/random_tensors.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace mta::check {

struct RandomLayer {
  static constexpr double kTheta =
      100;  // short wavelengths, so that positions matter in few tokens

  LayerShape shape;
  Parameters parameters;
  AttentionLayer layer;

  explicit RandomLayer(const AttentionConfig& config,
                       LayerShape wanted = {.dim = 8, .heads = 2, .layer = 1},
                       at::ScalarType type = at::kDouble)
      : shape(wanted),
        parameters(/*seed=*/3, at::TensorOptions().dtype(type)),
        layer(config, shape, parameters, "", type) {
    randomise(parameters);
  }

  RotaryTable table(std::int64_t positions) const {
    return make_rotary_table(positions, shape.head_dim(), kTheta,
                             parameters.named().front().second.options());
  }
  /// [B, T, D] -> [B, T - first_row, D]
  at::Tensor operator()(const at::Tensor& x, const AttentionOptions& options = {}) const {
    return layer.forward(x, table(x.size(1)), options);
  }
};

}  // namespace mta::check
