// The GPU's functions in a build without CUDA: they say so.
#include "lib/ops/cuda/attention.h"
#include "lib/ops/cuda/dropout.h"
#include "lib/ops/cuda/queue.h"
#include "lib/ops/decode.h"
#include "lib/ops/last_rows.h"

#include <c10/util/Exception.h>

namespace mta::ops::cuda {
namespace {

constexpr const char* kAbsent = "this build is without CUDA";

}  // namespace

bool is_capturing(c10::Device /*device*/) { return false; }

at::Tensor keep_mask(const Dropout& /*dropout*/, at::Device device, const MaskShape& /*shape*/) {
  TORCH_CHECK(false, "dropout on ", device, ": ", kAbsent);
}

double kept_scale(const Dropout& dropout) { return 1 / (1 - dropout.rate); }

std::string unsupported(const AttentionCall& /*call*/) { return kAbsent; }

ForwardResult forward(const AttentionCall& /*call*/) {
  TORCH_CHECK(false, "fused attention on a GPU: ", kAbsent);
}

std::vector<at::Tensor> backward(const AttentionCall& /*call*/, const at::Tensor& /*rows*/,
                                 const at::Tensor& /*out*/, const at::Tensor& /*d_out*/) {
  TORCH_CHECK(false, "fused attention on a GPU: ", kAbsent);
}

ForwardResult forward(const AttentionCall& call, const kernels::LaunchPlan& /*launch*/) {
  return forward(call);
}

std::vector<at::Tensor> backward(const AttentionCall& call, const at::Tensor& rows,
                                 const at::Tensor& out, const at::Tensor& d_out,
                                 const kernels::LaunchPlan& /*launch*/) {
  return backward(call, rows, out, d_out);
}

}  // namespace mta::ops::cuda

namespace mta::ops {

std::string last_rows_unsupported(const AttentionCall& /*call*/) {
  return "this build is without CUDA";
}

at::Tensor last_rows_attention(const AttentionCall& /*call*/) {
  TORCH_CHECK(false, "the attention of the last rows: this build is without CUDA");
}

std::string decode_unsupported(const AttentionCall& /*call*/, const NewestRows& /*newest*/) {
  return "this build is without CUDA";
}

at::Tensor decode_attention(const AttentionCall& /*call*/, const NewestRows& /*newest*/,
                            const OutputStages& /*output*/) {
  TORCH_CHECK(false, "the attention of decoding: this build is without CUDA");
}

}  // namespace mta::ops
