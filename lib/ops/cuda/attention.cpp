// Realigns and pads tensors, fills the kernels' parameters, takes a workspace, and calls.
#include "lib/ops/cuda/attention.h"

#include "lib/kernels/attention.h"
#include "lib/kernels/device.h"
#include "lib/kernels/support.h"
#include "lib/kernels/workspace.h"
#include "lib/ops/cuda/arguments.h"
#include "lib/ops/cuda/dropout.h"
#include "lib/ops/cuda/queue.h"
#include "lib/ops/launch_plans.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace mta::ops::cuda {
namespace {

/// The smallest head size of the kernels that holds both; 0 if there is none.
std::int64_t kernel_head_dim(const AttentionCall& call) {
  const std::int64_t needed = std::max(call.q.size(3), call.v.size(3));
  for (const int built : kernels::kHeadDims) {
    if (needed <= built) return built;
  }
  return 0;
}

/// [B, H, T, d] -> [B, H, T, head_dim], zeros behind, such that the kernels can read it.
at::Tensor prepared(const at::Tensor& t, std::int64_t head_dim) {
  const at::Tensor wide =
      t.size(3) == head_dim ? t : at::constant_pad_nd(t, {0, head_dim - t.size(3)}, 0);
  return aligned(wide);
}

/// What `prepared` added is cut off again.
at::Tensor trimmed(const at::Tensor& t, std::int64_t columns) {
  if (t.size(3) == columns) return t;
  return rows_of_heads(t, t.size(2), columns).copy_(t.narrow(3, 0, columns));
}

Parameters gradients_like(const Parameters& p) {
  const auto fresh = [](const at::Tensor& t) {
    return t.defined() ? at::empty(t.sizes(), t.options().requires_grad(false)) : t;
  };
  return {fresh(p.kq_before), fresh(p.kq_after), fresh(p.heads_before), fresh(p.heads_after)};
}

kernels::Problem problem_of(const AttentionCall& call, const Parameters& p,
                            const Parameters& gradients) {
  return {.batch = static_cast<int>(call.q.size(0)),
          .heads = static_cast<int>(call.q.size(1)),
          .tokens = static_cast<int>(call.k.size(2)),
          .head_dim = static_cast<int>(kernel_head_dim(call)),
          .type = element_type(call.q),
          .scale = score_scale(call.q),
          .causality = causality_of(call),
          .conv_before = convolution(call.kq_before, p.kq_before, gradients.kq_before),
          .conv_after = convolution(call.kq_after, p.kq_after, gradients.kq_after),
          .mix_before = mixing(p.heads_before, gradients.heads_before),
          .mix_after = mixing(p.heads_after, gradients.heads_after),
          .dropout = kernel_dropout(call.dropout, call.q.device())};
}

std::size_t budget(const AttentionCall& call) {
  return static_cast<std::size_t>(call.workspace_bytes);
}

/// Names of all cards, by index.
const std::string& card_name(at::Device device) {
  static const std::vector<std::string> names = [] {
    int count = 0;
    std::vector<std::string> found;
    if (cudaGetDeviceCount(&count) != cudaSuccess) return found;
    for (int index = 0; index < count; ++index) {
      cudaDeviceProp properties = {};
      cudaGetDeviceProperties(&properties, index);
      found.emplace_back(properties.name);
    }
    return found;
  }();
  return names.at(static_cast<std::size_t>(device.index()));
}

/// The plan that was measured on this card for such calls, or the kernels' own.
kernels::LaunchPlan installed_launch(const AttentionCall& call, const kernels::Problem& problem,
                                     kernels::Direction direction) {
  const LaunchEntry* const entry = find_launch(installed_launch_plans(), card_name(call.q.device()),
                                               problem, direction, budget(call));
  return entry == nullptr ? kernels::LaunchPlan{} : entry->launch;
}

at::Tensor bytes(std::size_t count, at::Device device) {
  return at::empty({static_cast<std::int64_t>(count)}, at::TensorOptions(device).dtype(at::kByte));
}

kernels::Workspace workspace(const at::Tensor& memory) {
  return {memory.mutable_data_ptr(), static_cast<std::size_t>(memory.numel())};
}

std::string device_unsupported(at::Device device) {
  const Queue current(device);
  if (kernels::check(kernels::current_device()) == kernels::Status::Ok) return "";
  return device.str() + ": " + kernels::last_error();
}

std::string tensor_unsupported(const at::Tensor& t, const at::Tensor& q, const char* name) {
  if (t.device() != q.device()) {
    return std::string(name) + " is on " + t.device().str() + ", q on " + q.device().str();
  }
  if (t.dim() == 3 ? !t.is_floating_point() : t.scalar_type() != q.scalar_type()) {
    return std::string(name) + " is " + c10::toString(t.scalar_type()) + ", q is " +
           c10::toString(q.scalar_type());
  }
  return "";
}

void check(const AttentionCall& call) {
  check_sizes(call);
  const std::string reason = cuda::unsupported(call);
  TORCH_CHECK(reason.empty(), "the fused GPU attention does not cover this call: ", reason);
}

/// `launch` null: the installed one.
ForwardResult run_forward(const AttentionCall& call, const kernels::LaunchPlan* launch) {
  check(call);
  const Queue queue(call.q.device());
  const Parameters parameters = parameters_of(call);
  kernels::Problem problem = problem_of(call, parameters, {});
  problem.launch =
      launch != nullptr ? *launch : installed_launch(call, problem, kernels::Direction::Forward);
  const std::int64_t d = problem.head_dim, T = problem.tokens;
  const at::Tensor q = prepared(call.q, d), k = prepared(call.k, d), v = prepared(call.v, d);
  const at::Tensor out = rows_of_heads(q, T, d);
  at::Tensor rows = at::empty({problem.batch, problem.heads, T, 2},
                              q.options().dtype(at::kFloat).requires_grad(false));
  const at::Tensor memory =
      bytes(kernels::forward_workspace_bytes(problem, budget(call)), q.device());
  // Of `rows` the first half of the memory is used, as [B, H, T]: the log-sum-exps.
  check_status(kernels::forward({.problem = problem,
                                 .q = view(q),
                                 .k = view(k),
                                 .v = view(v),
                                 .o = view(out),
                                 .lse = rows.mutable_data_ptr<float>(),
                                 .workspace = workspace(memory)},
                                queue.stream()));
  return {trimmed(out, call.v.size(3)), rows};
}

/// Which plan the backward follows: `launch` null means the installed one, of the chain.
kernels::LaunchPlan backward_launch(const AttentionCall& call, const kernels::Problem& problem,
                                    bool in_one_pass, const kernels::LaunchPlan* launch) {
  if (launch != nullptr) return *launch;
  return in_one_pass ? kernels::LaunchPlan{}
                     : installed_launch(call, problem, kernels::Direction::Backward);
}

/// `out` may be undefined.
std::vector<at::Tensor> run_backward(const AttentionCall& call, const at::Tensor& rows,
                                     const at::Tensor& out, const at::Tensor& d_out,
                                     const kernels::LaunchPlan* launch) {
  check(call);
  const Queue queue(call.q.device());
  const Parameters parameters = parameters_of(call), d_parameters = gradients_like(parameters);
  kernels::Problem problem = problem_of(call, parameters, d_parameters);
  const bool in_one_pass = out.defined() && kernels::backward_in_one_pass(problem);
  problem.launch = backward_launch(call, problem, in_one_pass, launch);
  const std::int64_t d = problem.head_dim, T = problem.tokens;
  const at::Tensor q = prepared(call.q, d), k = prepared(call.k, d), v = prepared(call.v, d);
  const at::Tensor d_o = prepared(d_out, d), o = in_one_pass ? prepared(out, d) : at::Tensor();
  const at::Tensor d_q = rows_of_heads(q, T, d), d_k = rows_of_heads(q, T, d),
                   d_v = rows_of_heads(q, T, d);
  const at::Tensor memory =
      bytes(kernels::backward_workspace_bytes(problem, budget(call), in_one_pass), q.device());
  check_status(kernels::backward({.problem = problem,
                                  .q = view(q),
                                  .k = view(k),
                                  .v = view(v),
                                  .o = in_one_pass ? view(o) : kernels::Tensor{},
                                  .lse = rows.const_data_ptr<float>(),
                                  .d_o = view(d_o),
                                  .d_q = view(d_q),
                                  .d_k = view(d_k),
                                  .d_v = view(d_v),
                                  .workspace = workspace(memory)},
                                 queue.stream()));
  std::vector<at::Tensor> gradients = {trimmed(d_q, call.q.size(3)), trimmed(d_k, call.q.size(3)),
                                       trimmed(d_v, call.v.size(3))};
  for (const at::Tensor& gradient : {d_parameters.kq_before, d_parameters.kq_after,
                                     d_parameters.heads_before, d_parameters.heads_after}) {
    if (gradient.defined()) gradients.push_back(gradient);
  }
  const std::vector<at::Tensor> of = differentiable_tensors(call);
  for (std::size_t i = 0; i < of.size(); ++i) gradients[i] = gradients[i].to(of[i].scalar_type());
  return gradients;
}

}  // namespace

