// The samples of a split whose contexts all differ.
#pragma once

#include "lib/core/task.h"

#include <cstdint>
#include <unordered_set>

namespace mta {

/// Goes through the samples of a split in order of index and leaves out every one whose context
/// came before.
class DistinctSamples {
 public:
  /// The task must outlive this.
  DistinctSamples(const Task& task, Split split, std::uint64_t seed)
      : task_(task), split_(split), seed_(seed) {}

  /// Throws UserError when 10,000 samples on end brought nothing new.
  Sample next();
  /// The index of the sample that next() gave last.
  std::uint64_t index() const { return next_index_ - 1; }

 private:
  const Task& task_;
  Split split_;
  std::uint64_t seed_;
  std::uint64_t next_index_ = 0;
  std::unordered_set<std::uint64_t> seen_;
};

}  // namespace mta
