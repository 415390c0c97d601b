// One attention layer: projections and rotary embedding around attend(), composed or fused.
#pragma once

#include "lib/attention/attend.h"
#include "lib/attention/builder.h"
#include "lib/attention/config.h"
#include "lib/attention/plan.h"
#include "lib/nn/parameters.h"
#include "lib/nn/rotary.h"
#include "lib/ops/attention.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace mta {

/// Queries, keys and values before rotation: q [B, R, D] of the last R tokens, k and v [B, T, D].
struct Projected {
  at::Tensor q, k, v;
};

/// Sees every map of every layer.
using Tap = std::function<void(std::int64_t layer, std::string_view stage, const at::Tensor& map)>;

struct AttentionOptions {
  std::int64_t first_row = 0;  // outputs are wanted for tokens from here on
  ops::Dropout dropout{};
  const Tap* tap = nullptr;  // a layer that is tapped runs composed
};

/// The stages of a layer; adds their parameters.
AttentionPlan make_plan(LayerBuilder& layer);

/// What decoding keeps of the tokens that it has seen. Starts empty. A copy is a bookmark: it
/// shares the memory, and going on from it writes over what came after it.
struct KvCache {
  /// [B, H, T, d], [B, H', T, d_v], of whose rows the first `seen` are in use; k rotated.
  at::Tensor k = {}, v = {};
  /// [B, H, up to rows_above, d]: the last queries, rotated; convolutions read them.
  at::Tensor q = {};
  std::int64_t seen = 0;
  std::int64_t room = 0;  // tokens that the first append makes room for, at least

  std::int64_t tokens() const { return seen; }
  /// Puts k and v of the next n tokens behind the others. Room is made by doubling it.
  void append(const at::Tensor& fresh_k, const at::Tensor& fresh_v);
};

class AttentionLayer {
 public:
  /// Adds its parameters under `prefix` ("layers.0.attention."). `compute` is the type of inputs.
  /// Throws UserError at /attention/path when the fused path is demanded and does not cover it.
  AttentionLayer(const AttentionConfig& config, const LayerShape& shape, Parameters& parameters,
                 const std::string& prefix, at::ScalarType compute);

  /// x [B, T, D] -> [B, T - first_row, D].
  at::Tensor forward(const at::Tensor& x, const RotaryTable& table,
                     const AttentionOptions& options) const;
  /// The same from projections, where q starts at first_query(first_row).
  at::Tensor forward(const Projected& projected, const RotaryTable& table,
                     const AttentionOptions& options) const;
  /// The next tokens x [B, n, D] after those in `cache`, to which they are added -> [B, n, D].
  at::Tensor decode(const at::Tensor& x, const RotaryTable& table, KvCache& cache) const;

  /// q, k and v of x [..., D], q only of the tokens from `first` on in the last dimension but one.
  Projected project(const at::Tensor& x, std::int64_t first) const;
  /// The first query that the outputs from first_row on depend on.
  std::int64_t first_query(std::int64_t first_row) const;

  /// The path that forward() takes without a tap, and why it is not the fused one. For a fused one:
  /// what else there is to know, such as which rows it leaves to the composed path; often empty.
  AttentionPath path() const { return path_; }
  const std::string& path_reason() const { return path_reason_; }
  /// Whether forward() is LibTorch's flash attention, whose dropout is drawn from a generator that
  /// goes on: a second forward() draws another mask.
  bool uses_flash() const { return uses_flash_; }
  /// Standard attention: no stage of any kind.
  bool is_standard() const {
    return plan_.on_scores.empty() && plan_.on_weights.empty() && plan_.on_output.empty();
  }

 private:
  void choose_path(AttentionPath wanted, const at::Tensor& like, at::ScalarType compute);
  /// Rotated queries, keys and values -> output rows from first_row on, projected. [B, n, D]
  at::Tensor attend_and_project(const AttendInput& input, const AttentionOptions& options) const;

  LayerShape shape_;
  std::int64_t weight_maps_ = 0;
  std::int64_t workspace_bytes_ = 0;
  at::Tensor wq_, wk_, wv_, wo_;  // [D, D], (out, in)
  AttentionPlan plan_;
  AttentionPath path_ = AttentionPath::Composed;
  std::string path_reason_;
  bool uses_flash_ = false;
};

}  // namespace mta
