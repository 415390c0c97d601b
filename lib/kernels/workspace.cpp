// Lays the buffers of a chunk out; chunk_choice.h says which chunks.
#include "lib/kernels/workspace.h"

#include "lib/kernels/chunk_choice.h"
#include "lib/kernels/shared_memory.h"
#include "lib/kernels/support.h"

namespace mta::kernels {
namespace {

constexpr std::size_t kAlignment = 256;

/// Hands out aligned ranges of the workspace.
class Layout {
 public:
  std::size_t take(std::size_t bytes) {
    const std::size_t offset = used_;
    used_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    return offset;
  }
  std::size_t used() const { return used_; }

 private:
  std::size_t used_ = 0;
};

/// One pair table for each head and query offset: table_words() in stages.h for the widest window.
std::size_t table_bytes(const Convolution& conv, int heads) {
  return product(sizeof(int), static_cast<std::size_t>(heads),
                 static_cast<std::size_t>(conv.query_span), 8 * kMaxBlocks + 16);
}

std::size_t mix_bytes(const MixingPlan& mix) {
  return product(2 * 16 * 16, static_cast<std::size_t>(mix.units),
                 static_cast<std::size_t>(mix.parts));
}

void take_tables(const Problem& p, Direction direction, Layout& layout, WorkspacePlan& plan) {
  const MixingPlan before = mixing_plan(p.mix_before, p.heads, plan.head_group),
                   after = mixing_plan(p.mix_after, p.heads, plan.head_group);
  const bool backward = direction == Direction::Backward;
  if (p.conv_before.kernel != nullptr) {
    plan.table_before = layout.take(table_bytes(p.conv_before, p.heads));
    if (backward) plan.flipped_before = layout.take(table_bytes(p.conv_before, p.heads));
  }
  if (p.conv_after.kernel != nullptr) {
    plan.table_after = layout.take(table_bytes(p.conv_after, p.heads));
    if (backward) plan.flipped_after = layout.take(table_bytes(p.conv_after, p.heads));
  }
  if (before.parts > 0) {
    plan.mix_before = layout.take(mix_bytes(before));
    if (backward) plan.unmix_before = layout.take(mix_bytes(before));
  }
  if (after.parts > 0) {
    plan.mix_after = layout.take(mix_bytes(after));
    if (backward) plan.unmix_after = layout.take(mix_bytes(after));
  }
}

/// Is a mixing group spread over several blocks of 16 heads?
bool is_wide(const Mixing& mix) { return mix.weight != nullptr && mix.group > kUnitHeads; }

/// Forward: every pointwise stage works in place unless a mixing group is spread over several
/// blocks.
void take_forward_maps(const Problem& p, Layout& layout, WorkspacePlan& plan) {
  const auto map = [&] { return layout.take(plan.map_bytes); };
  plan.scores = map();
  plan.convolved = p.conv_before.kernel != nullptr ? map() : plan.scores;
  plan.mixed = is_wide(p.mix_before) ? map() : plan.convolved;
  plan.reconvolved = p.conv_after.kernel != nullptr ? map() : plan.mixed;
  plan.weights = is_wide(p.mix_after) ? map() : plan.reconvolved;
}

/// Do several blocks read one tile of S in the backward of the convolution before softmax?
bool shares_score_tiles(const Convolution& conv) {
  const KeyWindow window = transposed(key_window(conv.pad_left, conv.key_span));
  return conv.query_span > offsets_a_block(window.blocks);
}

/// Backward keeps S, C and M; R, A, dP and dC follow each other in one buffer, dA and dR in
/// another. Where A is not stored, dC takes the place of dA and there is no first buffer. Head
/// mixing alone keeps S, then A, and dA, then dS.
void take_backward_maps(const Problem& p, Layout& layout, WorkspacePlan& plan) {
  const auto map = [&] { return layout.take(plan.map_bytes); };
  if (mixing_alone(p)) {
    plan.scores = plan.weights = map();
    plan.d_weights = plan.d_scores = map();
    return;
  }
  const bool wide_before = is_wide(p.mix_before);
  const bool wide_after = is_wide(p.mix_after);
  plan.scores = map();
  plan.convolved = p.conv_before.kernel != nullptr ? map() : plan.scores;
  plan.mixed = p.mix_before.weight != nullptr ? map() : plan.convolved;
  const std::size_t second = map();
  const std::size_t first = weights_from_softmax(p) ? WorkspacePlan::kNone : map();
  const std::size_t spare = wide_before || wide_after ? map() : WorkspacePlan::kNone;
  plan.reconvolved = p.conv_after.kernel != nullptr ? first : plan.mixed;
  plan.weights = wide_after ? spare : first;
  plan.d_weights = second;
  plan.d_reconvolved = wide_after ? map() : second;
  plan.d_softmax = p.conv_after.kernel != nullptr ? first : plan.d_reconvolved;
  plan.d_mixed = wide_before ? spare : weights_from_softmax(p) ? second : first;
  // A block writes dS over the S that it alone reads; where others read it too, over M, whose rows
  // have been used by then (score_rows lag behind all that read M).
  plan.d_scores = p.conv_before.kernel == nullptr     ? plan.d_mixed
                  : shares_score_tiles(p.conv_before) ? plan.mixed
                                                      : plan.scores;
}

/// Of dK and dV, between chunks.
void take_token_sums(const Problem& p, Layout& layout, WorkspacePlan& plan) {
  if (plan.rows >= p.tokens) return;
  const std::size_t bytes =
      product(sizeof(float), static_cast<std::size_t>(plan.batch_group * plan.head_group),
              static_cast<std::size_t>(p.tokens), static_cast<std::size_t>(p.head_dim));
  plan.d_k_sum = layout.take(bytes);
  plan.d_v_sum = layout.take(bytes);
}

void take_backward_sums(const Problem& p, Layout& layout, WorkspacePlan& plan) {
  const auto maps = static_cast<std::size_t>(plan.batch_group * plan.head_group);
  const auto all_maps = static_cast<std::size_t>(plan.batch_group * p.heads);
  const auto rows = static_cast<std::size_t>(plan.rows + kSpareRows);
  const auto batches = static_cast<std::size_t>(plan.batch_group);
  plan.dot_partials =
      layout.take(product(sizeof(float), maps, rows, static_cast<std::size_t>(plan.key_tiles)));
  plan.dots = layout.take(product(sizeof(float), maps, rows));
  plan.sums_begin = layout.used();
  const auto conv_sums = [&](const Convolution& conv, ConvolutionBlocks& blocks) {
    if (conv.kernel == nullptr) return WorkspacePlan::kNone;
    blocks = convolution_blocks(p, conv, plan);
    return layout.take(product(sizeof(float), all_maps, static_cast<std::size_t>(blocks.slots),
                               static_cast<std::size_t>(conv.query_span * conv.key_span)));
  };
  const auto mix_sums = [&](const Mixing& mix) {
    const MixingPlan m = mixing_plan(mix, p.heads, plan.head_group);
    if (m.parts == 0) return WorkspacePlan::kNone;
    return layout.take(product(sizeof(float) * 16 * 16, batches * static_cast<std::size_t>(m.units),
                               static_cast<std::size_t>(m.parts),
                               static_cast<std::size_t>(mixing_sum_slots(plan))));
  };
  plan.conv_sums_before = conv_sums(p.conv_before, plan.blocks_before);
  plan.conv_sums_after = conv_sums(p.conv_after, plan.blocks_after);
  plan.mix_sums_before = mix_sums(p.mix_before);
  plan.mix_sums_after = mix_sums(p.mix_after);
  plan.sums_end = layout.used();
  take_token_sums(p, layout, plan);
}

/// What a plan needs of chunks of `rows` rows whose maps keep `spare_rows` more.
WorkspacePlan chunk_plan(const Problem& p, const Flight& flight, int rows, int spare_rows) {
  WorkspacePlan plan;
  plan.batch_group = flight.batches;
  plan.head_group = flight.heads;
  plan.rows = min_of(rows, p.tokens);
  plan.launch = filled(p.launch, plan.rows);
  plan.key_tiles = ceil_div(p.tokens, kTileKeys);
  if (plan.launch.sum_parts == 0)
    plan.launch.sum_parts = sum_parts(flight.batches * flight.heads, plan.rows, plan.key_tiles);
  const int ring = max_of(min_of(plan.rows + spare_rows, p.tokens), kTileRows + spare_rows);
  plan.shape = map_shape(ring, plan.key_tiles, plan.rows >= p.tokens);
  plan.map_bytes = product(2, static_cast<std::size_t>(flight.batches * flight.heads),
                           static_cast<std::size_t>(map_numbers(plan.shape)));
  return plan;
}

WorkspacePlan plan_with(const Problem& p, Direction direction, const Flight& flight, int rows) {
  WorkspacePlan plan = chunk_plan(p, flight, rows, kSpareRows);
  Layout layout;
  const auto maps = static_cast<std::size_t>(flight.batches * flight.heads);
  take_tables(p, direction, layout, plan);
  if (direction == Direction::Forward) {
    plan.softmax_partials =
        layout.take(product(2 * sizeof(float), maps, static_cast<std::size_t>(plan.rows),
                            static_cast<std::size_t>(plan.key_tiles)));
    take_forward_maps(p, layout, plan);
  } else {
    take_backward_maps(p, layout, plan);
    take_backward_sums(p, layout, plan);
  }
  if (plan.launch.sum_parts > 1) {
    plan.sum_partials = layout.take(product(
        sizeof(float) * static_cast<std::size_t>(plan.launch.sum_parts * p.head_dim), maps,
        static_cast<std::size_t>(plan.rows + (direction == Direction::Backward ? kSpareRows : 0)),
        1));
  }
  plan.bytes = layout.used();
  return plan;
}

/// The backward in one pass: P and dS, and a slot of sums for each row tile.
WorkspacePlan one_pass_plan_with(const Problem& p, const Flight& flight, int rows) {
  WorkspacePlan plan = chunk_plan(p, flight, rows, 0);
  plan.launch.convolution_keys = plan.keys();  // a block walks all keys
  Layout layout;
  take_tables(p, Direction::Backward, layout, plan);
  plan.weights = layout.take(plan.map_bytes);
  plan.d_scores = layout.take(plan.map_bytes);
  plan.sums_begin = layout.used();
  const Convolution& conv = p.conv_before;
  plan.blocks_before = {false, kTileRows, plan.keys(), convolution_sum_slots(plan)};
  plan.conv_sums_before =
      layout.take(product(sizeof(float), static_cast<std::size_t>(flight.batches * p.heads),
                          static_cast<std::size_t>(plan.blocks_before.slots),
                          static_cast<std::size_t>(conv.query_span * conv.key_span)));
  plan.sums_end = layout.used();
  take_token_sums(p, layout, plan);
  plan.bytes = layout.used();
  return plan;
}

}  // namespace

MixingPlan mixing_plan(const Mixing& mix, int heads, int head_group) {
  if (mix.weight == nullptr) return {};
  const int group = mix.group;
  if (group <= kUnitHeads) {
    const int heads_a_unit = min_of(kUnitHeads / group * group, head_group);
    return {group, 1, ceil_div(heads, heads_a_unit), heads_a_unit};
  }
  const int parts = group <= 2 * kUnitHeads ? 2 : 4;
  return {group, parts, heads / group * parts, group};
}

bool gradients_stream(const Problem& p, const Convolution& conv) {
  const KeyWindow window = transposed(key_window(conv.pad_left, conv.key_span));
  return p.causality == Causality::Double && rows_fit_a_warp(conv.query_span, window);
}

bool convolves_by_tiles(const Problem& p, Direction direction) {
  const auto by_tiles = [&](const Convolution& conv, bool reaches_past_the_diagonal) {
    if (conv.kernel == nullptr) return false;
    const KeyWindow window = key_window(conv.pad_left, conv.key_span);
    return reaches_past_the_diagonal || !rows_fit_a_warp(conv.query_span, window) ||
           (direction == Direction::Backward && !gradients_stream(p, conv));
  };
  return by_tiles(p.conv_before, p.causality == Causality::Exact) || by_tiles(p.conv_after, false);
}

bool softmax_streams(const Problem& p, const WorkspacePlan& plan) {
  return p.conv_before.kernel != nullptr && p.mix_before.weight == nullptr &&
         plan.rows >= p.tokens && gradients_stream(p, p.conv_before);
}

ConvolutionBlocks convolution_blocks(const Problem& p, const Convolution& conv,
                                     const WorkspacePlan& plan) {
  if (!gradients_stream(p, conv)) {
    return {false, kTileRows, plan.launch.convolution_keys, convolution_sum_slots(plan)};
  }
  const int keys = kSegmentKeys, columns = ceil_div(plan.keys(), keys),
            rows = streamed_rows(plan.rows, plan.batch_group * plan.head_group * columns);
  return {true, rows, keys, ceil_div(plan.rows + kSpareRows, rows) * columns};
}

bool mixing_alone(const Problem& p) {
  if (p.conv_before.kernel != nullptr || p.conv_after.kernel != nullptr) return false;
  const MixingPlan before = mixing_plan(p.mix_before, p.heads, p.heads),
                   after = mixing_plan(p.mix_after, p.heads, p.heads);
  if (before.parts > 1 || after.parts > 1) return false;
  // One block must hold whole groups of both.
  if (before.parts == 1 && after.parts == 1) return before.heads_a_unit == after.heads_a_unit;
  // With a mixing before softmax alone the products make A from M, which is as fast.
  return after.parts == 1 || (before.parts == 1 && !weights_from_softmax(p));
}

bool forward_in_one_pass(const Problem& p) {
  const Convolution& conv = p.conv_before;
  return conv.kernel != nullptr && p.mix_before.weight == nullptr &&
         p.conv_after.kernel == nullptr && p.mix_after.weight == nullptr &&
         key_window(conv.pad_left, conv.key_span).blocks <= kMaxOnePassBlocks;
}

bool stages_are_fused(const Convolution& conv, const Mixing& mix, const WorkspacePlan& plan,
                      int shared_bytes) {
  if (conv.kernel == nullptr || mix.weight == nullptr) return false;
  const MixingPlan blocks = mixing_plan(mix, plan.head_group, plan.head_group);
  const KeyWindow window = key_window(conv.pad_left, conv.key_span);
  return blocks.parts == 1 && blocks.heads_a_unit >= plan.launch.fused_heads &&
         fused_stages_fit(window.blocks, conv.query_span, shared_bytes);
}

WorkspacePlan one_pass_plan(const Problem& p) {
  WorkspacePlan plan;
  Layout layout;
  plan.batch_group = min_of(p.batch, kMaxMaps / p.heads);
  plan.head_group = p.heads;
  plan.rows = p.tokens;
  take_tables(p, Direction::Forward, layout, plan);
  plan.bytes = layout.used();
  return plan;
}

bool backward_in_one_pass(const Problem& p) {
  const Convolution& conv = p.conv_before;
  const int right = conv.key_span - 1 - conv.pad_left;
  return forward_in_one_pass(p) && p.causality == Causality::Double &&
         conv.query_span <= kMaxBackwardSpan && conv.pad_left >= 1 && conv.pad_left <= kChunk &&
         right >= 1 && right <= kChunk;
}

WorkspacePlan one_pass_backward_plan(const Problem& p, std::size_t budget) {
  return best_plan(p, budget, [&](const Flight& flight, int rows) {
    return one_pass_plan_with(p, flight, rows);
  });
}

WorkspacePlan workspace_plan(const Problem& p, Direction direction, std::size_t budget) {
  return best_plan(p, budget, [&](const Flight& flight, int rows) {
    return plan_with(p, direction, flight, rows);
  });
}

std::size_t forward_workspace_bytes(const Problem& problem, std::size_t budget) {
  if (check(problem) != Status::Ok) return 0;
  if (forward_in_one_pass(problem)) return one_pass_plan(problem).bytes;
  return workspace_plan(problem, Direction::Forward, budget).bytes;
}

std::size_t backward_workspace_bytes(const Problem& problem, std::size_t budget, bool with_output) {
  if (check(problem) != Status::Ok) return 0;
  if (with_output && backward_in_one_pass(problem)) {
    return one_pass_backward_plan(problem, budget).bytes;
  }
  return workspace_plan(problem, Direction::Backward, budget).bytes;
}

}  // namespace mta::kernels
