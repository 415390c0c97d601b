// The formulas.
#include "lib/kernels/cost.h"

#include "lib/kernels/shared_memory.h"

#include <algorithm>

namespace mta::kernels {
namespace {

constexpr double kBytes = 2;  // of a number in a map or tensor

/// Adds up stages, given by what they do to each logit and each row.
class Stages {
 public:
  explicit Stages(const CostShape& shape) : shape_(shape) {}

  /// `maps` and `tensors` that it reads or writes, `multiplications` a logit.
  void add(const char* name, int maps, int tensors, int multiplications) {
    const double map_bytes = kBytes * shape_.logits * maps;
    all_.push_back({name, map_bytes, map_bytes + kBytes * shape_.rows * shape_.head_dim * tensors,
                    2 * shape_.logits * multiplications});
  }
  const std::vector<StageCost>& all() const { return all_; }

 private:
  const CostShape& shape_;
  std::vector<StageCost> all_;
};

/// A convolution and the mixing after it, in two kernels or in one.
struct ConvolvedMixing {
  int taps, group;
  bool fused;
  const char *convolution, *mixing, *both;
};

/// `kept`: the convolved map is wanted later.
void add(Stages& stages, const ConvolvedMixing& pair, bool kept) {
  if (pair.fused) {
    stages.add(pair.both, kept ? 3 : 2, 0, pair.taps + pair.group);
    return;
  }
  if (pair.taps > 0) stages.add(pair.convolution, 2, 0, pair.taps);
  if (pair.group > 0) stages.add(pair.mixing, 2, 0, pair.group);
}

std::vector<StageCost> forward_stages(const CostShape& s) {
  Stages stages(s);
  if (s.forward_in_one_pass) {
    stages.add("forward in one pass", 0, 4, 2 * s.head_dim + s.taps_before);
    return stages.all();
  }
  stages.add("scores", 1, 2, s.head_dim);
  if (s.mixing_alone) {
    if (s.group_before > 0) stages.add("statistics of head mixing", 1, 0, s.group_before);
    stages.add("softmax and head mixing", 2, 0, s.group_after);
    stages.add("weighted sum", 1, 2, s.head_dim);
    return stages.all();
  }
  add(stages,
      {s.taps_before, s.group_before, s.fused_before, "convolution before softmax",
       "mixing before softmax", "convolution and mixing before softmax"},
      false);
  add(stages,
      {s.taps_after, s.group_after, s.fused_after, "convolution after softmax",
       "mixing after softmax", "convolution and mixing after softmax"},
      false);
  stages.add("weighted sum", 1, 2, s.head_dim);
  return stages.all();
}

std::vector<StageCost> mixing_alone_backward(const CostShape& s) {
  Stages stages(s);
  stages.add("scores, again", 1, 2, s.head_dim);
  stages.add("gradient of the weights", 1, 2, s.head_dim);
  stages.add("softmax and head mixing, dots", 2, 0, s.group_before + 2 * s.group_after);
  stages.add("softmax and head mixing, backward", 4, 0, 2 * s.group_before + s.group_after);
  stages.add("gradient of q", 1, 2, s.head_dim);
  stages.add("gradients of k and v", 2, 4, 2 * s.head_dim);
  return stages.all();
}

std::vector<StageCost> backward_stages(const CostShape& s) {
  if (s.mixing_alone) return mixing_alone_backward(s);
  Stages stages(s);
  if (s.backward_in_one_pass) {
    stages.add("backward in one pass", 2, 6, 3 * s.head_dim + 3 * s.taps_before);
    stages.add("gradients of k and v", 2, 4, 2 * s.head_dim);
    return stages.all();
  }
  stages.add("scores, again", 1, 2, s.head_dim);
  add(stages,
      {s.taps_before, s.group_before, s.fused_before, "convolution before softmax, again",
       "mixing before softmax, again", "convolution and mixing before softmax, again"},
      true);
  if (s.taps_after > 0 && !s.fused_after)
    stages.add("convolution after softmax, again", 2, 0, s.taps_after);
  // Where nothing stands after the softmax it also reads M, for the dots of rows.
  const bool with_dots = s.taps_after == 0 && s.group_after == 0;
  stages.add("gradient of the weights", with_dots ? 2 : 1, 2, s.head_dim);
  if (s.fused_after) {
    stages.add("convolution after softmax, again, and mixing after it, backward", 4, 0,
               s.taps_after + 3 * s.group_after);
  } else if (s.group_after > 0) {
    stages.add("mixing after softmax, backward", 4, 0, 3 * s.group_after);
  }
  if (s.taps_after > 0) stages.add("convolution after softmax, backward", 3, 0, 2 * s.taps_after);
  if (s.group_before > 0) {
    // Groups over 16 heads read M; smaller ones make it again.
    stages.add("softmax and mixing before it, backward", s.group_before > kUnitHeads ? 4 : 3, 0,
               2 * s.group_before);
  } else if (!s.softmax_streams) {
    stages.add("softmax, backward", 3, 0, 0);
  }
  if (s.softmax_streams) {
    stages.add("softmax and convolution before it, backward", 4, 0, 2 * s.taps_before);
  } else if (s.taps_before > 0) {
    stages.add("convolution before softmax, backward", 3, 0, 2 * s.taps_before);
  }
  stages.add("gradient of q", 1, 2, s.head_dim);
  stages.add("gradients of k and v", 2, 4, 2 * s.head_dim);
  return stages.all();
}

}  // namespace

double causal_logits(double batch, double heads, double tokens) {
  return 0.5 * batch * heads * tokens * (tokens + 1);
}

CostShape cost_shape(const Problem& p, Direction direction, std::size_t workspace_bytes,
                     int shared_bytes) {
  const auto taps = [](const Convolution& c) {
    return c.kernel == nullptr ? 0 : c.query_span * c.key_span;
  };
  const auto group = [](const Mixing& m) { return m.weight == nullptr ? 0 : m.group; };
  const WorkspacePlan plan = workspace_plan(p, direction, workspace_bytes);
  return {.logits = causal_logits(p.batch, p.heads, p.tokens),
          .rows = static_cast<double>(p.batch) * p.heads * p.tokens,
          .head_dim = p.head_dim,
          .taps_before = taps(p.conv_before),
          .taps_after = taps(p.conv_after),
          .group_before = group(p.mix_before),
          .group_after = group(p.mix_after),
          .forward_in_one_pass = forward_in_one_pass(p),
          .backward_in_one_pass = backward_in_one_pass(p),
          .fused_before = stages_are_fused(p.conv_before, p.mix_before, plan, shared_bytes),
          .fused_after = stages_are_fused(p.conv_after, p.mix_after, plan, shared_bytes),
          .mixing_alone = mixing_alone(p),
          .softmax_streams = softmax_streams(p, plan)};
}

std::vector<StageCost> stage_costs(const CostShape& shape, Pass pass) {
  return pass == Pass::Forward ? forward_stages(shape) : backward_stages(shape);
}

double floor_seconds(const StageCost& cost, double bytes_per_s, double operations_per_s) {
  return std::max(cost.bytes / bytes_per_s, cost.operations / operations_per_s);
}

double operations(const CostShape& shape, Pass pass) {
  double sum = 0;
  for (const StageCost& stage : stage_costs(shape, pass)) sum += stage.operations;
  return sum;
}

double map_bytes(const CostShape& shape, Pass pass) {
  double sum = 0;
  for (const StageCost& stage : stage_costs(shape, pass)) sum += stage.map_bytes;
  return sum;
}

}  // namespace mta::kernels
