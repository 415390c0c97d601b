// A 64-bit hash of a text that is the same on every machine and in every version.
#pragma once

#include <cstdint>
#include <string_view>

namespace mta {

/// Which split a context belongs to depends on this hash, so changing it changes every data set.
std::uint64_t hash_text(std::string_view text);

}  // namespace mta
