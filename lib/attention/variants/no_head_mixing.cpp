// Ablation: key-query convolution before softmax with group norm and gate, heads never mixed.
#include "lib/attention/registry.h"

namespace mta::variants {

Variant no_head_mixing() {
  return {.summary = "kq convolution before softmax, group norm and gate, no head mixing",
          .preset = [](AttentionConfig& config) {
            config.kq_before = {.query = 6, .key = 11};
            config.group_norm.emplace();
            config.gate.emplace();
          }};
}

}  // namespace mta::variants
