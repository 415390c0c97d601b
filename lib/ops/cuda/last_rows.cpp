// From a call to the kernels of lib/kernels/last_rows.h.
#include "lib/ops/last_rows.h"

#include "lib/kernels/device.h"
#include "lib/kernels/last_rows.h"
#include "lib/ops/backend.h"
#include "lib/ops/cuda/arguments.h"
#include "lib/ops/cuda/dropout.h"
#include "lib/ops/cuda/queue.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include <cstdint>

namespace mta::ops {
namespace {

constexpr std::int64_t kElements = 4;  // that the kernels load at a time
constexpr std::uintptr_t kAlignment = 8;

bool readable(const at::Tensor& t) {
  const auto fits = [&](std::int64_t dimension) {
    return t.size(dimension) == 1 || t.stride(dimension) % kElements == 0;
  };
  return reinterpret_cast<std::uintptr_t>(t.const_data_ptr()) % kAlignment == 0 &&
         t.stride(3) == 1 && fits(0) && fits(1) && fits(2);
}

at::Tensor prepared(const at::Tensor& t) {
  return readable(t) ? t : t.clone(at::MemoryFormat::Contiguous);
}

/// The tensors that a call of the kernels points to.
struct Held {
  at::Tensor q, k, v, kernel, d_kernel;
};

kernels::LastRows kernel_call(const AttentionCall& call, Held& held) {
  held.q = prepared(call.q), held.k = prepared(call.k), held.v = prepared(call.v);
  kernels::LastRows result{.batch = static_cast<int>(call.q.size(0)),
                           .heads = static_cast<int>(call.q.size(1)),
                           .rows = static_cast<int>(call.q.size(2)),
                           .keys = static_cast<int>(call.k.size(2)),
                           .head_dim = static_cast<int>(call.q.size(3)),
                           .first_row = static_cast<int>(call.first_row),
                           .type = cuda::element_type(call.q),
                           .scale = cuda::score_scale(call.q),
                           .causality = cuda::causality_of(call),
                           .dropout = cuda::kernel_dropout(call.dropout, call.q.device()),
                           .q = cuda::view(held.q),
                           .k = cuda::view(held.k),
                           .v = cuda::view(held.v)};
  if (!call.kq_before) return result;
  held.kernel = call.kq_before->kernel.to(at::kFloat).contiguous();
  result.conv_before = cuda::convolution(call.kq_before, held.kernel);
  return result;
}

ForwardResult forward(const AttentionCall& call) {
  const cuda::Queue queue(call.q.device());
  Held held;
  const kernels::LastRows kernel = kernel_call(call, held);
  const at::Tensor out = rows_of_heads(call.q, call.q.size(2), call.v.size(3));
  cuda::check_status(kernels::last_rows_forward(kernel, cuda::view(out), queue.stream()));
  return {.out = out, .rows = {}};
}

std::vector<at::Tensor> backward(const AttentionCall& call, const at::Tensor& /*rows*/,
                                 const at::Tensor& /*out*/, const at::Tensor& d_out) {
  const cuda::Queue queue(call.q.device());
  Held held;
  kernels::LastRows kernel = kernel_call(call, held);
  if (held.kernel.defined()) {
    held.d_kernel =
        at::empty({call.q.size(0), call.q.size(1), held.kernel.size(1), held.kernel.size(2)},
                  held.kernel.options().requires_grad(false));
    kernel.conv_before.gradient = held.d_kernel.mutable_data_ptr<float>();
  }
  const at::Tensor d_o = prepared(d_out);
  std::vector<at::Tensor> gradients = {rows_of_heads(call.q, call.q.size(2), call.q.size(3)),
                                       rows_of_heads(call.q, call.k.size(2), call.q.size(3)),
                                       rows_of_heads(call.q, call.k.size(2), call.v.size(3))};
  cuda::check_status(kernels::last_rows_backward(kernel,
                                                 {.d_o = cuda::view(d_o),
                                                  .d_q = cuda::view(gradients[0]),
                                                  .d_k = cuda::view(gradients[1]),
                                                  .d_v = cuda::view(gradients[2])},
                                                 queue.stream()));
  if (held.d_kernel.defined()) {
    gradients.push_back(held.d_kernel.sum(0).to(call.kq_before->kernel.scalar_type()));
  }
  return gradients;
}

}  // namespace

std::string last_rows_unsupported(const AttentionCall& call) {
  const at::Tensor& q = call.q;
  if (!q.is_cuda() || (q.scalar_type() != at::kHalf && q.scalar_type() != at::kBFloat16)) {
    return "q is " + std::string(c10::toString(q.scalar_type())) + " on " + q.device().str();
  }
  if (call.kq_after || call.heads_before.defined() || call.heads_after.defined()) {
    return "there are stages beside a kq convolution before the softmax";
  }
  if (q.size(2) > kernels::kLastRows || call.first_row + q.size(2) > call.k.size(2)) {
    return std::to_string(q.size(2)) + " rows are wanted (at most 8)";
  }
  if (q.size(3) != call.v.size(3) || q.size(3) > kernels::kLastHeadDim ||
      q.size(3) % kElements != 0) {
    return "head size " + std::to_string(q.size(3)) + " (multiples of 4, at most 128)";
  }
  const cuda::Queue current(q.device());
  const kernels::Device device = kernels::current_device();
  if (kernels::check(device) != kernels::Status::Ok) return kernels::last_error();
  if (kernels::last_rows_bytes(static_cast<int>(call.k.size(2))) >
      static_cast<std::size_t>(device.shared_bytes)) {
    return std::to_string(call.k.size(2)) + " keys are more than shared memory holds";
  }
  return "";
}

at::Tensor last_rows_attention(const AttentionCall& call) {
  const std::string reason = last_rows_unsupported(call);
  TORCH_CHECK(reason.empty(), "the attention of the last rows does not cover this call: ", reason);
  check_sizes(call);
  return attend(call, {.forward = &forward, .backward = &backward});
}

}  // namespace mta::ops
