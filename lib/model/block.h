// One transformer block: norm, attention, residual, norm, feed-forward, residual.
#pragma once

#include "lib/attention/config.h"
#include "lib/attention/layer.h"
#include "lib/model/config.h"
#include "lib/nn/parameters.h"
#include "lib/nn/rotary.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>

namespace mta {

/// Of the whole model; method, "The transformer around it".
inline constexpr double kNormEps = 1e-5;

/// What runs along the blocks, [B, T, D]: `x`, and what was last added to it, not added yet, so
/// that the norm that follows can do both in one pass. The update is undefined before the first
/// block.
struct Residual {
  at::Tensor x, update;
};

/// One table [V, D] twice, by its two uses, whose gradients can thus be told apart.
struct Embeddings {
  at::Tensor rows, projected;
};

class Block {
 public:
  /// Adds its parameters as "layers.<layer>.".
  Block(const ModelConfig& model, const AttentionConfig& attention, std::int64_t layer,
        Parameters& parameters, at::ScalarType compute);

  /// [B, T, D] -> [B, T - first_row, D].
  Residual forward(const Residual& x, const RotaryTable& table,
                   const AttentionOptions& options) const;
  /// The same for one block alone, summed up.
  at::Tensor forward(const at::Tensor& x, const RotaryTable& table,
                     const AttentionOptions& options) const;
  /// The same where x is rows of `embeddings`, chosen by tokens [B, T]: norm and projections are
  /// functions of the token alone, so that they are computed once for each entry.
  Residual forward_embedded(const Embeddings& embeddings, const at::Tensor& tokens,
                            const RotaryTable& table, const AttentionOptions& options) const;
  /// The next tokens [B, n, D] after those in `cache` -> [B, n, D].
  Residual decode(const Residual& x, const RotaryTable& table, KvCache& cache) const;
  /// The same for one token [B, 1, D] whose place only the device knows: see AttentionLayer.
  Residual decode_at(const Residual& x, const DevicePlace& place, const KvCache& cache) const;

  const AttentionLayer& attention() const { return attention_; }

 private:
  /// Adds the attention's result to its input, and hands on the feed-forward network's.
  Residual finish(const at::Tensor& x, const at::Tensor& attended) const;

  at::Tensor attention_norm_;  // [D]
  AttentionLayer attention_;
  at::Tensor ffn_norm_;      // [D]
  at::Tensor w1_, w2_, w3_;  // [hidden, D], [D, hidden], [hidden, D]
};

}  // namespace mta
