// The table of variants: one line each, which declares and lists it.
#include "lib/attention/registry.h"

#include <stdexcept>

#define MTA_VARIANTS(V) \
  V(standard)           \
  V(multi_token)        \
  V(kq_before_only)     \
  V(key_only)           \
  V(query_only)         \
  V(no_head_mixing)     \
  V(head_mixing_only)   \
  V(talking_heads)      \
  V(differential)

namespace mta {
namespace variants {

#define MTA_DECLARE(name) Variant name();
MTA_VARIANTS(MTA_DECLARE)
#undef MTA_DECLARE

}  // namespace variants

const std::vector<std::string>& variant_names() {
#define MTA_NAME(name) #name,
  static const std::vector<std::string> names = {MTA_VARIANTS(MTA_NAME)};
#undef MTA_NAME
  return names;
}

Variant find_variant(std::string_view name) {
#define MTA_MATCH(known) \
  if (name == #known) return variants::known();
  MTA_VARIANTS(MTA_MATCH)
#undef MTA_MATCH
  throw std::out_of_range("no variant \"" + std::string(name) + "\"");
}

AttentionConfig preset(std::string_view name) {
  AttentionConfig config;
  config.variant = name;
  find_variant(name).preset(config);
  return config;
}

}  // namespace mta
