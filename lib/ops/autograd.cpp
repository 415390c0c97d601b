// The autograd function of the fused attention, the same for every backend, and the checks of
// sizes.
#include "lib/ops/backend.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>
#include <torch/csrc/autograd/custom_function.h>

namespace mta::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Optional = std::optional<at::Tensor>;

Optional optional(const at::Tensor& t) { return t.defined() ? Optional(t) : std::nullopt; }

/// A call without its tensors, which autograd saves by itself.
AttentionCall without_tensors(AttentionCall call) {
  for (at::Tensor* t :
       {&call.q, &call.k, &call.v, &call.heads_before, &call.heads_after, &call.dropout.step}) {
    t->reset();
  }
  for (auto* kq : {&call.kq_before, &call.kq_after}) {
    if (*kq) (*kq)->kernel.reset();
  }
  return call;
}

struct Saved : torch::CustomClassHolder {
  Saved(AttentionCall c, Backend b) : call(std::move(c)), backend(b) {}
  AttentionCall call;
  Backend backend;
};

class AttentionFunction : public torch::autograd::Function<AttentionFunction> {
 public:
  /// What may be absent comes as an optional: autograd accepts no undefined tensor here. The
  /// tensors are those of `call`, which autograd does not look into.
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, const Optional& kq_before,
                            const Optional& kq_after, const Optional& heads_before,
                            const Optional& heads_after, const AttentionCall& call,
                            const Backend& backend) {
    const at::AutoDispatchBelowAutograd below;
    const ForwardResult result = backend.forward(call);
    const auto or_none = [](const Optional& t) { return t.value_or(at::Tensor()); };
    context->save_for_backward({q, k, v, or_none(kq_before), or_none(kq_after),
                                or_none(heads_before), or_none(heads_after), call.dropout.step,
                                result.rows, saves_output(call) ? result.out : at::Tensor()});
    context->saved_data["call"] =
        c10::IValue::make_capsule(c10::make_intrusive<Saved>(without_tensors(call), backend));
    return result.out;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    TORCH_CHECK(
        !at::GradMode::is_enabled(),
        "the fused attention has no second derivative: use the composed path with create_graph");
    const variable_list saved = context->get_saved_variables();
    const c10::intrusive_ptr<torch::CustomClassHolder> held =
        context->saved_data["call"].toCapsule();
    const Saved& kept = *static_cast<const Saved*>(held.get());
    AttentionCall call = kept.call;
    call.q = saved[0], call.k = saved[1], call.v = saved[2];
    if (call.kq_before) call.kq_before->kernel = saved[3];
    if (call.kq_after) call.kq_after->kernel = saved[4];
    call.heads_before = saved[5], call.heads_after = saved[6], call.dropout.step = saved[7];
    const std::vector<at::Tensor> found =
        kept.backend.backward(call, saved[8], saved[9], gradients[0]);
    variable_list all;
    for (std::size_t input = 0, next = 0; input < 7; ++input) {
      all.push_back(saved[input].defined() ? found.at(next++) : at::Tensor());
    }
    all.resize(9);  // the call and the backend have none
    return all;
  }
};

void check_convolution(const AttentionCall& call, const std::optional<KqConvolution>& kq,
                       const char* name) {
  if (!kq) return;
  TORCH_CHECK(kq->kernel.dim() == 3 && kq->kernel.size(0) == call.q.size(1) &&
                  kq->kernel.size(1) > 0 && kq->kernel.size(2) > 0,
              name, ": kernel ", kq->kernel.sizes(), " is not [heads ", call.q.size(1),
              ", c_q, c_k]");
  TORCH_CHECK(kq->pad_left >= 0 && kq->pad_left < kq->kernel.size(2), name, ": pad_left ",
              kq->pad_left, " is not in 0..c_k-1 of kernel ", kq->kernel.sizes());
}

void check_mixing(const AttentionCall& call, const at::Tensor& matrix, const char* name) {
  if (!matrix.defined()) return;
  TORCH_CHECK(matrix.dim() == 3 && matrix.size(1) == matrix.size(2) && matrix.size(0) > 0 &&
                  matrix.size(0) * matrix.size(1) == call.q.size(1),
              name, ": ", matrix.sizes(), " is not [groups, heads / groups, heads / groups] of ",
              call.q.size(1), " heads");
}

}  // namespace

std::vector<std::pair<const char*, at::Tensor>> named_tensors(const AttentionCall& call) {
  const auto kernel = [](const std::optional<KqConvolution>& kq) {
    return kq ? kq->kernel : at::Tensor();
  };
  std::vector<std::pair<const char*, at::Tensor>> all = {{"q", call.q},
                                                         {"k", call.k},
                                                         {"v", call.v},
                                                         {"kq_before", kernel(call.kq_before)},
                                                         {"kq_after", kernel(call.kq_after)},
                                                         {"heads_before", call.heads_before},
                                                         {"heads_after", call.heads_after}};
  std::erase_if(all, [](const auto& named) { return !named.second.defined(); });
  return all;
}

std::vector<at::Tensor> differentiable_tensors(const AttentionCall& call) {
  std::vector<at::Tensor> all;
  for (auto& [unused, tensor] : named_tensors(call)) all.push_back(std::move(tensor));
  return all;
}

bool saves_output(const AttentionCall& call) {
  return call.q.is_cuda() && call.kq_before && call.kq_before->causality == Causality::Double &&
         !call.kq_after && !call.heads_before.defined() && !call.heads_after.defined();
}

at::Tensor attend(const AttentionCall& call, const Backend& backend) {
  const auto kernel = [](const std::optional<KqConvolution>& kq) {
    return kq ? Optional(kq->kernel) : std::nullopt;
  };
  return AttentionFunction::apply(call.q, call.k, call.v, kernel(call.kq_before),
                                  kernel(call.kq_after), optional(call.heads_before),
                                  optional(call.heads_after), call, backend);
}

at::Tensor rows_of_heads(const at::Tensor& like, std::int64_t rows, std::int64_t columns) {
  return at::empty({like.size(0), rows, like.size(1), columns}, like.options().requires_grad(false))
      .transpose(1, 2);
}

void check_sizes(const AttentionCall& call) {
  const at::Tensor &q = call.q, &k = call.k, &v = call.v;
  TORCH_CHECK(q.dim() == 4 && k.dim() == 4 && v.dim() == 4, "q ", q.sizes(), ", k ", k.sizes(),
              ", v ", v.sizes(), ": each must be [batch, heads, rows, columns]");
  TORCH_CHECK(k.size(0) == q.size(0) && k.size(1) == q.size(1) && k.size(3) == q.size(3), "q ",
              q.sizes(), " and k ", k.sizes(), " differ in batch, heads or head size");
  TORCH_CHECK(v.size(0) == k.size(0) && v.size(1) == k.size(1) && v.size(2) == k.size(2), "k ",
              k.sizes(), " and v ", v.sizes(), " differ in batch, heads or keys");
  TORCH_CHECK(call.first_row >= 0 && call.first_row + q.size(2) <= k.size(2), "rows ",
              call.first_row, " to ", call.first_row + q.size(2) - 1, " do not stand among ",
              k.size(2), " keys");
  TORCH_CHECK(q.size(3) > 0 && v.size(3) > 0, "head sizes ", q.size(3), " and ", v.size(3),
              " must be positive");
  check_convolution(call, call.kq_before, "kq_before");
  check_convolution(call, call.kq_after, "kq_after");
  check_mixing(call, call.heads_before, "heads_before");
  check_mixing(call, call.heads_after, "heads_after");
}

}  // namespace mta::ops
