// Which split a context belongs to: decided by the context alone, so that no seed can mix the two.
#pragma once

#include "lib/core/error.h"
#include "lib/core/rng.h"
#include "lib/core/task.h"

#include <cstdint>
#include <string>

namespace mta {

inline constexpr std::uint64_t kSplitParts = 8;  // one part in eight is for testing

constexpr Split split_of(std::uint64_t context_hash) {
  return context_hash % kSplitParts == 0 ? Split::Test : Split::Train;
}

constexpr const char* name_of(Split split) { return split == Split::Train ? "train" : "test"; }

/// The numbers for sample `index` of a split of a task.
inline Rng sample_rng(std::uint64_t seed, Split split, std::uint64_t index) {
  return Rng(seed, split == Split::Train ? stream_of("tasks/train") : stream_of("tasks/test"),
             index);
}

/// Calls `draw`, which returns the hash of the context that it drew, until that context belongs to
/// `split`. A chance of (7/8)^1000 to fail means that there are no such contexts.
template <class Draw>
std::uint64_t draw_for(Split split, Draw draw) {
  constexpr int kDraws = 1000;
  for (int i = 0; i < kDraws; ++i) {
    const std::uint64_t hash = draw();
    if (split_of(hash) == split) return hash;
  }
  throw UserError("", std::string("none of 1000 contexts drawn belongs to the ") + name_of(split) +
                          " split: this task has too few different contexts");
}

/// Draws one sample of each split, so that what cannot be drawn is found before anything else runs.
inline void probe(const Task& task, const std::string& pointer, Problems& problems) {
  try {
    for (const Split split : {Split::Train, Split::Test}) task.sample(0, split, 0);
  } catch (const UserError& error) {
    problems.add(pointer, error.problems().front().message, error.problems().front().hint);
  }
}

}  // namespace mta
