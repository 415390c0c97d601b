// What functions.h and norm_gate.h answer in a build without CUDA.
#include "lib/nn/cuda/functions.h"
#include "lib/nn/cuda/norm_gate.h"

#include <c10/util/Exception.h>

namespace mta::nn::cuda {

bool covers_rms_norm(const at::Tensor&, const at::Tensor&) { return false; }
bool covers_rotate(const at::Tensor&, const at::Tensor&) { return false; }
bool covers_gated(const at::Tensor&) { return false; }
bool covers_cross_entropy(const at::Tensor&) { return false; }
bool covers_add_rows(const at::Tensor&) { return false; }
bool covers_norm_gate(const at::Tensor&, const ops::OutputStages&) { return false; }

Normed rms_norm(const at::Tensor&, const at::Tensor&, const at::Tensor&, double, std::int64_t) {
  TORCH_CHECK(false, "rms_norm: this build is without CUDA");
}
at::Tensor rotate(const at::Tensor&, const at::Tensor&, const at::Tensor&) {
  TORCH_CHECK(false, "rotate: this build is without CUDA");
}
std::vector<at::Tensor> rotate_joint(const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                     const std::vector<std::int64_t>&) {
  TORCH_CHECK(false, "rotate_joint: this build is without CUDA");
}
at::Tensor gated(const at::Tensor&) { TORCH_CHECK(false, "gated: this build is without CUDA"); }
at::Tensor norm_gate(const at::Tensor&, const ops::OutputStages&) {
  TORCH_CHECK(false, "norm_gate: this build is without CUDA");
}
at::Tensor cross_entropy(const at::Tensor&, const at::Tensor&, const at::Tensor&) {
  TORCH_CHECK(false, "cross_entropy: this build is without CUDA");
}
at::Tensor cross_entropy_backward(const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                  const at::Tensor&) {
  TORCH_CHECK(false, "cross_entropy_backward: this build is without CUDA");
}
void add_rows(const at::Tensor&, const at::Tensor&, const at::Tensor&) {
  TORCH_CHECK(false, "add_rows: this build is without CUDA");
}

}  // namespace mta::nn::cuda
