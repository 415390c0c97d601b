// The texts of a task's tokens, and how two lists of them differ.
#include "lib/core/vocabulary.h"

#include <fmt/core.h>

#include <algorithm>

namespace mta {

std::vector<std::string> token_texts(const Task& task) {
  constexpr unsigned kAscii = 0x80;
  std::vector<std::string> texts;
  for (std::int32_t token = 0; token < task.vocabulary(); ++token) {
    std::string text;
    for (const char c : task.decode({&token, 1})) {
      const unsigned byte = static_cast<unsigned char>(c);
      text += byte < kAscii ? std::string{c} : fmt::format("<0x{:02x}>", byte);
    }
    texts.push_back(std::move(text));
  }
  return texts;
}

std::string difference_of(const std::vector<std::string>& first,
                          const std::vector<std::string>& second, const std::string& one,
                          const std::string& other) {
  for (std::size_t i = 0; i < std::min(first.size(), second.size()); ++i) {
    if (first[i] == second[i]) continue;
    return fmt::format("token {} is \"{}\" {} and \"{}\" {}", i, first[i], one, second[i], other);
  }
  if (first.size() == second.size()) return {};
  return fmt::format("there are {} tokens {} and {} {}", first.size(), one, second.size(), other);
}

}  // namespace mta
