// Checks the library against golden vectors: inputs, outputs and gradients of the public reference.
#pragma once

#include "lib/attention/config.h"
#include "lib/nn/safetensors.h"

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

namespace mta {

/// One output or gradient against the reference's.
struct GoldenResult {
  std::string tensor;    // "y", "grad_x", "grad.mta_kernel": the reference's name
  double error = 0;      // norm of the difference over the norm of the reference, over all draws
  double tolerance = 0;  // see verify_golden
  bool pass = false;     // false for an error that is not a number, too
  std::optional<double> composed_error = std::nullopt;  // in 16 bits: what the tolerance is made of
};

struct GoldenReport {
  std::vector<GoldenResult> results;
  std::vector<AttentionPath> paths;  // of each attention layer

  bool pass() const;
};

struct GoldenOptions {
  at::Device device = at::kCPU;
  AttentionPath path = AttentionPath::Auto;
  at::ScalarType compute = at::kFloat;  // kFloat, kBFloat16 or kHalf; parameters are float
};

/// Runs one golden file: a single attention layer (it has "x"), or a language model (it has
/// "tokens"). `name` stands in messages. Tolerances: in float 1e-5 for outputs and 1e-4 for
/// gradients; in 16 bits twice the error of the composed path in the same type and one rounding of
/// that type, both errors over 16 draws of the parameters around the file's. Throws UserError when
/// the file is not a golden file, or when the fused path is demanded and does not cover it.
GoldenReport verify_golden(const TensorFile& file, const std::string& name,
                           const GoldenOptions& options);

}  // namespace mta
