// The fused CUDA path: from tensors to the parameters of lib/kernels.
#pragma once

#include "lib/kernels/launch_plan.h"
#include "lib/ops/backend.h"

#include <string>
#include <vector>

namespace mta::ops::cuda {

/// Empty when the kernels cover the call, else the reason in one clause.
std::string unsupported(const AttentionCall& call);

/// See Backend. Work is queued on LibTorch's current stream; the workspace comes from its caching
/// allocator. Head sizes between those of the kernels, and tensors that they cannot read in place,
/// are copied first.
ForwardResult forward(const AttentionCall& call);
std::vector<at::Tensor> backward(const AttentionCall& call, const at::Tensor& rows,
                                 const at::Tensor& out, const at::Tensor& d_out);

/// The same with a launch plan other than the one that launch_plans.h has for the card.
ForwardResult forward(const AttentionCall& call, const kernels::LaunchPlan& launch);
std::vector<at::Tensor> backward(const AttentionCall& call, const at::Tensor& rows,
                                 const at::Tensor& out, const at::Tensor& d_out,
                                 const kernels::LaunchPlan& launch);

}  // namespace mta::ops::cuda
