// The optimiser's state and its step.
#include "lib/train/optimiser.h"

#include "lib/train/cuda/adamw.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_copy.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <type_traits>

namespace mta {
namespace {

// The value that torch.nn.utils.clip_grad_norm_ adds, so that a norm of 0 divides nothing by 0.
constexpr double kNormEpsilon = 1e-6;

void copy_into(const at::Tensor& target, const std::map<std::string, at::Tensor>& state,
               const std::string& name) {
  const auto found = state.find(name);
  if (found == state.end()) throw std::runtime_error("optimiser state without \"" + name + "\"");
  if (found->second.sizes() != target.sizes()) {
    throw std::runtime_error("optimiser state \"" + name + "\" has another shape");
  }
  target.copy_(found->second);
}

#ifdef MTA_WITH_CUDA
constexpr std::uintptr_t kAlignment = 16;  // bytes

bool aligned(const at::Tensor& x) {
  return reinterpret_cast<std::uintptr_t>(x.const_data_ptr()) % kAlignment == 0;
}
#endif

bool covered_by_kernels(const std::vector<at::Tensor>& tensors) {
#ifdef MTA_WITH_CUDA
  return std::all_of(tensors.begin(), tensors.end(), [](const at::Tensor& t) {
    return t.is_cuda() && t.scalar_type() == at::kFloat && t.is_contiguous();
  });
#else
  return tensors.empty();  // never
#endif
}

}  // namespace

AdamW::AdamW(const Parameters& parameters, const TrainConfig& config)
    : parameters_(parameters),
      config_(config),
      tensors_(parameters.tensors()),
      form_of_(tensors_.size()) {
  TORCH_CHECK(!tensors_.empty(), "a model without parameters");
  for (const at::Tensor& tensor : tensors_) {
    exp_avg_.push_back(at::zeros_like(tensor, tensor.options().requires_grad(false)));
    exp_avg_sq_.push_back(at::zeros_like(tensor, tensor.options().requires_grad(false)));
  }
  step_ = at::zeros({}, at::TensorOptions(tensors_[0].device()).dtype(at::kFloat));
  blocks_done_ = at::zeros({}, step_.options().dtype(at::kInt));
}

at::Tensor AdamW::step(double learning_rate) { return update(learning_rate); }
at::Tensor AdamW::step(const at::Tensor& learning_rate) { return update(learning_rate); }

template <class Rate>
at::Tensor AdamW::update(const Rate& learning_rate) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> gradients;
  gradients.reserve(tensors_.size());
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const at::Tensor& gradient = leaf(i).grad();
    TORCH_CHECK(gradient.defined(), "parameter ", parameters_.named()[i].first, " got no gradient");
    gradients.push_back(gradient);
  }

  step_.add_(1);
  if constexpr (std::is_same_v<Rate, at::Tensor>) {
    if (covered_by_kernels(tensors_)) return update_by_kernels(gradients, learning_rate);
  }
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    gradients[i] = gradients[i].to(tensors_[i].scalar_type());
  }
  at::Tensor norm = at::linalg_vector_norm(at::stack(at::_foreach_norm(gradients)));
  if (config_.clip) {
    at::_foreach_mul_(gradients, (*config_.clip / (norm + kNormEpsilon)).clamp_max(1.0));
  }
  const std::vector<at::Tensor> steps(tensors_.size(), step_);
  const at::Tensor not_finite = at::isfinite(norm).logical_not().to(at::kFloat);
  at::_fused_adamw_(tensors_, gradients, exp_avg_, exp_avg_sq_, /*max_exp_avg_sqs=*/{}, steps,
                    learning_rate, config_.betas[0], config_.betas[1], config_.weight_decay,
                    config_.eps, /*amsgrad=*/false, /*maximize=*/false, /*grad_scale=*/{},
                    not_finite);
  round_again();
  return norm;
}

