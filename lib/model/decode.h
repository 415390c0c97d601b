// Greedy generation, token by token with caches.
#pragma once

#include "lib/model/language_model.h"

#include <cstdint>
#include <span>
#include <vector>

namespace mta {

struct DecodeLimits {
  std::int64_t max_tokens = 0;  // stop after so many new tokens
  std::int32_t end_token = -1;  // stop after this token; it is part of the answer
};

/// The most likely next tokens after `prompt` (at least one token), one after the other. Among
/// equal logits the lowest token wins.
std::vector<std::int32_t> greedy(const LanguageModel& model, std::span<const std::int32_t> prompt,
                                 const DecodeLimits& limits);

}  // namespace mta
