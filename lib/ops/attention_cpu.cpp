// The fused attention on CPU tensors: from tensors to the kernels' structs, and the split of units
// over threads.
#include "lib/ops/attention_cpu.h"

#include "lib/ops/dropout.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include <cmath>
#include <numeric>

namespace mta::ops {
namespace {

using cpu::Index;

/// The parts of a call that are not tensors, and the tensors as autograd saves them.
struct Settings {
  cpu::SimdLevel level;
  Index first_row;
  Index pad_left, pad_left_after;
  bool exact;
  Dropout dropout;
};

struct Tensors {
  at::Tensor q, k, v, kq_before, kq_after, heads_before, heads_after;
};

template <class T>
cpu::View<const T> view(const at::Tensor& t) {
  return {t.const_data_ptr<T>(), t.stride(0), t.stride(1), t.stride(2)};
}
template <class T>
cpu::View<T> mutable_view(const at::Tensor& t) {
  return {t.mutable_data_ptr<T>(), t.stride(0), t.stride(1), t.stride(2)};
}

template <class T>
cpu::Convolution<T> convolution_of(const at::Tensor& kernel, Index pad_left, bool exact) {
  if (!kernel.defined()) return {};
  const Index query_span = kernel.size(1);
  return {kernel.const_data_ptr<T>(), query_span, kernel.size(2), pad_left,
          exact && query_span > 1};
}
template <class T>
cpu::Mixing<T> mixing_of(const at::Tensor& matrix) {
  if (!matrix.defined()) return {};
  return {matrix.const_data_ptr<T>(), matrix.size(1)};
}

/// `t` must outlive the result: parameters contiguous, heads_after turned to (group, output,
/// input).
template <class T>
cpu::Forward<T> forward_call(const Settings& s, const Tensors& t) {
  cpu::Forward<T> call;
  call.batch = t.q.size(0), call.heads = t.q.size(1), call.rows = t.q.size(2),
  call.head_dim = t.q.size(3);
  call.keys = t.k.size(2), call.value_dim = t.v.size(3), call.first_row = s.first_row;
  call.scale = static_cast<T>(1 / std::sqrt(static_cast<double>(call.head_dim)));
  call.q = view<T>(t.q), call.k = view<T>(t.k), call.v = view<T>(t.v);
  call.kq_before = convolution_of<T>(t.kq_before, s.pad_left, s.exact);
  call.kq_after = convolution_of<T>(t.kq_after, s.pad_left_after, false);
  call.heads_before = mixing_of<T>(t.heads_before), call.heads_after = mixing_of<T>(t.heads_after);
  call.unit_heads = std::lcm(call.heads_before.heads, call.heads_after.heads);
  call.dropout = dropout_key(s.dropout);
  return call;
}

/// Runs act(begin, end, workspace) over all units; each unit's result is the same whoever computes
/// it.
template <class Action>
void over_units(Index units, Index unit_work, Index workspace_bytes, const Action& act) {
  constexpr Index kWorthAThread = 1 << 18;  // multiply-adds that pay for waking one: some 10 us
  const Index grain = std::max<Index>(1, kWorthAThread / std::max<Index>(1, unit_work));
  at::parallel_for(0, units, grain, [&](Index begin, Index end) {
    const at::Tensor workspace = at::empty({workspace_bytes}, at::TensorOptions().dtype(at::kByte));
    act(begin, end, workspace.mutable_data_ptr());
  });
}

template <class T>
Index unit_work(const cpu::Forward<T>& call) {
  return call.unit_heads * call.rows * call.keys * (call.head_dim + call.value_dim);
}

template <class T>
void run_forward(const Settings& s, const Tensors& t, at::Tensor& out, at::Tensor& softmax_rows) {
  cpu::Forward<T> call = forward_call<T>(s, t);
  call.out = mutable_view<T>(out);
  call.softmax_rows = static_cast<cpu::SoftmaxRow<T>*>(softmax_rows.mutable_data_ptr());
  const cpu::Kernels<T>& kernels = cpu::kernels<T>(s.level);
  over_units(call.units(), unit_work(call), kernels.forward_workspace(call),
             [&](Index begin, Index end, void* workspace) {
               kernels.forward(call, begin, end, workspace);
             });
}

/// [B, ...] -> [...], summed over the samples in their order, in double.
template <class T>
at::Tensor sum_samples(const at::Tensor& partial) {
  at::Tensor total = at::empty(partial.sizes().slice(1), partial.options());
  const Index samples = partial.size(0), count = total.numel();
  const T* from = partial.const_data_ptr<T>();
  T* to = total.mutable_data_ptr<T>();
  for (Index i = 0; i < count; ++i) {
    double sum = 0;
    for (Index b = 0; b < samples; ++b) sum += static_cast<double>(from[b * count + i]);
    to[i] = static_cast<T>(sum);
  }
  return total;
}

/// One summand a sample: [B, sizes of the parameter].
at::Tensor partials(const at::Tensor& parameter, Index samples) {
  if (!parameter.defined()) return {};
  return at::empty({samples, parameter.size(0), parameter.size(1), parameter.size(2)},
                   parameter.options().requires_grad(false));
}

template <class T>
Tensors run_backward(const Settings& s, const Tensors& t, const at::Tensor& softmax_rows,
                     const at::Tensor& d_out) {
  cpu::Backward<T> call;
  call.forward = forward_call<T>(s, t);
  cpu::Forward<T>& forward = call.forward;
  forward.softmax_rows = static_cast<cpu::SoftmaxRow<T>*>(softmax_rows.mutable_data_ptr());
  Tensors gradients = {rows_of_heads(t.q, forward.rows, forward.head_dim),
                       rows_of_heads(t.k, forward.keys, forward.head_dim),
                       rows_of_heads(t.v, forward.keys, forward.value_dim),
                       partials(t.kq_before, forward.batch),
                       partials(t.kq_after, forward.batch),
                       partials(t.heads_before, forward.batch),
                       partials(t.heads_after, forward.batch)};
  call.d_out = view<T>(d_out);
  call.d_q = mutable_view<T>(gradients.q), call.d_k = mutable_view<T>(gradients.k);
  call.d_v = mutable_view<T>(gradients.v);
  const auto data = [](const at::Tensor& x) {
    return x.defined() ? x.mutable_data_ptr<T>() : nullptr;
  };
  call.d_kq_before = data(gradients.kq_before), call.d_kq_after = data(gradients.kq_after);
  call.d_heads_before = data(gradients.heads_before),
  call.d_heads_after = data(gradients.heads_after);
  const cpu::Kernels<T>& kernels = cpu::kernels<T>(s.level);
  over_units(forward.units(), 3 * unit_work(forward), kernels.backward_workspace(call),
             [&](Index begin, Index end, void* workspace) {
               kernels.backward(call, begin, end, workspace);
             });
  for (at::Tensor* parameter : {&gradients.kq_before, &gradients.kq_after, &gradients.heads_before,
                                &gradients.heads_after}) {
    if (parameter->defined()) *parameter = sum_samples<T>(*parameter);
  }
  return gradients;
}

/// The parameters of a call as the kernels read them: contiguous, in the type of q, and heads_after
/// turned.
Tensors tensors_of(const AttentionCall& call) {
  const auto typed = [&](const at::Tensor& t) {
    return t.defined() ? t.to(call.q.scalar_type()).contiguous() : t;
  };
  const auto kernel = [&](const std::optional<KqConvolution>& kq) {
    return kq ? typed(kq->kernel) : at::Tensor();
  };
  return {call.q,
          call.k,
          call.v,
          kernel(call.kq_before),
          kernel(call.kq_after),
          typed(call.heads_before),
          call.heads_after.defined() ? typed(call.heads_after.transpose(1, 2)) : at::Tensor()};
}

Settings settings_of(cpu::SimdLevel level, const AttentionCall& call) {
  Settings settings = {level, call.first_row, 0, 0, false, call.dropout};
  if (call.kq_before) {
    settings.pad_left = call.kq_before->pad_left;
    settings.exact = call.kq_before->causality == Causality::Exact;
  }
  if (call.kq_after) settings.pad_left_after = call.kq_after->pad_left;
  return settings;
}

void check(const AttentionCall& call) {
  const std::string reason = cpu_unsupported(call);
  TORCH_CHECK(reason.empty(), "the fused CPU attention does not cover this call: ", reason);
  check_sizes(call);
}

ForwardResult forward_at(cpu::SimdLevel level, const AttentionCall& call) {
  check(call);
  const at::Tensor& q = call.q;
  ForwardResult result = {
      rows_of_heads(q, q.size(2), call.v.size(3)),
      at::empty({q.size(0), q.size(1), q.size(2), 2}, q.options().requires_grad(false))};
  const auto run = q.scalar_type() == at::kFloat ? run_forward<float> : run_forward<double>;
  run(settings_of(level, call), tensors_of(call), result.out, result.rows);
  return result;
}

std::vector<at::Tensor> backward_at(cpu::SimdLevel level, const AttentionCall& call,
                                    const at::Tensor& rows, at::Tensor d_out) {
  check(call);
  if (d_out.stride(3) != 1) d_out = d_out.contiguous();
  const auto run = call.q.scalar_type() == at::kFloat ? run_backward<float> : run_backward<double>;
  Tensors d = run(settings_of(level, call), tensors_of(call), rows, d_out);
  if (d.heads_after.defined()) d.heads_after = d.heads_after.transpose(1, 2);
  std::vector<at::Tensor> gradients;
  for (const at::Tensor& gradient :
       {d.q, d.k, d.v, d.kq_before, d.kq_after, d.heads_before, d.heads_after}) {
    if (gradient.defined()) gradients.push_back(gradient);
  }
  const std::vector<at::Tensor> of = differentiable_tensors(call);
  for (std::size_t i = 0; i < of.size(); ++i) {
    gradients[i] = gradients[i].to(of[i].scalar_type());
  }
  return gradients;
}

template <cpu::SimdLevel level>
constexpr Backend kBackend = {
    [](const AttentionCall& call) { return forward_at(level, call); },
    [](const AttentionCall& call, const at::Tensor& rows, const at::Tensor& /*out*/,
       const at::Tensor& d_out) { return backward_at(level, call, rows, d_out); }};

std::string tensor_unsupported(const at::Tensor& t, const at::Tensor& q, const char* name) {
  if (!t.is_cpu()) return std::string(name) + " is on " + t.device().str();
  if (t.scalar_type() != at::kFloat && t.scalar_type() != at::kDouble) {
    return std::string(name) + " is " + c10::toString(t.scalar_type()) +
           " (fused on the CPU: Float, Double)";
  }
  if (t.dim() == 4 && t.scalar_type() != q.scalar_type()) {
    return std::string(name) + " is " + c10::toString(t.scalar_type()) + ", q is " +
           c10::toString(q.scalar_type());
  }
  if (t.dim() == 4 && t.size(3) > 1 && t.stride(3) != 1)
    return std::string(name) + " has columns that are not adjacent";
  return "";
}

}  // namespace

std::string cpu_unsupported(const AttentionCall& call) {
  for (const auto& [name, tensor] : named_tensors(call)) {
    std::string reason = tensor_unsupported(tensor, call.q, name);
    if (!reason.empty()) return reason;
  }
  return "";
}

const Backend& cpu_backend(cpu::SimdLevel level) {
  switch (level) {
    case cpu::SimdLevel::Avx512:
      return kBackend<cpu::SimdLevel::Avx512>;
    case cpu::SimdLevel::Avx2:
      return kBackend<cpu::SimdLevel::Avx2>;
    default:
      return kBackend<cpu::SimdLevel::Baseline>;
  }
}

at::Tensor attention_cpu_at(cpu::SimdLevel level, const AttentionCall& call) {
  return attend(call, cpu_backend(level));
}

}  // namespace mta::ops
