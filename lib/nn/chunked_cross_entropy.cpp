// Rows a chunk at a time through LibTorch operations, or all at once through a CUDA kernel.
#include "lib/nn/chunked_cross_entropy.h"

#include "lib/nn/cuda/functions.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/logsumexp.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

namespace mta {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr std::int64_t kChunkValues = std::int64_t{1} << 24;

at::ScalarType wide_type(const at::Tensor& logits) {
  return logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

/// Calls f(first, rows) for chunks of rows.
template <class F>
void for_each_chunk(const at::Tensor& logits, const F& f) {
  const std::int64_t rows = logits.size(0);
  const std::int64_t step =
      std::max<std::int64_t>(1, kChunkValues / std::max<std::int64_t>(1, logits.size(1)));
  for (std::int64_t first = 0; first < rows; first += step) {
    f(first, std::min(step, rows - first));
  }
}

/// Writes log(sum of exp) of each row [N] and returns the loss of each [N].
at::Tensor forward_in_chunks(const at::Tensor& logits, const at::Tensor& targets,
                             at::Tensor& log_sums) {
  at::Tensor losses = at::empty_like(log_sums);
  for_each_chunk(logits, [&](std::int64_t first, std::int64_t rows) {
    const at::Tensor x = logits.narrow(0, first, rows).to(wide_type(logits));
    const at::Tensor target = targets.narrow(0, first, rows);
    const at::Tensor sums = at::logsumexp(x, 1);
    const at::Tensor wanted = x.gather(1, target.clamp_min(0).unsqueeze(1)).squeeze(1);
    log_sums.narrow(0, first, rows).copy_(sums);
    losses.narrow(0, first, rows).copy_((sums - wanted).masked_fill(target == kNoTarget, 0));
  });
  return losses;
}

/// (softmax - 1 at the target) times `grad`, zero in rows without a target.
at::Tensor backward_in_chunks(const at::Tensor& logits, const at::Tensor& targets,
                              const at::Tensor& log_sums, const at::Tensor& grad) {
  at::Tensor grad_logits = at::empty_like(logits);
  for_each_chunk(logits, [&](std::int64_t first, std::int64_t rows) {
    const at::Tensor target = targets.narrow(0, first, rows).unsqueeze(1);
    at::Tensor p = logits.narrow(0, first, rows).to(wide_type(logits));
    p = (p - log_sums.narrow(0, first, rows).unsqueeze(1)).exp_();
    const at::Tensor place = target.clamp_min(0);
    p.scatter_(1, place, p.gather(1, place) - 1);
    p.mul_(grad).masked_fill_(target == kNoTarget, 0);
    grad_logits.narrow(0, first, rows).copy_(p);
  });
  return grad_logits;
}

struct CrossEntropyFunction : torch::autograd::Function<CrossEntropyFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input,
                            const at::Tensor& targets) {
    const at::Tensor logits = input.contiguous();
    at::Tensor log_sums = at::empty({logits.size(0)}, logits.options().dtype(wide_type(logits)));
    const at::Tensor losses = nn::cuda::covers_cross_entropy(logits)
                                  ? nn::cuda::cross_entropy(logits, targets, log_sums)
                                  : forward_in_chunks(logits, targets, log_sums);
    context->save_for_backward({logits, targets, log_sums});
    return losses.sum();
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &logits = saved[0], &targets = saved[1], &log_sums = saved[2];
    const bool kernel = nn::cuda::covers_cross_entropy(logits);
    return {kernel ? nn::cuda::cross_entropy_backward(logits, targets, log_sums, grads[0])
                   : backward_in_chunks(logits, targets, log_sums, grads[0]),
            at::Tensor()};
  }
};

}  // namespace

at::Tensor chunked_cross_entropy(const at::Tensor& logits, const at::Tensor& targets) {
  TORCH_CHECK(logits.dim() == 2 && targets.dim() == 1 && targets.size(0) == logits.size(0) &&
                  targets.scalar_type() == at::kLong,
              "logits ", logits.sizes(), " and targets ", targets.toString(), " ", targets.sizes(),
              " are not [N, V] and Long [N]");
  return CrossEntropyFunction::apply(logits, targets.contiguous());
}

}  // namespace mta
