// Collects the fused forms of a plan's stages into one call.
#include "lib/attention/fuse.h"

#include "lib/nn/cuda/norm_gate.h"
#include "lib/ops/flash.h"
#include "lib/ops/last_rows.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

namespace mta {

namespace {

std::string not_fusable_stage(const AttentionPlan& plan) {
  for (const auto* stages : {&plan.on_scores, &plan.on_weights}) {
    for (const Stage& stage : *stages) {
      if (!stage.fuse) return "stage \"" + stage.name + "\" has no fused form";
    }
  }
  return {};
}

}  // namespace

ops::AttentionCall fused_call(const AttentionPlan& plan, const AttendInput& input) {
  ops::AttentionCall call{.q = input.q,
                          .k = input.k,
                          .v = input.v,
                          .first_row = input.first_row,
                          .dropout = input.dropout,
                          .workspace_bytes = input.workspace_bytes};
  for (const auto* stages : {&plan.on_scores, &plan.on_weights}) {
    for (const Stage& stage : *stages) {
      TORCH_CHECK(stage.fuse, "stage ", stage.name, " has no fused form");
      stage.fuse(call);
    }
  }
  return call;
}

bool is_flash(const AttentionPlan& plan, const AttendInput& input) {
  return plan.on_scores.empty() && plan.on_weights.empty() && input.q.is_cuda();
}

bool is_flash_of_last_row(const AttentionPlan& plan, const AttendInput& input) {
  return is_flash(plan, input) && !at::GradMode::is_enabled() && input.dropout.rate == 0 &&
         ops::flash_unsupported(fused_call(plan, input)).empty();
}

std::string not_fused_because(const AttentionPlan& plan, const AttendInput& input) {
  if (std::string reason = not_fusable_stage(plan); !reason.empty()) return reason;
  const ops::AttentionCall call = fused_call(plan, input);
  return is_flash(plan, input) ? ops::flash_unsupported(call) : ops::unsupported(call);
}

bool covers_last_rows(const AttentionPlan& plan, const AttendInput& input) {
  return not_fusable_stage(plan).empty() &&
         ops::last_rows_unsupported(fused_call(plan, input)).empty();
}

at::Tensor attend_last_rows(const AttentionPlan& plan, const AttendInput& input) {
  return ops::last_rows_attention(fused_call(plan, input));
}

std::string not_decoded_because(const AttentionPlan& plan, const AttendInput& input,
                                const ops::NewestRows& newest) {
  if (std::string reason = not_fusable_stage(plan); !reason.empty()) return reason;
  return ops::decode_unsupported(fused_call(plan, input), newest);
}

std::optional<ops::OutputStages> fused_output(const AttentionPlan& plan) {
  ops::OutputStages found;
  for (const Stage& stage : plan.on_output) {
    // The norm comes first, and each once.
    const bool had_norm = found.norm_weight.defined(), had_gate = found.gate_weight.defined();
    if (!stage.fuse_output || had_gate) return std::nullopt;
    stage.fuse_output(found);
    if (had_norm && !found.gate_weight.defined()) return std::nullopt;
  }
  return found;
}

at::Tensor attend_newest(const AttentionPlan& plan, const AttendInput& input,
                         const ops::NewestRows& newest) {
  return ops::decode_attention(fused_call(plan, input), newest,
                               fused_output(plan).value_or(ops::OutputStages{}));
}

at::Tensor finish_fused(const AttentionPlan& plan, const at::Tensor& output,
                        const MapWindow& window) {
  const std::optional<ops::OutputStages> stages = fused_output(plan);
  const bool covered = stages && nn::cuda::covers_norm_gate(output, *stages);
  return covered ? nn::cuda::norm_gate(output, *stages) : finish(plan, output, window);
}

at::Tensor attend_fused(const AttentionPlan& plan, const AttendInput& input) {
  const ops::AttentionCall call = fused_call(plan, input);
  return is_flash(plan, input) ? ops::flash_attention(call) : ops::attention(call);
}

}  // namespace mta
