// Greedy generation, token by token with caches.
#pragma once

#include "lib/model/decode_step.h"
#include "lib/model/language_model.h"

#include <cstdint>
#include <span>
#include <vector>

namespace mta {

/// A text that grows. The weights are rounded to the computing type once, and must stay as they
/// are.
class Decoder {
 public:
  /// `model` outlives this. `room`: tokens to make room for at once; more are found room for as
  /// they come. `records`: single tokens are recorded as a CUDA graph and replayed where that can
  /// be; worth it for long answers, as each room takes its own recording.
  explicit Decoder(const LanguageModel& model, std::int64_t room = 0, bool records = false)
      : model_(model),
        weights_(model.rounded_weights()),
        caches_(model.blocks().size(), KvCache{.room = room}),
        step_(model, records) {}

  /// The logits [B, V] after the next tokens [B, n], on the model's device, which is not waited
  /// for.
  at::Tensor next(const at::Tensor& tokens);
  std::int64_t tokens() const { return caches_[0].tokens(); }
  const DecodeUse& use() const { return step_.use(); }

  /// A place in the text to return to; going on from it writes over what came after it.
  std::vector<KvCache> place() const { return caches_; }
  void return_to(const std::vector<KvCache>& place) { caches_ = place; }

 private:
  const LanguageModel& model_;
  RoundedForms weights_;
  std::vector<KvCache> caches_;
  DecodeStep step_;
};

struct DecodeLimits {
  std::int64_t max_tokens = 0;  // stop after so many new tokens
  std::int32_t end_token = -1;  // stop after this token; it is part of the answer
  bool records = false;         // as Decoder has it
};

/// The most likely next tokens after `prompt` (at least one token), one after the other. Among
/// equal logits the lowest token wins.
std::vector<std::int32_t> greedy(const LanguageModel& model, std::span<const std::int32_t> prompt,
                                 const DecodeLimits& limits);

}  // namespace mta
