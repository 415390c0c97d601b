// Rotary position embedding on interleaved pairs (arXiv 2104.09864).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace mta {

/// cos and sin of position * theta^(-2i/d) for pair i: [positions, d/2], positions from 0.
struct RotaryTable {
  at::Tensor cos, sin;

  std::int64_t positions() const { return cos.defined() ? cos.size(0) : 0; }
};

/// The table in `options`: double, or float32 for everything narrower. The angles themselves are
/// worked out in double, which is within rounding of float32 everywhere.
RotaryTable make_rotary_table(std::int64_t positions, std::int64_t head_dim, double theta,
                              at::TensorOptions options);

/// (x0, x1) -> (x0 cos - x1 sin, x0 sin + x1 cos) for each pair of neighbours, in the table's type.
/// x [B, T, H, d], row t at position first_position + t -> [B, T, H, d] in the type of x.
at::Tensor rotate(const at::Tensor& x, const RotaryTable& table, std::int64_t first_position);

}  // namespace mta
