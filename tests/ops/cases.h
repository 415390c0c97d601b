// Random calls of the fused attention: sizes, stages, windows and memory layouts.
#pragma once

#include "lib/ops/attention.h"

#include <string>
#include <vector>

namespace mta::check {

enum class Stage { Off, On };

struct AttentionCase {
  std::int64_t batch = 2, heads = 2, rows = 5, keys = 5, first_row = 0, head_dim = 3, value_dim = 3;
  std::int64_t query_span = 1, key_span = 1, pad_left = 0;  // before; 1 x 1 is off
  std::int64_t query_span_after = 1, key_span_after = 1, pad_left_after = 0;  // 1 x 1 is off
  std::int64_t heads_before = 1, heads_after = 1;  // heads a group; 1 is off
  ops::Causality causality = ops::Causality::Double;
  double dropout = 0;

  std::string name() const;
};

/// Inputs as a model makes them: [B, T, H, d] seen as [B, H, T, d]. Normal numbers from `seed`;
/// kernels and matrices are random too, so that a wrong index shows.
ops::AttentionCall random_call(const AttentionCase& shape, std::uint64_t seed,
                               at::ScalarType dtype);

/// The tensors of a call that have gradients, with their names.
std::vector<std::pair<std::string, at::Tensor*>> differentiable(ops::AttentionCall& call);

/// A copy whose tensors are new leaves in `dtype` that require gradients.
ops::AttentionCall leaves(const ops::AttentionCall& call, at::ScalarType dtype);

/// Every stage alone and together, odd sizes, windows, groups, paddings, both causalities.
std::vector<AttentionCase> small_cases();
std::vector<AttentionCase> large_cases();

}  // namespace mta::check
