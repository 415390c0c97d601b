// What a layer's stages are built from: the configuration, the layer's sizes and its parameters.
#pragma once

#include "lib/attention/config.h"
#include "lib/nn/parameters.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>

namespace mta {

/// What an attention layer knows of the model around it.
struct LayerShape {
  std::int64_t dim = 0;    // model width D
  std::int64_t heads = 0;  // H; the head size is D / H
  std::int64_t layer = 0;  // 0-based; depth scales and kq_layers depend on it

  std::int64_t head_dim() const { return dim / heads; }
};

/// Handed to everything that makes stages; adds the layer's name to those of its parameters.
class LayerBuilder {
 public:
  LayerBuilder(const AttentionConfig& config, const LayerShape& shape, Parameters& parameters,
               std::string prefix)
      : config_(config), shape_(shape), parameters_(parameters), prefix_(std::move(prefix)) {}

  const AttentionConfig& config() const { return config_; }
  const LayerShape& shape() const { return shape_; }
  /// Maps that are left after the softmax: differential attention subtracts them in pairs.
  std::int64_t weight_maps() const {
    return config_.differential ? shape_.heads / 2 : shape_.heads;
  }
  /// Size of a value head, d_v: all D values are shared out among the maps.
  std::int64_t value_dim() const { return shape_.dim / weight_maps(); }

  at::Tensor add(const std::string& name, at::IntArrayRef sizes, const InitialValue& initial) {
    return parameters_.add(prefix_ + name, sizes, initial);
  }

 private:
  const AttentionConfig& config_;
  LayerShape shape_;
  Parameters& parameters_;
  std::string prefix_;
};

}  // namespace mta
