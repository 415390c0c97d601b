// Which parts of an answer count as found. No torch here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace mta {

/// The parts of an answer, of which there are `parts`, without a wrong token in their place.
/// `scored`: as Batch::scored, of one row; `wrong`: as long, 1 where the token is wrong.
std::vector<bool> parts_in_place(std::span<const std::uint8_t> scored,
                                 std::span<const std::uint8_t> wrong, std::size_t parts);

/// The parts of `answer` that stand, whole, anywhere in `written`, as RULER counts; `scored` begins
/// where `answer` does.
std::vector<bool> parts_anywhere(std::span<const std::uint8_t> scored,
                                 std::span<const std::int64_t> answer,
                                 std::span<const std::int32_t> written, std::size_t parts);

}  // namespace mta
