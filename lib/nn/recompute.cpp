// An autograd function that runs a piece of the forward pass inside its backward pass.
#include "lib/nn/recompute.h"

#include "lib/nn/rounded_weights.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cstddef>
#include <utility>

namespace mta {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// The tensors are those that autograd saves, in this order: inputs, parameters, rounded forms.
struct Kept : torch::CustomClassHolder {
  Kept(Work w, std::size_t i, RoundedForms f) : work(std::move(w)), inputs(i), forms(std::move(f)) {
    forms.rounded.clear();  // saved by autograd
  }
  Work work;
  std::size_t inputs;
  RoundedForms forms;
};

/// The same values without a history, so that a backward pass ends there.
at::Tensor leaf_of(const at::Tensor& tensor) {
  return tensor.detach().requires_grad_(tensor.requires_grad());
}

struct RecomputeFunction : torch::autograd::Function<RecomputeFunction> {
  static variable_list forward(AutogradContext* context, at::TensorList all, const Work& work,
                               std::size_t inputs, const RoundedForms& forms) {
    context->save_for_backward(all.vec());
    context->saved_data["kept"] =
        c10::IValue::make_capsule(c10::make_intrusive<Kept>(work, inputs, forms));
    context->set_materialize_grads(false);
    return work(all.slice(0, inputs).vec());
  }

  /// On a GPU this is on autograd's own thread, which makes the inner pass too, on the stream of
  /// the forward pass: nothing is queued elsewhere, so a capture sees one stream.
  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "recomputed work has no second derivative");
    const c10::intrusive_ptr<torch::CustomClassHolder> held =
        context->saved_data["kept"].toCapsule();
    const Kept& kept = *static_cast<const Kept*>(held.get());
    variable_list leaves = context->get_saved_variables();
    const std::size_t rounded = leaves.size() - kept.forms.weights.size();
    variable_list outputs;
    {
      const at::AutoGradMode enabled(true);
      for (std::size_t i = 0; i < leaves.size(); ++i) {
        if (i < kept.inputs || i >= rounded) leaves[i] = leaf_of(leaves[i]);
      }
      const auto split = leaves.begin() + static_cast<std::ptrdiff_t>(rounded);
      const RoundedWeights scope({.weights = kept.forms.weights,
                                  .rounded = {split, leaves.end()},
                                  .type = kept.forms.type});
      outputs =
          kept.work({leaves.begin(), leaves.begin() + static_cast<std::ptrdiff_t>(kept.inputs)});
    }
    variable_list all = gradients(outputs, grads, leaves);
    all.resize(all.size() + 3);  // work, inputs and forms have none
    return all;
  }

 private:
  /// One a leaf; undefined where it wants none or `outputs` do not depend on it.
  static variable_list gradients(const variable_list& outputs, const variable_list& grads,
                                 const variable_list& leaves) {
    variable_list from, seeds, to;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      if (!grads[i].defined() || !outputs[i].requires_grad()) continue;
      from.push_back(outputs[i]);
      seeds.push_back(grads[i]);
    }
    for (const at::Tensor& leaf : leaves) {
      if (leaf.requires_grad()) to.push_back(leaf);
    }
    variable_list all(leaves.size());
    if (from.empty() || to.empty()) return all;
    variable_list found = torch::autograd::grad(from, to, seeds, /*retain_graph=*/false,
                                                /*create_graph=*/false, /*allow_unused=*/true);
    for (std::size_t i = 0, next = 0; i < leaves.size(); ++i) {
      if (leaves[i].requires_grad()) all[i] = std::move(found[next++]);
    }
    return all;
  }
};

}  // namespace

std::vector<at::Tensor> recomputed(const std::vector<at::Tensor>& inputs,
                                   const std::vector<at::Tensor>& parameters, const Work& work) {
  const RoundedForms forms = rounded_forms(parameters);
  std::vector<at::Tensor> all = inputs;
  all.insert(all.end(), parameters.begin(), parameters.end());
  all.insert(all.end(), forms.rounded.begin(), forms.rounded.end());
  return RecomputeFunction::apply(at::TensorList(all), work, inputs.size(), forms);
}

}  // namespace mta
