// What a task has that is made of other tasks.
#include "tasks/combined_task.h"

#include "lib/core/vocabulary.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

namespace mta {
void CombinedTask::combine(std::vector<Part> parts, const std::vector<std::string>& pointers,
                           Problems& problems) {
  parts_ = std::move(parts);
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    problems.require(!parts_[i]->common.samples, pointers[i] + "/samples",
                     "must be \"fresh\" in a part: the size of a fixed set belongs to the whole");
    const std::string difference = difference_of(token_texts(*parts_[0]), token_texts(*parts_[i]),
                                                 "in the first part", "here");
    problems.require(difference.empty(), pointers[i],
                     fmt::format("must have the same tokens as the first part, but {}", difference),
                     "give all parts the same alphabet or tokenizer");
  }
}

std::int64_t CombinedTask::max_tokens() const {
  std::int64_t most = 0;
  for (const Part& part : parts_) most = std::max(most, part->max_tokens());
  return most;
}

double CombinedTask::log2_contexts() const {
  double least = parts_.front()->log2_contexts();
  for (const Part& part : parts_) least = std::min(least, part->log2_contexts());
  return least;
}

bool CombinedTask::answers_at_once() const {
  return std::all_of(parts_.begin(), parts_.end(),
                     [](const Part& part) { return part->answers_at_once(); });
}

bool CombinedTask::parts_in_any_order() const {
  return std::all_of(parts_.begin(), parts_.end(),
                     [](const Part& part) { return part->parts_in_any_order(); });
}

std::vector<std::string> CombinedTask::notices() const {
  std::vector<std::string> all;
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    for (const std::string& notice : parts_[i]->notices()) {
      all.push_back(fmt::format("part {} ({}): {}", i, parts_[i]->common.kind, notice));
    }
  }
  return all;
}

}  // namespace mta
