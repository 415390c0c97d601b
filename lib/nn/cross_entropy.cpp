// Cross-entropy through LibTorch, with unscored positions ignored.
#include "lib/nn/cross_entropy.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cross_entropy_loss.h>

namespace mta {
namespace {

constexpr std::int64_t kIgnored = -100;  // LibTorch's default ignore_index

}  // namespace

at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& targets,
                         const at::Tensor& scored) {
  const auto wide = logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  return at::cross_entropy_loss(logits.to(wide).flatten(0, -2),
                                targets.masked_fill(scored == 0, kIgnored).flatten());
}

}  // namespace mta
