// Checks the library against golden vectors: inputs, outputs and gradients of the public reference.
#pragma once

#include "lib/attention/config.h"
#include "lib/nn/safetensors.h"

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace mta {

/// One output or gradient against the reference's.
struct GoldenResult {
  std::string tensor;    // "y", "grad_x", "grad.mta_kernel": the reference's name
  double error = 0;      // norm of the difference over the norm of the reference
  double tolerance = 0;  // 1e-5 for outputs, 1e-4 for gradients
  bool pass = false;     // false for an error that is not a number, too
};

struct GoldenReport {
  std::vector<GoldenResult> results;
  std::vector<AttentionPath> paths;  // of each attention layer

  bool pass() const;
};

struct GoldenOptions {
  at::Device device = at::kCPU;
  AttentionPath path = AttentionPath::Auto;
};

/// Runs one golden file in float32: a single attention layer (it has "x"), or a language model (it
/// has "tokens"). `name` stands in messages. Throws UserError when the file is not a golden file,
/// or when the fused path is demanded and does not cover it.
GoldenReport verify_golden(const TensorFile& file, const std::string& name,
                           const GoldenOptions& options);

}  // namespace mta
