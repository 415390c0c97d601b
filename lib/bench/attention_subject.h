// One case on a device: its numbers, and its three ways to O = A v.
#pragma once

#include "lib/attention/plan.h"
#include "lib/bench/attention_cases.h"
#include "lib/core/json.h"
#include "lib/nn/parameters.h"
#include "lib/ops/attention.h"

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

namespace mta {

enum class AttentionRoute { Standard, Fused, Composed };

/// Random q, k, v and output gradient in [B, T, H, d] memory, and random parameters in float. The
/// same case has the same numbers on every device.
class AttentionSubject {
 public:
  AttentionSubject(const AttentionCase& one, at::Device device, at::ScalarType type);

  /// Why a route does not cover the case; empty if it does.
  std::string unsupported(AttentionRoute route) const;
  void forward(AttentionRoute route) const;
  /// The fused route's call, and the gradient of its output.
  ops::AttentionCall fused() const;
  const at::Tensor& output_gradient() const { return own_.d_out; }
  void forward_and_backward(AttentionRoute route) const;
  /// Goes forward; what it returns goes back from there, as often as it is called, while this
  /// lives.
  std::function<void()> backward(AttentionRoute route) const;

  /// Error relative to the composed path in double, by norms: {"output": .., "d_q": .., ..}. The
  /// standard route's truth has no stages.
  Json errors(AttentionRoute route) const;

 private:
  struct Leaves {
    at::Tensor q, k, v, d_out;
  };
  Leaves leaves(at::ScalarType type) const;
  at::Tensor attend_by(AttentionRoute route, const Leaves& leaves) const;
  /// All that the output has a gradient with respect to.
  std::vector<at::Tensor> inputs(AttentionRoute route, const Leaves& leaves) const;
  /// Output, d_q, d_k, d_v and the parameters' gradients.
  std::vector<at::Tensor> results(AttentionRoute route, const Leaves& leaves) const;

  AttentionPlan plan_;
  Parameters parameters_;
  std::int64_t workspace_bytes_;
  Leaves own_;
};

}  // namespace mta
