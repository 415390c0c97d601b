// From a call to the kernels of lib/kernels/decode.h.
#include "lib/ops/decode.h"

#include "lib/kernels/decode.h"
#include "lib/kernels/device.h"
#include "lib/ops/backend.h"
#include "lib/ops/cuda/arguments.h"
#include "lib/ops/cuda/queue.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

namespace mta::ops {
namespace {

/// Sizes, and pointers to the parameters; without those to q, k and v.
kernels::DecodeRows kernel_call(const AttentionCall& call, const NewestRows& newest,
                                const cuda::Parameters& p) {
  const bool all_queries = call.q.size(2) == call.k.size(2);
  return {.batch = static_cast<int>(call.q.size(0)),
          .heads = static_cast<int>(call.q.size(1)),
          .head_dim = static_cast<int>(call.q.size(3)),
          .rows = static_cast<int>(newest.rows),
          .keys = static_cast<int>(call.k.size(2)),
          .length = newest.length.defined() ? newest.length.const_data_ptr<int>() : nullptr,
          .type = cuda::element_type(call.q),
          .scale = cuda::score_scale(call.q),
          .causality = cuda::causality_of(call),
          .conv_before = cuda::convolution(call.kq_before, p.kq_before),
          .conv_after = cuda::convolution(call.kq_after, p.kq_after),
          .mix_before = cuda::mixing(p.heads_before),
          .mix_after = cuda::mixing(p.heads_after),
          .query_rows = all_queries ? 0 : static_cast<int>(call.q.size(2))};
}

/// The output's parameters as the kernels read them.
OutputStages typed(const OutputStages& output) {
  const auto wide = [](const at::Tensor& t) {
    return t.defined() ? t.to(at::kFloat).contiguous() : t;
  };
  return {.norm_weight = wide(output.norm_weight),
          .norm_eps = output.norm_eps,
          .norm_scale = output.norm_scale,
          .gate_weight = wide(output.gate_weight),
          .gate_bias = wide(output.gate_bias)};
}

kernels::DecodeOutput kernel_output(const OutputStages& typed) {
  const at::Tensor& gate = typed.gate_weight;
  return {.norm_weight = cuda::read(typed.norm_weight),
          .norm_eps = static_cast<float>(typed.norm_eps),
          .norm_scale = static_cast<float>(typed.norm_scale),
          .gate_weight = cuda::read(gate),
          .gate_bias = cuda::read(typed.gate_bias),
          .gates = gate.defined() ? static_cast<int>(gate.size(0)) : 0};
}

void check_output(const OutputStages& output, std::int64_t d) {
  const at::Tensor &norm = output.norm_weight, &gate = output.gate_weight, &bias = output.gate_bias;
  TORCH_CHECK(!norm.defined() || norm.numel() == d, "norm weight ", norm.sizes(), " for ", d,
              " columns");
  TORCH_CHECK(!gate.defined() || (gate.dim() == 2 && gate.size(1) == d &&
                                  (gate.size(0) == 1 || gate.size(0) == d) && bias.defined() &&
                                  bias.numel() == gate.size(0)),
              "gate weight ", gate.sizes(), " for ", d, " columns, or its bias");
}

std::string tensors_unsupported(const AttentionCall& call, const NewestRows& newest) {
  const at::Tensor& q = call.q;
  if (!q.is_cuda() || (q.scalar_type() != at::kHalf && q.scalar_type() != at::kBFloat16)) {
    return "q is " + std::string(c10::toString(q.scalar_type())) + " on " + q.device().str();
  }
  if (at::GradMode::is_enabled()) return "gradients are enabled";
  if (call.dropout.rate > 0) return "dropout of weights";
  if (call.v.size(3) != q.size(3)) return "values of another size than keys";
  if (!newest.length.defined() && call.first_row + q.size(2) != call.k.size(2)) {
    return "the rows are not the last ones";
  }
  return "";
}

}  // namespace

std::string decode_unsupported(const AttentionCall& call, const NewestRows& newest) {
  if (std::string reason = tensors_unsupported(call, newest); !reason.empty()) return reason;
  const cuda::Queue current(call.q.device());
  const kernels::Device device = kernels::current_device();
  const bool covered = kernels::check(device) == kernels::Status::Ok &&
                       kernels::check_decode(kernel_call(call, newest, cuda::parameters_of(call)),
                                             device.shared_bytes) == kernels::Status::Ok;
  return covered ? "" : kernels::last_error();
}

at::Tensor decode_attention(const AttentionCall& call, const NewestRows& newest,
                            const OutputStages& output) {
  const std::string reason = decode_unsupported(call, newest);
  TORCH_CHECK(reason.empty(), "decoding is not covered: ", reason);
  const at::Tensor& length = newest.length;
  TORCH_CHECK(!length.defined() || (length.scalar_type() == at::kInt && length.numel() == 1 &&
                                    length.device() == call.q.device()),
              "the length must be one Int on ", call.q.device());
  check_sizes(call);
  check_output(output, call.v.size(3));
  const cuda::Queue queue(call.q.device());
  const cuda::Parameters parameters = cuda::parameters_of(call);
  const at::Tensor q = cuda::aligned(call.q), k = cuda::aligned(call.k), v = cuda::aligned(call.v);
  const OutputStages output_typed = typed(output);
  kernels::DecodeRows kernel = kernel_call(call, newest, parameters);
  kernel.output = kernel_output(output_typed);
  kernel.q = cuda::view(q), kernel.k = cuda::view(k), kernel.v = cuda::view(v);
  const std::size_t bytes = kernels::decode_workspace_bytes(kernel);
  const at::Tensor workspace =
      at::empty({static_cast<std::int64_t>(bytes)}, q.options().dtype(at::kByte));
  at::Tensor out = rows_of_heads(q, newest.rows, v.size(3));
  cuda::check_status(kernels::decode(kernel, cuda::view(out), {workspace.mutable_data_ptr(), bytes},
                                     queue.stream()));
  return out;
}

}  // namespace mta::ops
