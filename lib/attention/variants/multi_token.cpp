// The paper's full method (arXiv 2504.00927, section 3): read it to learn what the stages are.
#include "lib/attention/registry.h"

namespace mta::variants {

Variant multi_token() {
  return {.summary =
              "the full method: kq convolution and head mixing before and after softmax, "
              "group norm and gate",
          .preset = [](AttentionConfig& config) {
            config.kq_before = {.query = 6, .key = 11};
            config.heads_before.emplace();
            config.kq_after = {.query = 6, .key = 11};
            config.heads_after.emplace();
            config.group_norm.emplace();
            config.gate.emplace();
          }};
}

}  // namespace mta::variants
