// Feeds the prompt at once, then each chosen token.
#include "lib/model/decode.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

namespace mta {
namespace {

/// [1, n] int64 on the model's device.
at::Tensor as_tensor(std::span<const std::int32_t> tokens, at::Device device) {
  at::Tensor tensor = at::empty({1, static_cast<std::int64_t>(tokens.size())}, at::kLong);
  std::copy(tokens.begin(), tokens.end(), tensor.data_ptr<std::int64_t>());
  return tensor.to(device);
}

}  // namespace

at::Tensor Decoder::next(const at::Tensor& tokens) {
  const at::NoGradGuard no_grad;
  const RoundedWeights scope(weights_);
  if (step_.covers(tokens, caches_)) return step_.run(tokens, caches_);
  step_.count_plain();
  return model_.decode_last(tokens, caches_);
}

std::vector<std::int32_t> greedy(const LanguageModel& model, std::span<const std::int32_t> prompt,
                                 const DecodeLimits& limits) {
  TORCH_CHECK(!prompt.empty(), "generation needs a prompt of at least one token");
  const at::NoGradGuard no_grad;
  const at::Device device = model.parameters().named().front().second.device();
  Decoder decoder(model, /*room=*/0, limits.records);
  std::vector<std::int32_t> answer;
  at::Tensor next = as_tensor(prompt, device);
  while (static_cast<std::int64_t>(answer.size()) < limits.max_tokens) {
    const auto token = static_cast<std::int32_t>(decoder.next(next).argmax().item<std::int64_t>());
    answer.push_back(token);
    if (token == limits.end_token) break;
    next = as_tensor({&answer.back(), 1}, device);
  }
  return answer;
}

}  // namespace mta
