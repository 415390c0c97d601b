// From a plan to one fused call, or the reason why it has none.
#pragma once

#include "lib/attention/attend.h"
#include "lib/attention/plan.h"
#include "lib/ops/attention.h"
#include "lib/ops/decode.h"

#include <optional>
#include <string>

namespace mta {

/// The call that computes what attend() computes for this plan and input.
/// Every map stage must have a fused form.
ops::AttentionCall fused_call(const AttentionPlan& plan, const AttendInput& input);

/// Standard attention on a GPU: the fused path is LibTorch's flash attention.
bool is_flash(const AttentionPlan& plan, const AttendInput& input);

/// Flash attention of the last row alone, as decoding wants it: no gradient, no dropout.
bool is_flash_of_last_row(const AttentionPlan& plan, const AttendInput& input);

/// Empty when a fused path covers the plan for inputs like this one (device, type, sizes), else the
/// reason in one clause.
std::string not_fused_because(const AttentionPlan& plan, const AttendInput& input);

/// Whether a kernel of its own computes the few last rows that `input` is about.
bool covers_last_rows(const AttentionPlan& plan, const AttendInput& input);
at::Tensor attend_last_rows(const AttentionPlan& plan, const AttendInput& input);

/// Empty when a kernel of its own computes the last rows of `input`, as decoding wants them: no
/// gradient, no dropout; else the reason in one clause.
std::string not_decoded_because(const AttentionPlan& plan, const AttendInput& input,
                                const ops::NewestRows& newest);
/// The stages on the output as kernels take them: a norm, a gate, or both in this order, or none.
/// Nothing where the plan has others.
std::optional<ops::OutputStages> fused_output(const AttentionPlan& plan);
/// The stages on the output are done too where fused_output(plan) has them.
at::Tensor attend_newest(const AttentionPlan& plan, const AttendInput& input,
                         const ops::NewestRows& newest);

/// O = A v as attend() computes it, without keeping any map ("fused").
at::Tensor attend_fused(const AttentionPlan& plan, const AttendInput& input);

/// What finish() gives; by one kernel where it covers the stages and `output` (on a GPU: norm and
/// scalar gate).
at::Tensor finish_fused(const AttentionPlan& plan, const at::Tensor& output,
                        const MapWindow& window);

}  // namespace mta
