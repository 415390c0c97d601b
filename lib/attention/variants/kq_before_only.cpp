// Key-query convolution before softmax and nothing else: the paper's toy experiment (section 4.1).
#include "lib/attention/registry.h"

namespace mta::variants {

Variant kq_before_only() {
  return {.summary = "kq convolution before softmax, 2 queries by 9 keys",
          .preset = [](AttentionConfig& config) { config.kq_before = {.query = 2, .key = 9}; }};
}

}  // namespace mta::variants