#ifdef MTA_WITH_CUDA
at::Tensor AdamW::update_by_kernels(const std::vector<at::Tensor>& gradients,
                                    const at::Tensor& learning_rate) {
  std::vector<at::Tensor> contiguous;  // alive until the launch
  std::vector<train::cuda::AdamTensor> table;
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    at::Tensor& gradient = contiguous.emplace_back(gradients[i].contiguous());
    if (!aligned(gradient)) gradient = gradient.clone();  // a part of a larger one
    table.push_back({.parameter = tensors_[i].mutable_data_ptr<float>(),
                     .gradient = gradient.const_data_ptr(),
                     .exp_avg = exp_avg_[i].mutable_data_ptr<float>(),
                     .exp_avg_sq = exp_avg_sq_[i].mutable_data_ptr<float>(),
                     .rounded = form_of_[i].defined() ? form_of_[i].mutable_data_ptr() : nullptr,
                     .count = tensors_[i].numel()});
  }
  const auto count = static_cast<int>(table.size());
  const at::Tensor partials =
      at::empty({train::cuda::adamw_partials(table.data(), count)}, step_.options());
  const at::Tensor factors =
      at::empty({sizeof(train::cuda::AdamFactors)}, step_.options().dtype(at::kByte));
  at::Tensor norm = at::empty({}, step_.options());
  const c10::impl::VirtualGuardImpl guard(at::kCUDA);
  const char* failure = train::cuda::adamw(
      {.tensors = table.data(),
       .tensor_count = count,
       .rate = learning_rate.const_data_ptr<float>(),
       .step = step_.const_data_ptr<float>(),
       .partials = partials.mutable_data_ptr<float>(),
       .blocks_done = blocks_done_.mutable_data_ptr<int>(),
       .factors = static_cast<train::cuda::AdamFactors*>(factors.mutable_data_ptr()),
       .norm = norm.mutable_data_ptr<float>(),
       .beta1 = static_cast<float>(config_.betas[0]),
       .beta2 = static_cast<float>(config_.betas[1]),
       .eps = static_cast<float>(config_.eps),
       .weight_decay = static_cast<float>(config_.weight_decay),
       .clip = static_cast<float>(config_.clip.value_or(0))},
      static_cast<train::cuda::Stream>(
          guard.getStreamNativeHandle(guard.getStream(step_.device()))));
  TORCH_CHECK(failure == nullptr, "adamw: ", failure);
  return norm;
}
#else
at::Tensor AdamW::update_by_kernels(const std::vector<at::Tensor>& /*gradients*/,
                                    const at::Tensor& /*learning_rate*/) {
  TORCH_CHECK(false, "adamw: this build is without CUDA");
}
#endif

void AdamW::forget_gradients() {
  for (const auto& leaves : {tensors_, forms_.rounded}) {
    for (const at::Tensor& leaf : leaves) leaf.mutable_grad() = at::Tensor();
  }
}

void AdamW::keep_rounded(const RoundedForms& forms) {
  TORCH_CHECK(forms.weights.empty() || forms.type == at::kBFloat16, "rounded to ", forms.type);
  forms_ = forms;
  form_of_.assign(tensors_.size(), at::Tensor());
  for (std::size_t k = 0; k < forms.weights.size(); ++k) {
    const auto found =
        std::find_if(tensors_.begin(), tensors_.end(),
                     [&](const at::Tensor& tensor) { return tensor.is_same(forms.weights[k]); });
    TORCH_CHECK(found != tensors_.end(), "a rounded form of no parameter");
    form_of_[static_cast<std::size_t>(found - tensors_.begin())] = forms_.rounded[k];
    forms_.rounded[k].requires_grad_(true);
  }
  round_again();
}

void AdamW::refresh_rounded() {
  for (std::size_t k = 0; k < versions_.size(); ++k) {
    if (forms_.weights[k]._version() != versions_[k]) return round_again();
  }
}

void AdamW::round_again() {
  if (forms_.weights.empty()) return;
  const at::NoGradGuard no_grad;
  at::_foreach_copy_(forms_.rounded, forms_.weights);
  versions_.clear();
  for (const at::Tensor& weight : forms_.weights) versions_.push_back(weight._version());
}

const at::Tensor& AdamW::leaf(std::size_t i) const {
  return form_of_[i].defined() ? form_of_[i] : tensors_[i];
}

std::map<std::string, at::Tensor> AdamW::state() const {
  std::map<std::string, at::Tensor> state = {{"step", step_}};
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const std::string& name = parameters_.named()[i].first;
    state["exp_avg." + name] = exp_avg_[i];
    state["exp_avg_sq." + name] = exp_avg_sq_[i];
  }
  return state;
}

void AdamW::restore(const std::map<std::string, at::Tensor>& state) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : this->state()) copy_into(tensor, state, name);
}

}  // namespace mta
