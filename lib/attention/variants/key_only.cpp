// Ablation: the convolution before softmax spans keys alone, one query.
#include "lib/attention/registry.h"

namespace mta::variants {

Variant key_only() {
  return {.summary = "convolution before softmax over 11 keys, one query",
          .preset = [](AttentionConfig& config) { config.kq_before = {.query = 1, .key = 11}; }};
}

}  // namespace mta::variants
