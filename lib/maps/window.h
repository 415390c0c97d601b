// A window of rows or columns as a user writes it: "300:320", "-20:", ":64".
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace mta::maps {

/// [begin, end)
struct IndexRange {
  std::int64_t begin = 0, end = 0;

  std::int64_t size() const { return end - begin; }
  bool contains(std::int64_t index) const { return begin <= index && index < end; }
};

/// As written: a negative number counts from the end, a missing one is the end itself.
struct Window {
  std::optional<std::int64_t> begin, end;

  /// Throws UserError at `flag` unless `text` is "a:b", "a:", ":b" or ":".
  static Window parse(const std::string& text, const std::string& flag);
  /// The range in a map of `size` rows or columns. Throws UserError at `flag` when it is empty or
  /// reaches beyond the map.
  IndexRange in(std::int64_t size, const std::string& flag) const;
};

}  // namespace mta::maps
