// Ablation: the convolution before softmax spans queries alone, one key.
#include "lib/attention/registry.h"

namespace mta::variants {

Variant query_only() {
  return {.summary = "convolution before softmax over 6 queries, one key",
          .preset = [](AttentionConfig& config) { config.kq_before = {.query = 6, .key = 1}; }};
}

}  // namespace mta::variants
