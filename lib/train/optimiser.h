// AdamW on all parameters at once, with clipping by the global norm.
#pragma once

#include "lib/nn/parameters.h"
#include "lib/nn/rounded_weights.h"
#include "lib/train/config.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace mta {

/// AdamW (Loshchilov and Hutter, ICLR 2019, algorithm 2) through LibTorch's fused operator, or two
/// kernels of lib/train/cuda on a GPU:
///   p -= lr wd p;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
///   p -= lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
/// Nothing here waits for the device.
class AdamW {
 public:
  /// `parameters` outlives this and gets no further members.
  AdamW(const Parameters& parameters, const TrainConfig& config);

  /// Scales the gradients down to norm `clip`, then updates the parameters. A gradient that is not
  /// finite changes nothing. Returns the global norm before scaling: a scalar on the device.
  at::Tensor step(double learning_rate);
  /// The rate as a scalar tensor: double on the CPU, fp32 on the device of a GPU, read when the
  /// operations run.
  at::Tensor step(const at::Tensor& learning_rate);
  void forget_gradients();

  /// From now on `forms` are kept up to date with the parameters that they are rounded from, and
  /// step() takes those parameters' gradients from them: work inside a RoundedWeights of rounded()
  /// leaves them there, in the narrow type.
  void keep_rounded(const RoundedForms& forms);
  const RoundedForms& rounded() const { return forms_; }
  /// Rounds again what others than step() have changed through LibTorch, as a checkpoint's reader.
  void refresh_rounded();

  /// "exp_avg.<parameter>", "exp_avg_sq.<parameter>" and "step": the state itself, not a copy.
  std::map<std::string, at::Tensor> state() const;
  /// Throws std::runtime_error when a tensor is missing or has another shape.
  void restore(const std::map<std::string, at::Tensor>& state);

 private:
  template <class Rate>
  at::Tensor update(const Rate& learning_rate);
  /// On a GPU in fp32; the same formulas, gradients scaled in the same pass and left as they are.
  at::Tensor update_by_kernels(const std::vector<at::Tensor>& gradients,
                               const at::Tensor& learning_rate);

  /// Where backward leaves the gradient of parameter i.
  const at::Tensor& leaf(std::size_t i) const;
  void round_again();

  const Parameters& parameters_;
  const TrainConfig config_;
  std::vector<at::Tensor> tensors_, exp_avg_, exp_avg_sq_;
  at::Tensor step_;  // fp32 scalar on the device, as the fused operator wants it
  RoundedForms forms_;
  std::vector<at::Tensor> form_of_;     // of each parameter, undefined where it has none
  std::vector<std::int64_t> versions_;  // of forms_.weights, as rounded
  at::Tensor blocks_done_;              // the kernels' counter, 0 between updates
};

}  // namespace mta
