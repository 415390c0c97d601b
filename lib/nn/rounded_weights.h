// Weights in the computing type, rounded together once for a whole pass.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace mta {

/// Weights, and the same rounded to `type`, one for one.
struct RoundedForms {
  std::vector<at::Tensor> weights = {}, rounded = {};
  at::ScalarType type = at::kFloat;
};

/// While one is alive on a thread, linear() and linear_group() there find the rounded forms of
/// `weights` in it instead of rounding each at each use: one launch for all of them, and one for
/// all their gradients. They lie in one buffer in the given order, so that neighbours are one
/// matrix. The innermost one counts.
class RoundedWeights {
 public:
  RoundedWeights(const std::vector<at::Tensor>& weights, at::ScalarType type);
  /// Finds these forms and rounds nothing.
  explicit RoundedWeights(RoundedForms forms);
  ~RoundedWeights();
  RoundedWeights(const RoundedWeights&) = delete;
  RoundedWeights& operator=(const RoundedWeights&) = delete;

 private:
  friend at::Tensor rounded(const at::Tensor& weight, at::ScalarType type);
  friend RoundedForms rounded_forms(const std::vector<at::Tensor>& weights);

  /// Undefined where there is none.
  at::Tensor form_of(const at::Tensor& weight) const;

  RoundedForms forms_;
  RoundedWeights* outer_;
};

/// `weight` in `type`: from the innermost RoundedWeights where that holds it, else rounded here.
at::Tensor rounded(const at::Tensor& weight, at::ScalarType type);

/// Those of `weights` that the innermost RoundedWeights holds.
RoundedForms rounded_forms(const std::vector<at::Tensor>& weights);

}  // namespace mta
