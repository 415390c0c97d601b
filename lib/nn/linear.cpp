// Casts weights to the computing type and calls LibTorch.
#include "lib/nn/linear.h"

#include "lib/nn/rounded_weights.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

namespace mta {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// [sum of rows, in]: the weights themselves where they lie one after the other, else a copy.
at::Tensor stacked(at::TensorList weights) {
  std::int64_t rows = 0;
  bool adjacent = true;
  for (const at::Tensor& weight : weights) {
    adjacent = adjacent && weight.is_contiguous() && weight.is_alias_of(weights[0]) &&
               weight.storage_offset() == weights[0].storage_offset() + rows * weights[0].size(1);
    rows += weight.size(0);
  }
  if (!adjacent) return at::cat(weights);
  at::Tensor all = at::empty({0}, weights[0].options().requires_grad(false));
  return all.set_(weights[0].storage(), weights[0].storage_offset(), {rows, weights[0].size(1)});
}

/// One product forward, one for each gradient.
struct GroupFunction : torch::autograd::Function<GroupFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, at::TensorList weights) {
    const at::Tensor all = stacked(weights);
    std::vector<std::int64_t> rows;
    for (const at::Tensor& weight : weights) rows.push_back(weight.size(0));
    context->save_for_backward({x, all});
    context->saved_data["rows"] = rows;
    return at::linear(x, all);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &all = saved[1];
    const at::Tensor grad = grads[0].flatten(0, -2);
    const at::Tensor grad_all = at::mm(grad.t(), x.flatten(0, -2));
    variable_list out = {at::mm(grad, all).view(x.sizes())};
    std::int64_t first = 0;
    for (const std::int64_t rows : context->saved_data["rows"].toIntVector()) {
      out.push_back(grad_all.narrow(0, first, rows));
      first += rows;
    }
    return out;
  }
};

constexpr std::int64_t kSmallTable = 256;  // rows; a product with more costs more than a lookup

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight) {
  return at::linear(x, rounded(weight, x.scalar_type()));
}

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return at::linear(x, rounded(weight, x.scalar_type()), bias.to(x.scalar_type()));
}

std::vector<at::Tensor> linear_each(const at::Tensor& x, const std::vector<at::Tensor>& weights) {
  std::vector<at::Tensor> products;
  if (!x.is_cuda()) {
    for (const at::Tensor& weight : weights) products.push_back(mta::linear(x, weight));
    return products;
  }
  std::vector<std::int64_t> widths;
  for (const at::Tensor& weight : weights) widths.push_back(weight.size(0));
  return linear_group(x, weights).split_with_sizes(widths, -1);
}

at::Tensor linear_group(const at::Tensor& x, const std::vector<at::Tensor>& weights) {
  if (!x.is_cuda()) return at::cat(linear_each(x, weights), -1);
  std::vector<at::Tensor> narrow;
  for (const at::Tensor& weight : weights) narrow.push_back(rounded(weight, x.scalar_type()));
  return GroupFunction::apply(x, at::TensorList(narrow));
}

Lookup::Lookup(const at::Tensor& index, std::int64_t table_rows, at::ScalarType type)
    : index_(index) {
  if (!index.is_cuda() || table_rows > kSmallTable) return;
  chosen_ = index.unsqueeze(-1).eq(at::arange(table_rows, index.options())).to(type);
}

at::Tensor Lookup::rows_of(const at::Tensor& table) const {
  return chosen_.defined() ? at::matmul(chosen_, table) : at::embedding(table, index_);
}

}  // namespace mta
