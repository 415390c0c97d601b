// The forward chain: which stages run for a chunk, in which order, on which buffers.
#include "lib/kernels/attention.h"
#include "lib/kernels/chain.h"
#include "lib/kernels/device.h"
#include "lib/kernels/support.h"

#include <utility>

namespace mta::kernels {
namespace {

Status check_arguments(const ForwardParams& params) {
  const std::pair<const Tensor*, const char*> tensors[] = {
      {&params.q, "q"}, {&params.k, "k"}, {&params.v, "v"}, {&params.o, "o"}};
  for (const auto& [tensor, name] : tensors) {
    if (const Status s = check_tensor(*tensor, name); s != Status::Ok) return s;
  }
  return check_pointer(params.lse, "lse");
}

/// A from R, or from M where no convolution stands after the softmax. Where nothing at all stands
/// there, the weighted sum reads M itself.
void mix_weights(Chain& chain, const float* lse) {
  const Problem& p = chain.problem();
  const WorkspacePlan& plan = chain.plan();
  if (mixing_alone(p)) {
    chain.run("softmax and head mixing",
              [&] { MixingAlone::weights(chain.mixing_alone_args(lse), p.type, chain.stream()); });
  } else if (p.mix_after.weight != nullptr) {
    MixingArgs args = chain.mixing(p.mix_after, chain.chunk().rows);
    args.weights = chain.mixing_blocks(plan.mix_after, args.plan);
    args.source = chain.map(plan.reconvolved);
    args.source_is_softmax = p.conv_after.kernel == nullptr;
    args.target = chain.map(plan.weights);
    args.lse = chain.rows(lse);
    args.dropout = chain.dropout();
    chain.run("head mixing after softmax", [&] {
      with_mixing(args.plan, [&](auto kernels) { kernels.after(args, p.type, chain.stream()); });
    });
  } else if (p.conv_after.kernel == nullptr && !weights_from_softmax(p)) {
    PointwiseArgs args = {};
    args.extent = chain.extent(chain.chunk().rows, 0);
    args.mixed = chain.map(plan.mixed);
    args.target = chain.map(plan.weights);
    args.lse = chain.rows(lse);
    args.dropout = chain.dropout();
    chain.run("softmax weights", [&] { softmax_weights(args, p.type, chain.stream()); });
  }
}

void forward_in_one_kernel(Chain& chain, const ForwardParams& params) {
  const Problem& p = chain.problem();
  chain.run("forward in one pass", [&] {
    chain.products().one_pass(
        {chain.extent(chain.chunk().rows, score_reach(p)), chain.tensor(params.q),
         chain.tensor(params.k), chain.tensor(params.v), chain.tensor(params.o),
         chain.at<std::uint32_t>(chain.plan().table_before), p.conv_before.query_span,
         key_window(p.conv_before.pad_left, p.conv_before.key_span), p.scale,
         const_cast<float*>(chain.rows(params.lse)), chain.dropout()},
        p.type, chain.stream());
  });
}

void forward_chunk(Chain& chain, const ForwardParams& params) {
  const Problem& p = chain.problem();
  const RowRange rows = chain.chunk().rows;
  float* lse = const_cast<float*>(chain.rows(params.lse));
  chain.softmax_map(params.q, params.k, true);
  chain.run("row statistics", [&] {
    finish_softmax(chain.extent(rows, 0), chain.statistics(), lse, chain.stream());
  });
  if (chain.fuses(p.conv_after, p.mix_after)) {
    const ConvolvedMixingArgs args = chain.convolved_weights(params.lse);
    chain.run("kq convolution and head mixing after softmax", [&] {
      with_convolved_mixing(args.window,
                            [&](auto kernels) { kernels.after(args, p.type, chain.stream()); });
    });
  } else {
    chain.reconvolve(params.lse);
    mix_weights(chain, params.lse);
  }
  const bool reads_m =
      p.conv_after.kernel == nullptr && p.mix_after.weight == nullptr && p.dropout.rate == 0;
  chain.run("weighted sum", [&] {
    chain.products().weighted_sum(
        {chain.extent(rows, 0), chain.map(reads_m ? chain.plan().mixed : chain.plan().weights),
         chain.tensor(params.v), chain.tensor(params.o), 1.0f, reads_m ? lse : nullptr,
         chain.at<float>(chain.plan().sum_partials), chain.plan().launch.sum_parts,
         chain.plan().launch.sum_ahead},
        p.type, chain.stream());
  });
}

}  // namespace

Status forward(const ForwardParams& params, Stream stream) {
  if (const Status s = check(params.problem); s != Status::Ok) return s;
  if (const Status s = check_arguments(params); s != Status::Ok) return s;
  const bool in_one_pass = forward_in_one_pass(params.problem);
  const WorkspacePlan plan =
      in_one_pass ? one_pass_plan(params.problem)
                  : workspace_plan(params.problem, Direction::Forward, params.workspace.bytes);
  if (const Status s = check_workspace(params.workspace, plan.bytes); s != Status::Ok) return s;
  if (const Status s = check(current_device()); s != Status::Ok) return s;

  Chain chain(params.problem, plan, params.workspace, stream);
  chain.prepare(false);
  for_each_chunk(params.problem, plan, [&](const Chunk& chunk) {
    chain.start(chunk);
    if (in_one_pass) {
      forward_in_one_kernel(chain, params);
    } else {
      forward_chunk(chain, params);
    }
    return chain.status() == Status::Ok;
  });
  return chain.status();
}

}  // namespace mta::kernels
