// What each token of a task reads, so that a model is never used with other tokens than it learnt.
#pragma once

#include "lib/core/task.h"

#include <string>
#include <vector>

namespace mta {

/// Text of token 0, 1, ...; bytes outside ASCII as "<0xc3>".
std::vector<std::string> token_texts(const Task& task);

/// The first token that two vocabularies disagree on: 'token 17 is "r" in one and "q" in the
/// other', or their sizes; empty when they are the same. `one` and `other` name them.
std::string difference_of(const std::vector<std::string>& first,
                          const std::vector<std::string>& second, const std::string& one,
                          const std::string& other);

}  // namespace mta
