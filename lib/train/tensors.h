// Batch -> tensors on the device, and the loss on them.
#pragma once

#include "lib/core/batch.h"
#include "lib/nn/chunked_cross_entropy.h"

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace mta {

/// Marks a position without a target.
inline constexpr std::int64_t kUnscored = kNoTarget;

/// B samples of T positions, of which those from `first_row` on may be scored.
struct TensorBatch {
  at::Tensor inputs;   // [B, T] int64
  at::Tensor targets;  // [B, T - first_row] int64, kUnscored where nothing is asked
  std::int64_t first_row = 0;
  std::int64_t scored = 0;  // targets that are not kUnscored

  std::int64_t samples() const { return inputs.size(0); }
  std::int64_t tokens() const { return inputs.numel(); }
};

/// Where write_tokens() writes to.
struct TokenPlaces {
  std::int64_t* inputs;   // [B, T]
  std::int64_t* targets;  // [B, T - first_scored]
};
/// Returns the number of scored targets.
std::int64_t write_tokens(const Batch& batch, const TokenPlaces& to);

/// Does not wait for the device.
TensorBatch to_tensors(const Batch& batch, at::Device device);

/// Part `part` of `parts` equal ones, by samples; `scored` is left at that of the whole batch,
/// which a mean over the whole divides by.
TensorBatch part_of(const TensorBatch& batch, std::int64_t part, std::int64_t parts);

/// Logits from so many on are not widened all at once: 64 MiB in fp32.
inline constexpr std::int64_t kManyLogits = std::int64_t{1} << 24;

/// Cross-entropy summed over the scored positions of logits [B, T - first_row, V]; nats. A scalar
/// in fp32, or double for double. LibTorch's for fewer than kManyLogits values on the CPU, else
/// chunked_cross_entropy(): they differ by rounding alone.
at::Tensor summed_loss(const at::Tensor& logits, const at::Tensor& targets);

}  // namespace mta