std::string unsupported(const AttentionCall& call) {
  const at::Tensor& q = call.q;
  if (!q.is_cuda()) return "q is on " + q.device().str();
  if (q.scalar_type() != at::kHalf && q.scalar_type() != at::kBFloat16) {
    return std::string("q is ") + c10::toString(q.scalar_type()) +
           " (fused on a GPU: Half, BFloat16)";
  }
  for (const auto& [name, tensor] : named_tensors(call)) {
    std::string reason = tensor_unsupported(tensor, q, name);
    if (!reason.empty()) return reason;
  }
  if (call.first_row != 0 || q.size(2) != call.k.size(2)) {
    return "rows " + std::to_string(call.first_row) + " to " +
           std::to_string(call.first_row + q.size(2) - 1) + " of " +
           std::to_string(call.k.size(2)) + " are wanted (fused on a GPU: all rows)";
  }
  if (kernel_head_dim(call) == 0) {
    return "head size " + std::to_string(std::max(q.size(3), call.v.size(3))) + " is over " +
           std::to_string(kernels::kHeadDims[std::size(kernels::kHeadDims) - 1]);
  }
  if (kernels::check(problem_of(call, parameters_of(call), {})) != kernels::Status::Ok) {
    return kernels::last_error();
  }
  return device_unsupported(q.device());
}

ForwardResult forward(const AttentionCall& call) { return run_forward(call, nullptr); }

std::vector<at::Tensor> backward(const AttentionCall& call, const at::Tensor& rows,
                                 const at::Tensor& out, const at::Tensor& d_out) {
  return run_backward(call, rows, out, d_out, nullptr);
}

ForwardResult forward(const AttentionCall& call, const kernels::LaunchPlan& launch) {
  return run_forward(call, &launch);
}

std::vector<at::Tensor> backward(const AttentionCall& call, const at::Tensor& rows,
                                 const at::Tensor& out, const at::Tensor& d_out,
                                 const kernels::LaunchPlan& launch) {
  return run_backward(call, rows, out, d_out, &launch);
}

}  // namespace mta::ops::cuda
