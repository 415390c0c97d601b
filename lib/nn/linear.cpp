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

/// The gradient of weights [rows, in] that stand one after the other, one for each: of products of
/// inputs [N, in], whose gradient is grad [N, sum of rows].
std::vector<at::Tensor> weight_gradients(const at::Tensor& grad, const at::Tensor& inputs,
                                         const std::vector<std::int64_t>& rows) {
  const at::Tensor all = at::mm(grad.t(), inputs);
  std::vector<at::Tensor> each;
  std::int64_t first = 0;
  for (const std::int64_t count : rows) {
    each.push_back(all.narrow(0, first, count));
    first += count;
  }
  return each;
}

std::vector<std::int64_t> rows_of_each(at::TensorList weights) {
  std::vector<std::int64_t> rows;
  for (const at::Tensor& weight : weights) rows.push_back(weight.size(0));
  return rows;
}

/// One product forward, one for each gradient.
struct GroupFunction : torch::autograd::Function<GroupFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, at::TensorList weights) {
    const at::Tensor all = stacked(weights);
    context->save_for_backward({x, all});
    context->saved_data["rows"] = rows_of_each(weights);
    return at::linear(x, all);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &all = saved[1];
    const at::Tensor grad = grads[0].flatten(0, -2);
    variable_list out =
        weight_gradients(grad, x.flatten(0, -2), context->saved_data["rows"].toIntVector());
    out.insert(out.begin(), at::mm(grad, all).view(x.sizes()));
    return out;
  }
};

/// Products of all rows of x [B, T, in], and of those from `first` on with one weight more.
struct TailFunction : torch::autograd::Function<TailFunction> {
  static variable_list forward(AutogradContext* context, const at::Tensor& x, std::int64_t first,
                               at::TensorList weights) {
    const at::Tensor &last = weights[0], all = stacked(weights.slice(1));
    const at::Tensor tail = x.narrow(1, first, x.size(1) - first).contiguous();
    context->save_for_backward({x, tail, last, all});
    context->saved_data["rows"] = rows_of_each(weights.slice(1));
    return {at::linear(tail, last), at::linear(x, all)};
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &tail = saved[1], &last = saved[2], &all = saved[3];
    const at::Tensor grad_last = grads[0].flatten(0, -2), grad_all = grads[1].flatten(0, -2);
    const at::Tensor grad_x = at::mm(grad_all, all).view(x.sizes());
    const at::Tensor more = at::mm(grad_last, last).view(tail.sizes());
    grad_x.narrow(1, x.size(1) - tail.size(1), tail.size(1)).add_(more);
    variable_list out =
        weight_gradients(grad_all, x.flatten(0, -2), context->saved_data["rows"].toIntVector());
    out.insert(out.begin(), {grad_x, at::Tensor(), at::mm(grad_last.t(), tail.flatten(0, -2))});
    return out;
  }
};

std::vector<at::Tensor> rounded_each(const std::vector<at::Tensor>& weights, at::ScalarType type) {
  std::vector<at::Tensor> narrow;
  for (const at::Tensor& weight : weights) narrow.push_back(rounded(weight, type));
  return narrow;
}

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
  const std::vector<at::Tensor> narrow = rounded_each(weights, x.scalar_type());
  return GroupFunction::apply(x, at::TensorList(narrow));
}

TailProducts linear_tail(const at::Tensor& x, std::int64_t first, const at::Tensor& last,
                         const std::vector<at::Tensor>& weights) {
  std::vector<at::Tensor> all = {last};
  all.insert(all.end(), weights.begin(), weights.end());
  const std::vector<at::Tensor> narrow = rounded_each(all, x.scalar_type());
  const variable_list out = TailFunction::apply(x, first, at::TensorList(narrow));
  return {.last = out[0], .all = out[1]};
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
