// Rotary position embedding on interleaved pairs (arXiv 2104.09864).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace mta {

/// For pair i at a position, with the angle position * theta^(-2i/d):
///     cos: cos, cos      sin: -sin, sin
/// so that rotating is x cos + swapped(x) sin, where swapped exchanges the neighbours of each pair.
struct RotaryTable {
  at::Tensor cos, sin;  // [positions, d], positions from 0

  std::int64_t positions() const { return cos.defined() ? cos.size(0) : 0; }
};

/// The table in `options`: double, or float32 for everything narrower. The angles themselves are
/// worked out in double, which is within rounding of float32 everywhere.
RotaryTable make_rotary_table(std::int64_t positions, std::int64_t head_dim, double theta,
                              at::TensorOptions options);

/// (x0, x1) -> (x0 cos - x1 sin, x0 sin + x1 cos) for each pair of neighbours, in the table's type.
/// x [B, T, H, d], row t at position first_position + t -> [B, T, H, d] in the type of x.
at::Tensor rotate(const at::Tensor& x, const RotaryTable& table, std::int64_t first_position);

/// Views of tensors of one width that stand side by side in joint [B, T, W], one for each of
/// `heads`: part i is [B, T, heads[i], W / count / heads[i]]. Queries, keys and values, say.
std::vector<at::Tensor> joint_parts(const at::Tensor& joint,
                                    const std::vector<std::int64_t>& heads);
/// The same, all but the last rotated from position 0 on. On a GPU that is in place, so that joint
/// is not to be read any more, and the gradient of joint is written in one pass.
std::vector<at::Tensor> rotate_joint(const at::Tensor& joint, const RotaryTable& table,
                                     const std::vector<std::int64_t>& heads);

}  // namespace mta
