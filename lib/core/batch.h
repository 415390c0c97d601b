// A batch of samples as plain arrays, ready to become tensors.
#pragma once

#include "lib/core/task.h"

#include <cstdint>
#include <vector>

namespace mta {

/// Row-major [size, length]. Position t holds the input token t and, as target, token t + 1 of the
/// sequence.
struct Batch {
  std::int64_t size = 0;
  std::int64_t length = 0;
  std::vector<std::int32_t> inputs;
  std::vector<std::int32_t> targets;
  std::vector<std::uint8_t> scored;  // as Encoded::scored, of the target
  /// The first position that is scored in any row; `length` when none is.
  std::int64_t first_scored = 0;
  std::vector<Slices> slices;                    // one entry a row
  std::vector<std::vector<Slices>> part_slices;  // one entry a row: one for each part of its answer
};

/// Shorter samples are filled up at the end with token 0, unscored.
Batch make_batch(const Task& task, const std::vector<Sample>& samples);

}  // namespace mta
