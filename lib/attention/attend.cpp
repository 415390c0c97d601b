// The one skeleton that all variants share.
#include "lib/attention/attend.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/softmax.h>

#include <cmath>
#include <limits>

namespace mta {
namespace {

/// The causal rule for a window of rows: column j of row r is the future when j > first_row + r.
class Causal {
 public:
  Causal(const MapWindow& window, const at::Tensor& like)
      : diagonal_(window.first_row),
        future_(at::ones({window.rows, window.keys}, like.options().dtype(at::kBool))
                    .triu(window.first_row + 1)) {}

  at::Tensor zero(const at::Tensor& map) const { return map.tril(diagonal_); }
  at::Tensor minus_infinity(const at::Tensor& map) const {
    return map.masked_fill(future_, -std::numeric_limits<double>::infinity());
  }

 private:
  std::int64_t diagonal_;
  at::Tensor future_;  // [R, T]
};

at::Tensor softmax(const at::Tensor& scores) {
  if (scores.scalar_type() == at::kDouble) return at::softmax(scores, -1);
  return at::softmax(scores, -1, at::kFloat).to(scores.scalar_type());
}

}  // namespace

at::Tensor attend(const AttentionPlan& plan, const AttendInput& input, const StageTap& tap) {
  const MapWindow window = input.window();
  const Causal causal(window, input.q);
  const auto show = [&](std::string_view stage, const at::Tensor& map) {
    if (tap) tap(stage, causal.zero(map));
  };
  const double scale = 1 / std::sqrt(static_cast<double>(input.q.size(3)));
  at::Tensor map = at::matmul(input.q * scale, input.k.transpose(2, 3));  // [B, H, R, T]
  show("scores", map);
  for (const Stage& stage : plan.on_scores) {
    map = stage.apply(stage.future == Future::Zero ? causal.zero(map) : map, window);
    show(stage.name, map);
  }
  map = softmax(causal.minus_infinity(map));
  show("softmax", map);
  for (const Stage& stage : plan.on_weights) {
    map = causal.zero(stage.apply(map, window));
    show(stage.name, map);
  }
  return at::matmul(ops::dropped(map, input.dropout, input.first_row), input.v);
}

at::Tensor finish(const AttentionPlan& plan, at::Tensor output, const MapWindow& window) {
  for (const Stage& stage : plan.on_output) output = stage.apply(output, window);
  return joined_heads(output);
}

at::Tensor joined_heads(const at::Tensor& output) { return output.transpose(1, 2).flatten(2); }

}  // namespace mta
