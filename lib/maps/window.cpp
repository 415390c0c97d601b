// Reads windows and finds their place in a map.
#include "lib/maps/window.h"

#include "lib/core/error.h"

#include <fmt/core.h>

#include <charconv>

namespace mta::maps {
namespace {

std::optional<std::int64_t> number_of(const std::string& text, const std::string& whole,
                                      const std::string& flag) {
  if (text.empty()) return std::nullopt;
  std::int64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stopped != end) {
    throw UserError(fmt::format("{} {}", flag, whole),
                    "must be FIRST:END, such as 300:320, -20: or :64");
  }
  return value;
}

}  // namespace

Window Window::parse(const std::string& text, const std::string& flag) {
  const std::size_t colon = text.find(':');
  if (colon == std::string::npos) {
    throw UserError(fmt::format("{} {}", flag, text),
                    "must be FIRST:END, such as 300:320, -20: or :64");
  }
  return {number_of(text.substr(0, colon), text, flag),
          number_of(text.substr(colon + 1), text, flag)};
}

IndexRange Window::in(std::int64_t size, const std::string& flag) const {
  const auto from_end = [size](std::int64_t index) { return index < 0 ? index + size : index; };
  const IndexRange range{from_end(begin.value_or(0)), from_end(end.value_or(size))};
  if (range.begin < 0 || range.end > size || range.size() <= 0) {
    throw UserError(flag, fmt::format("the window {}:{} is empty or reaches beyond the map's {}",
                                      range.begin, range.end, size));
  }
  return range;
}

}  // namespace mta::maps
