// One attention layer: projections and rotary embedding around attend(), composed or fused.
#pragma once

#include "lib/attention/attend.h"
#include "lib/attention/builder.h"
#include "lib/attention/config.h"
#include "lib/attention/plan.h"
#include "lib/nn/parameters.h"
#include "lib/nn/rotary.h"
#include "lib/ops/attention.h"
#include "lib/ops/decode.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace mta {

/// Queries, keys and values: q of the last R tokens, k and v of all T. As they are projected [B, R,
/// D] and [B, T, D], before rotation; in a cache [B, H, R, d] and [B, H, T, d], q and k rotated.
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
  /// [B, H, T, d], rotated, where convolutions read queries above the new ones; else undefined.
  at::Tensor q = {};
  std::int64_t seen = 0;
  std::int64_t room = 0;  // tokens that the first append makes room for, at least

  std::int64_t tokens() const { return seen; }
  /// Tokens that there is room for now.
  std::int64_t capacity() const { return k.defined() ? k.size(2) : 0; }
  /// Puts q (or none), k and v of the next n tokens behind the others. Room is made by doubling it.
  void append(const Projected& fresh);
  /// The same for one token at `position` [1], Long on the device, where there is room; `seen`
  /// stays as it is.
  void put(const Projected& fresh, const at::Tensor& position) const;
};

/// Where the next token stands, as memory on the device says it: a step of decoding that is
/// recorded reads it at each replay.
struct DevicePlace {
  at::Tensor position, length;  // [1], Long and Int: the tokens before it, and one more
  RotaryTable table;            // of this position alone
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
  /// The same from the projections of all tokens side by side, [B, T, 3 D], which on a GPU are not
  /// to be read any more.
  at::Tensor forward_joint(const at::Tensor& joint, const RotaryTable& table,
                           const AttentionOptions& options) const;
  /// The next tokens x [B, n, D] after those in `cache`, to which they are added -> [B, n, D].
  at::Tensor decode(const at::Tensor& x, const RotaryTable& table, KvCache& cache) const;
  /// The same for one token x [B, 1, D] whose place only the device knows; `cache` has room for it,
  /// and its `seen` stays as it is.
  at::Tensor decode_at(const at::Tensor& x, const DevicePlace& place, const KvCache& cache) const;
  /// Empty where decode_at() covers this layer and a cache like that; else the reason.
  std::string no_decode_at_because(const KvCache& cache) const;

  /// q, k and v of x [..., D], q only of the tokens from `first` on in the last dimension but one.
  Projected project(const at::Tensor& x, std::int64_t first) const;
  /// q, k and v side by side: [..., 3 D].
  at::Tensor project_jointly(const at::Tensor& x) const;
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
  /// For path_reason(): how the next token is decoded; `input` is of the layer's sizes and types.
  std::string decoding_path(const AttendInput& input) const;
  /// Rotated queries, keys and values -> output rows from first_row on, projected. [B, n, D]
  at::Tensor attend_and_project(const AttendInput& input, const AttentionOptions& options) const;
  /// q and k rotated, and v, each [B, T, H, d]; q from token `first` on.
  at::Tensor attend_rotated(const std::vector<at::Tensor>& qkv, std::int64_t first,
                            const AttentionOptions& options) const;
  /// Of x [B, n, D], rotated by the table's rows from `first` on, as a cache takes them.
  Projected rotated(const at::Tensor& x, const RotaryTable& table, std::int64_t first) const;
  /// What attend_newest() gives, with the stages on the output that are left, projected.
  at::Tensor attend_newest_and_project(const AttendInput& input, const ops::NewestRows& newest,
                                       const MapWindow& window) const;

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
