// Weights in the computing type, rounded together once for a whole pass.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace mta {

/// While one is alive on a thread, linear() and linear_group() there find the rounded forms of
/// `weights` in it instead of rounding each at each use: one launch for all of them, and one for
/// all their gradients. They lie in one buffer in the given order, so that neighbours are one
/// matrix. The innermost one counts.
class RoundedWeights {
 public:
  RoundedWeights(const std::vector<at::Tensor>& weights, at::ScalarType type);
  ~RoundedWeights();
  RoundedWeights(const RoundedWeights&) = delete;
  RoundedWeights& operator=(const RoundedWeights&) = delete;

 private:
  friend at::Tensor rounded(const at::Tensor& weight, at::ScalarType type);

  at::ScalarType type_;
  std::vector<at::Tensor> weights_, rounded_;
  RoundedWeights* outer_;
};

/// `weight` in `type`: from the innermost RoundedWeights where that holds it, else rounded here.
at::Tensor rounded(const at::Tensor& weight, at::ScalarType type);

}  // namespace mta
