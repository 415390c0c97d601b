// What an attention layer does between the scores and the output: named stages, and the tap on
// them.
#pragma once

#include "lib/ops/attention.h"
#include "lib/ops/decode.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace mta {

/// The rows of the square map that a call computes: row r stands at position first_row + r of the
/// `keys` tokens. Rows above first_row count as absent.
struct MapWindow {
  std::int64_t first_row = 0;
  std::int64_t rows = 0;
  std::int64_t keys = 0;
};

/// What a stage finds above the diagonal.
enum class Future {
  Zero,    ///< zeros: the rule for every stage but one
  Scores,  ///< the scores themselves: the `exact` convolution reads up to the row it writes
};

/// One step of an attention layer. On scores and weights it maps [B, H, R, T] -> [B, H', R, T], on
/// the output [B, H, R, d] -> the same. It need not mask anything: attend() does.
struct Stage {
  std::string name;
  std::function<at::Tensor(const at::Tensor& map, const MapWindow& window)> apply{};
  std::int64_t rows_above = 0;  ///< a row of the result depends on this many rows above it
  Future future = Future::Zero;
  /// Writes this stage into a fused call; empty when no fused form exists.
  std::function<void(ops::AttentionCall& call)> fuse{};
  /// The same for a stage on the output.
  std::function<void(ops::OutputStages& output)> fuse_output{};
};

struct AttentionPlan {
  std::vector<Stage> on_scores;   // between the scores and the softmax
  std::vector<Stage> on_weights;  // between the softmax and the weighted sum
  std::vector<Stage> on_output;   // after the weighted sum

  /// Rows above the first wanted one that must be computed too.
  std::int64_t rows_above() const {
    std::int64_t rows = 0;
    for (const auto* stages : {&on_scores, &on_weights}) {
      for (const Stage& stage : *stages) rows += stage.rows_above;
    }
    return rows;
  }
};

/// Sees the result of every map stage, [B, H, R, T] with zeros above the diagonal, by its name:
/// scores, kq_before, heads_before, softmax, (differential,) kq_after, heads_after, and a variant's
/// own.
using StageTap = std::function<void(std::string_view stage, const at::Tensor& map)>;

}  // namespace mta
