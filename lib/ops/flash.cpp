// The call to LibTorch, and the seeding of its generator.
#include "lib/ops/flash.h"

#include "lib/ops/cuda/queue.h"

#include <ATen/Context.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <Random123/philox.h>

#include <mutex>

namespace mta::ops {

std::string flash_unsupported(const AttentionCall& call) {
  const at::Tensor& q = call.q;
  if (!q.is_cuda()) return "q is on " + q.device().str();
  if (q.scalar_type() != at::kHalf && q.scalar_type() != at::kBFloat16) {
    return std::string("q is ") + c10::toString(q.scalar_type()) +
           " (flash attention: Half, BFloat16)";
  }
  if (call.kq_before || call.kq_after || call.heads_before.defined() ||
      call.heads_after.defined()) {
    return "the attention has stages";
  }
  const std::int64_t rows = q.size(2), keys = call.k.size(2);
  const bool all = call.first_row == 0 && rows == keys;
  const bool last = rows == 1 && call.first_row + 1 == keys;
  if (!all && !last) {
    return std::to_string(rows) + " of " + std::to_string(keys) +
           " rows are wanted (flash attention: all rows, or the last one)";
  }
  return "";
}

void seed_flash(const Dropout& dropout, at::Device device) {
  const philox2x64_ctr_t counter = {{dropout.stream, 0}};
  const philox2x64_key_t key = {{dropout.seed}};
  const philox2x64_ctr_t words = philox2x64(counter, key);
  at::Generator generator = at::globalContext().defaultGenerator(device);
  const std::lock_guard<std::mutex> lock(generator.mutex());
  generator.set_current_seed(words.v[0]);
}

at::Tensor flash_attention(const AttentionCall& call) {
  const at::Device device = call.q.device();
  const bool seeded = call.dropout.step.defined() || cuda::is_capturing(device);
  if (call.dropout.rate > 0 && !seeded) seed_flash(call.dropout, device);
  return at::scaled_dot_product_attention(call.q, call.k, call.v, /*attn_mask=*/{},
                                          call.dropout.rate, /*is_causal=*/call.q.size(2) > 1);
}

}  // namespace mta::ops
