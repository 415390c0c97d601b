// Which parts of an answer count as found.
#include "lib/train/answer_parts.h"

#include <algorithm>

namespace mta {
namespace {

/// 1 + k belongs to part k, from 1 on; the rest to none, which gives a number above all parts.
std::size_t part_of(std::uint8_t scored) { return scored - std::size_t{2}; }

}  // namespace

std::vector<bool> parts_in_place(std::span<const std::uint8_t> scored,
                                 std::span<const std::uint8_t> wrong, std::size_t parts) {
  std::vector<bool> found(parts, true);
  for (std::size_t i = 0; i < scored.size(); ++i) {
    const std::size_t part = part_of(scored[i]);
    if (wrong[i] != 0 && part < parts) found[part] = false;
  }
  return found;
}

std::vector<bool> parts_anywhere(std::span<const std::uint8_t> scored,
                                 std::span<const std::int64_t> answer,
                                 std::span<const std::int32_t> written, std::size_t parts) {
  std::vector<std::vector<std::int64_t>> wanted(parts);
  for (std::size_t i = 0; i < answer.size(); ++i) {
    const std::size_t part = part_of(scored[i]);
    if (part < parts) wanted[part].push_back(answer[i]);
  }
  std::vector<bool> found;
  for (const auto& part : wanted) {
    found.push_back(std::search(written.begin(), written.end(), part.begin(), part.end()) !=
                    written.end());
  }
  return found;
}

}  // namespace mta
