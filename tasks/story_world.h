// People who walk between rooms and carry things, and questions about it.
#pragma once

#include "lib/core/rng.h"

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mta {

std::span<const std::string_view> actors();
std::span<const std::string_view> objects();
std::span<const std::string_view> rooms();

struct StoryShape {
  int facts_needed = 1;
  std::size_t facts = 12;
  std::uint32_t actors = 4, objects = 4, rooms = 6;
};

struct Story {
  std::vector<std::string> sentences;
  std::string question, answer;
  std::vector<std::size_t> needed;  // the sentences that the answer follows from, in order
};

/// Draws stories until one allows a question that needs `facts_needed` facts. Throws UserError when
/// none of 10,000 does.
Story draw_story(const StoryShape& shape, Rng& rng);

}  // namespace mta
