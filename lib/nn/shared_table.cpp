// A sparse gradient for the rows, which the function that split the table adds to the whole one.
#include "lib/nn/shared_table.h"

#include "lib/nn/cuda/functions.h"

#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

namespace mta {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// The same memory. Not a view: each output of an autograd function keeps a history of its own.
at::Tensor alias_of(const at::Tensor& x) {
  at::Tensor alias = at::empty({0}, x.options().requires_grad(false));
  return alias.set_(x.storage(), x.storage_offset(), x.sizes(), x.strides());
}

struct SplitFunction : torch::autograd::Function<SplitFunction> {
  static variable_list forward(AutogradContext* context, const at::Tensor& table) {
    context->set_materialize_grads(false);
    return {alias_of(table), alias_of(table)};
  }

  static variable_list backward(AutogradContext* /*context*/, const variable_list& grads) {
    const at::Tensor& rows = grads[0];
    if (!rows.defined()) return {grads[1]};
    const at::Tensor whole = grads[1].defined() ? grads[1].contiguous()
                                                : at::zeros(rows.sizes(), rows._values().options());
    nn::cuda::add_rows(whole, rows._indices().select(0, 0), rows._values());
    return {whole};
  }
};

}  // namespace

SharedTable share_table(const at::Tensor& table, const at::Tensor& tokens) {
  if (!nn::cuda::covers_add_rows(table)) return {at::embedding(table, tokens), table};
  const variable_list uses = SplitFunction::apply(table);
  return {at::embedding(uses[0], tokens, /*padding_idx=*/-1, /*scale_grad_by_freq=*/false,
                        /*sparse=*/true),
          uses[1]};
}

}  // namespace mta
