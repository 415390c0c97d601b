// Copying a batch, and cross-entropy.
#include "lib/train/tensors.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/empty.h>

namespace mta {

std::int64_t write_tokens(const Batch& batch, const TokenPlaces& to) {
  std::int64_t* input = to.inputs;
  std::int64_t* target = to.targets;
  std::int64_t scored = 0;
  for (std::int64_t row = 0; row < batch.size; ++row) {
    for (std::int64_t t = 0; t < batch.length; ++t) {
      const auto at = static_cast<std::size_t>(row * batch.length + t);
      *input++ = batch.inputs[at];
      if (t < batch.first_scored) continue;
      *target++ = batch.scored[at] != 0 ? batch.targets[at] : kUnscored;
      scored += batch.scored[at] != 0;
    }
  }
  return scored;
}

TensorBatch to_tensors(const Batch& batch, at::Device device) {
  TORCH_CHECK(batch.first_scored < batch.length, "a batch without a scored position");
  // Pinned memory lets the copy overlap with what the device is doing.
  const auto options = at::TensorOptions().dtype(at::kLong).pinned_memory(!device.is_cpu());
  const at::Tensor inputs = at::empty({batch.size, batch.length}, options);
  const at::Tensor targets = at::empty({batch.size, batch.length - batch.first_scored}, options);
  const std::int64_t scored =
      write_tokens(batch, {.inputs = inputs.mutable_data_ptr<std::int64_t>(),
                           .targets = targets.mutable_data_ptr<std::int64_t>()});
  return {.inputs = inputs.to(device, /*non_blocking=*/true),
          .targets = targets.to(device, /*non_blocking=*/true),
          .first_row = batch.first_scored,
          .scored = scored};
}

TensorBatch part_of(const TensorBatch& batch, std::int64_t part, std::int64_t parts) {
  const std::int64_t size = batch.samples() / parts;
  return {.inputs = batch.inputs.narrow(0, part * size, size),
          .targets = batch.targets.narrow(0, part * size, size),
          .first_row = batch.first_row,
          .scored = batch.scored};
}

at::Tensor summed_loss(const at::Tensor& logits, const at::Tensor& targets) {
  if (logits.is_cuda() || logits.numel() >= kManyLogits) {
    return chunked_cross_entropy(logits.flatten(0, 1), targets.flatten());
  }
  const at::Tensor wide = logits.scalar_type() == at::kDouble ? logits : logits.to(at::kFloat);
  return at::cross_entropy_loss(wide.flatten(0, 1), targets.flatten(), /*weight=*/{},
                                at::Reduction::Sum, kUnscored);
}

}  // namespace mta
