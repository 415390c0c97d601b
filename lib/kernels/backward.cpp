// The backward chain: recomputes the maps of a chunk, then walks the stages back; gradient stages
// may lag behind.
#include "lib/kernels/attention.h"
#include "lib/kernels/chain.h"
#include "lib/kernels/device.h"
#include "lib/kernels/dropout.h"
#include "lib/kernels/support.h"

#include <tuple>
#include <utility>

namespace mta::kernels {
namespace {

Status check_arguments(const BackwardParams& params) {
  const std::pair<const Tensor*, const char*> tensors[] = {
      {&params.q, "q"},     {&params.k, "k"},     {&params.v, "v"},    {&params.d_o, "d_o"},
      {&params.d_q, "d_q"}, {&params.d_k, "d_k"}, {&params.d_v, "d_v"}};
  for (const auto& [tensor, name] : tensors) {
    if (const Status s = check_tensor(*tensor, name); s != Status::Ok) return s;
  }
  if (params.o.data != nullptr) {
    if (const Status s = check_tensor(params.o, "o"); s != Status::Ok) return s;
  }
  const Problem& p = params.problem;
  const std::tuple<bool, const float*, const char*> gradients[] = {
      {p.conv_before.kernel != nullptr, p.conv_before.gradient,
       "gradient of the kq convolution before softmax"},
      {p.conv_after.kernel != nullptr, p.conv_after.gradient,
       "gradient of the kq convolution after softmax"},
      {p.mix_before.weight != nullptr, p.mix_before.gradient,
       "gradient of the head mixing before softmax"},
      {p.mix_after.weight != nullptr, p.mix_after.gradient,
       "gradient of the head mixing after softmax"}};
  for (const auto& [is_on, pointer, name] : gradients) {
    if (!is_on) continue;
    if (const Status s = check_pointer(pointer, name); s != Status::Ok) return s;
  }
  return check_pointer(params.lse, "lse");
}

/// A and dS, and the gradients of both mixings, from S and dA.
void gradients_of_mixing_alone(Chain& chain, const float* lse) {
  const ElementType type = chain.problem().type;
  const MixingAloneArgs args = chain.mixing_alone_args(lse);
  chain.run("softmax and head mixing, dots",
            [&] { MixingAlone::dots(args, type, chain.stream()); });
  chain.run("row dots", [&] {
    finish_dots(args.extent, args.row_dots, chain.at<float>(chain.plan().dots), chain.stream());
  });
  chain.run("softmax and head mixing, backward",
            [&] { MixingAlone::gradients(args, type, chain.stream()); });
}

/// A and dR (and the gradient of the mixing after softmax) from M and dA where one kernel makes R
/// again and mixes it.
void convolved_weights_and_gradient(Chain& chain, const float* lse) {
  const Problem& p = chain.problem();
  const WorkspacePlan& plan = chain.plan();
  ConvolvedMixingArgs args = chain.convolved_weights(lse);
  args.transposed = chain.mixing_blocks(plan.unmix_after, args.plan);
  args.gradient = chain.map(plan.d_weights);
  args.d_target = chain.map(plan.d_reconvolved);
  args.sums = chain.mixing_sums(plan.mix_sums_after, args.plan);
  args.slots = mixing_sum_slots(plan);
  chain.run("kq convolution after softmax, and head mixing after it, backward", [&] {
    with_convolved_mixing(
        args.window, [&](auto kernels) { kernels.after_backward(args, p.type, chain.stream()); });
  });
}

/// A and dR (and the gradient of the mixing after softmax) from R or M, and dA.
void weights_and_gradient(Chain& chain, const float* lse) {
  const Problem& p = chain.problem();
  const WorkspacePlan& plan = chain.plan();
  const bool convolves = p.conv_after.kernel != nullptr;
  if (p.mix_after.weight != nullptr) {
    MixingArgs args = chain.mixing(p.mix_after, chain.chunk().rows);
    args.weights = chain.mixing_blocks(plan.mix_after, args.plan);
    args.transposed = chain.mixing_blocks(plan.unmix_after, args.plan);
    args.source = chain.map(plan.reconvolved);
    args.source_is_softmax = !convolves;
    args.gradient = chain.map(plan.d_weights);
    args.target = chain.map(plan.weights);
    args.d_target = chain.map(plan.d_reconvolved);
    args.lse = chain.rows(lse);
    args.dropout = chain.dropout();
    args.sums = chain.mixing_sums(plan.mix_sums_after, args.plan);
    if (!convolves) args.row_dots = chain.dots();
    chain.run("head mixing after softmax, backward", [&] {
      with_mixing(args.plan,
                  [&](auto kernels) { kernels.after_backward(args, p.type, chain.stream()); });
    });
  } else if (!convolves && !weights_from_softmax(p)) {
    PointwiseArgs args = {};
    args.extent = chain.extent(chain.chunk().rows, 0);
    args.mixed = chain.map(plan.mixed);
    args.gradient = chain.map(plan.d_weights);
    args.target = chain.map(plan.weights);
    args.lse = chain.rows(lse);
    args.row_dots = chain.dots();
    args.dropout = chain.dropout();
    chain.run("softmax weights and dots", [&] { softmax_weights(args, p.type, chain.stream()); });
  }
}

struct ConvolutionBackward {
  const char* stage;
  const Convolution& conv;
  MapKind kind;
  RowRange rows;
  int reach;
  std::size_t d_output, source, target, tables, sums;
  const ConvolutionBlocks& blocks;
};

void unconvolve(Chain& chain, const ConvolutionBackward& step, const float* lse) {
  ConvolutionBackwardArgs args = {};
  args.extent = chain.extent(step.rows, step.reach);
  args.d_output = chain.map(step.d_output);
  args.source = chain.map(step.source);
  args.target = chain.map(step.target);
  args.query_span = step.conv.query_span;
  args.window = transposed(key_window(step.conv.pad_left, step.conv.key_span));
  args.tables = chain.tables(step.tables, args.query_span, args.window);
  args.lse = chain.rows(lse);
  const ConvolutionBlocks& blocks = step.blocks;
  args.sums = chain.convolution_sums(step.sums, step.conv, blocks.slots);
  args.slots = blocks.slots;
  args.strips = ceil_div(chain.plan().keys(), blocks.keys);
  args.strip_tiles = blocks.keys / kTileKeys;
  args.block_rows = blocks.rows;
  if (step.kind == MapKind::SoftmaxWeights) args.dots = chain.dots();
  if (step.kind == MapKind::ScoresBeforeSoftmax) {
    args.mixed = chain.map(chain.plan().mixed);
    args.row_dots = chain.at<float>(chain.plan().dots);
    args.dot_rows = chain.plan().rows + kSpareRows;
  }
  chain.run(step.stage, [&] {
    const auto run = blocks.streamed ? launch_convolution_streamed : launch_convolution_backward;
    run(step.kind, args, chain.problem().type, chain.stream());
  });
}

/// dC from M, dP and the row dots, and the gradient of the mixing before softmax; the row dots
/// alone where the convolution's backward makes dC.
void softmax_gradient(Chain& chain, const float* lse) {
  const Problem& p = chain.problem();
  const WorkspacePlan& plan = chain.plan();
  const RowRange rows = chain.chunk().softmax_rows;
  auto* dots = chain.at<float>(plan.dots);
  chain.run("row dots",
            [&] { finish_dots(chain.extent(rows, 0), chain.dots(), dots, chain.stream()); });
  if (softmax_streams(p, plan)) return;
  if (p.mix_before.weight == nullptr) {
    PointwiseArgs args = {};
    args.extent = chain.extent(rows, 0);
    args.mixed = chain.map(plan.mixed);
    args.gradient = chain.map(plan.d_softmax);
    args.target = chain.map(plan.d_mixed);
    args.lse = chain.rows(lse);
    args.dots = dots;
    args.dot_rows = plan.rows + kSpareRows;
    chain.run("softmax, backward", [&] { softmax_backward(args, p.type, chain.stream()); });
    return;
  }
  MixingArgs args = chain.mixing(p.mix_before, rows);
  args.weights = chain.mixing_blocks(plan.mix_before, args.plan);
  args.transposed = chain.mixing_blocks(plan.unmix_before, args.plan);
  args.lse = chain.rows(lse);
  args.dots = dots;
  args.dot_rows = plan.rows + kSpareRows;
  args.source = chain.map(plan.convolved);
  args.mixed = chain.map(plan.mixed);
  args.gradient = chain.map(plan.d_softmax);
  args.d_target = chain.map(plan.d_mixed);
  args.sums = chain.mixing_sums(plan.mix_sums_before, args.plan);
  chain.run("softmax and head mixing before it, backward", [&] {
    with_mixing(args.plan,
                [&](auto kernels) { kernels.before_backward(args, p.type, chain.stream()); });
  });
}

TransposedSum transposed_sum(const Chain& chain, std::size_t map, const Tensor& x,
                             const Tensor& target, std::size_t sum, float factor) {
  return {chain.map(map), chain.tensor(x), chain.tensor(target), chain.at<float>(sum), factor};
}

void add_transposed(Chain& chain, const char* stage, const TransposedSumArgs& args) {
  chain.run(stage,
            [&] { chain.products().transposed_sum(args, chain.problem().type, chain.stream()); });
}

/// dA, then A and dR (with head mixing alone dS), then dV.
void gradients_of_weighted_sum(Chain& chain, const BackwardParams& params) {
  const Problem& p = chain.problem();
  const WorkspacePlan& plan = chain.plan();
  const RowRange rows = chain.chunk().rows;
  const bool from_softmax = weights_from_softmax(p);
  chain.run("gradient of the weights", [&] {
    ScoresArgs args = {};
    args.extent = chain.extent(rows, 0);
    args.strip_tiles = plan.launch.score_keys / kTileKeys;
    args.x = chain.tensor(params.d_o);
    args.y = chain.tensor(params.v);
    args.target = chain.map(plan.d_weights);
    args.factor = 1;
    args.dropout = chain.dropout();
    args.mixed = chain.map(plan.mixed);
    args.lse = chain.rows(params.lse);
    if (from_softmax) args.dots = chain.dots();
    chain.products().weight_gradient(args, p.type, chain.stream());
  });
  if (mixing_alone(p)) {
    gradients_of_mixing_alone(chain, params.lse);
  } else if (chain.fuses(p.conv_after, p.mix_after)) {
    convolved_weights_and_gradient(chain, params.lse);
  } else {
    weights_and_gradient(chain, params.lse);
  }
  const std::size_t map = from_softmax ? plan.mixed : plan.weights;
  add_transposed(chain, "gradient of v",
                 {chain.extent(rows, 0),
                  from_softmax ? chain.rows(params.lse) : nullptr,
                  {transposed_sum(chain, map, params.d_o, params.d_v, plan.d_v_sum, 1.0f)},
                  1,
                  plan.launch.sum_ahead});
}

/// dQ and dK from dS.
void gradients_of_scores(Chain& chain, const BackwardParams& params) {
  const Problem& p = chain.problem();
  const WorkspacePlan& plan = chain.plan();
  const RowRange rows = chain.chunk().score_rows;
  const int reach = score_reach(p);
  chain.run("gradient of q", [&] {
    chain.products().weighted_sum(
        {chain.extent(rows, reach), chain.map(plan.d_scores), chain.tensor(params.k),
         chain.tensor(params.d_q), p.scale, nullptr, chain.at<float>(plan.sum_partials),
         plan.launch.sum_parts, plan.launch.sum_ahead},
        p.type, chain.stream());
  });
  add_transposed(
      chain, "gradient of k",
      {chain.extent(rows, reach),
       nullptr,
       {transposed_sum(chain, plan.d_scores, params.q, params.d_k, plan.d_k_sum, p.scale)},
       1,
       plan.launch.sum_ahead});
}

void backward_chunk(Chain& chain, const BackwardParams& params) {
  const Problem& p = chain.problem();
  const WorkspacePlan& plan = chain.plan();
  const Chunk& chunk = chain.chunk();
  chain.softmax_map(params.q, params.k, false);
  if (!chain.fuses(p.conv_after, p.mix_after)) chain.reconvolve(params.lse);
  gradients_of_weighted_sum(chain, params);
  if (p.conv_after.kernel != nullptr) {
    unconvolve(chain,
               {"kq convolution after softmax, backward", p.conv_after, MapKind::SoftmaxWeights,
                chunk.softmax_rows, 0, plan.d_reconvolved, plan.mixed, plan.d_softmax,
                plan.flipped_after, plan.conv_sums_after, plan.blocks_after},
               params.lse);
  }
  if (!mixing_alone(p)) softmax_gradient(chain, params.lse);
  if (p.conv_before.kernel != nullptr) {
    ConvolutionBackward step = {"kq convolution before softmax, backward",
                                p.conv_before,
                                MapKind::Scores,
                                chunk.score_rows,
                                score_reach(p),
                                plan.d_mixed,
                                plan.scores,
                                plan.d_scores,
                                plan.flipped_before,
                                plan.conv_sums_before,
                                plan.blocks_before};
    if (softmax_streams(p, plan)) {
      step.stage = "softmax and kq convolution before it, backward";
      step.kind = MapKind::ScoresBeforeSoftmax;
      step.d_output = plan.d_softmax;
    }
    unconvolve(chain, step, params.lse);
  }
  gradients_of_scores(chain, params);
}

/// dQ, A (not yet divided by the share of weights that dropout keeps) and dS and the kernel's sums,
/// then dV and dK.
void backward_in_one_kernel(Chain& chain, const BackwardParams& params) {
  const Problem& p = chain.problem();
  const WorkspacePlan& plan = chain.plan();
  const Convolution& conv = p.conv_before;
  const RowRange rows = chain.chunk().rows;
  const KeyWindow window = key_window(conv.pad_left, conv.key_span);
  chain.run("backward in one pass", [&] {
    OnePassBackwardArgs args = {};
    args.extent = chain.extent(rows, 0);
    args.q = chain.tensor(params.q);
    args.k = chain.tensor(params.k);
    args.v = chain.tensor(params.v);
    args.o = chain.tensor(params.o);
    args.d_o = chain.tensor(params.d_o);
    args.d_q = chain.tensor(params.d_q);
    args.query_span = conv.query_span;
    args.window = window;
    args.flipped_window = transposed(window);
    args.tables = chain.tables(plan.table_before, conv.query_span, args.window);
    args.flipped = chain.tables(plan.flipped_before, conv.query_span, args.flipped_window);
    args.scale = p.scale;
    args.lse = chain.rows(params.lse);
    args.weights = chain.map(plan.weights);
    args.d_scores = chain.map(plan.d_scores);
    args.slots = plan.blocks_before.slots;
    args.sums = chain.convolution_sums(plan.conv_sums_before, conv, args.slots);
    args.dropout = chain.dropout();
    chain.products().one_pass_backward(args, p.type, chain.stream());
  });
  add_transposed(
      chain, "gradients of k and v",
      {chain.extent(rows, 0),
       nullptr,
       {transposed_sum(chain, plan.weights, params.d_o, params.d_v, plan.d_v_sum,
                       dropout_scale(chain.dropout().threshold)),
        transposed_sum(chain, plan.d_scores, params.q, params.d_k, plan.d_k_sum, p.scale)},
       2,
       plan.launch.sum_ahead});
}

void sum_gradients(Chain& chain) {
  const Problem& p = chain.problem();
  const WorkspacePlan& plan = chain.plan();
  GradientSums all[4];
  int count = 0;
  const auto add_convolution = [&](const Convolution& conv, std::size_t sums, int slots) {
    if (conv.kernel == nullptr) return;
    all[count++] = {chain.at<float>(sums),
                    conv.gradient,
                    plan.batch_group,
                    p.heads,
                    slots,
                    conv.query_span * conv.key_span,
                    {},
                    p.heads};
  };
  const auto add_mixing = [&](const Mixing& mix, std::size_t sums) {
    if (mix.weight == nullptr) return;
    const MixingPlan blocks = mixing_plan(mix, p.heads, plan.head_group);
    all[count++] = {
        chain.at<float>(sums),  mix.gradient, plan.batch_group, blocks.units * blocks.parts,
        mixing_sum_slots(plan), kMixingBlock, blocks,           p.heads};
  };
  add_convolution(p.conv_before, plan.conv_sums_before, plan.blocks_before.slots);
  add_convolution(p.conv_after, plan.conv_sums_after, plan.blocks_after.slots);
  add_mixing(p.mix_before, plan.mix_sums_before);
  add_mixing(p.mix_after, plan.mix_sums_after);
  chain.run("gradients of kernels and mixings",
            [&] { finish_gradients(all, count, chain.stream()); });
}

}  // namespace

Status backward(const BackwardParams& params, Stream stream) {
  if (const Status s = check(params.problem); s != Status::Ok) return s;
  if (const Status s = check_arguments(params); s != Status::Ok) return s;
  const bool in_one_pass = params.o.data != nullptr && backward_in_one_pass(params.problem);
  const WorkspacePlan plan =
      in_one_pass ? one_pass_backward_plan(params.problem, params.workspace.bytes)
                  : workspace_plan(params.problem, Direction::Backward, params.workspace.bytes);
  if (const Status s = check_workspace(params.workspace, plan.bytes); s != Status::Ok) return s;
  if (const Status s = check(current_device()); s != Status::Ok) return s;

  Chain chain(params.problem, plan, params.workspace, stream);
  chain.prepare(true);
  for_each_chunk(params.problem, plan, [&](const Chunk& chunk) {
    chain.start(chunk);
    if (in_one_pass) {
      backward_in_one_kernel(chain, params);
    } else {
      backward_chunk(chain, params);
    }
    return chain.status() == Status::Ok;
  });
  if (chain.status() == Status::Ok) sum_gradients(chain);
  return chain.status();
}

}  // namespace mta::kernels
