// How errors are put into words.
#include "lib/core/error.h"

#include <utility>

namespace mta {
namespace {

std::string joined(const std::vector<Problem>& problems) {
  std::string text;
  for (const Problem& problem : problems) {
    if (!text.empty()) text += '\n';
    text += to_string(problem);
  }
  return text;
}

}  // namespace

std::string to_string(const Problem& problem) {
  std::string text =
      problem.place.empty() ? problem.message : problem.place + ": " + problem.message;
  if (!problem.hint.empty()) text += "\n  hint: " + problem.hint;
  return text;
}

UserError::UserError(std::vector<Problem> problems)
    : std::runtime_error(joined(problems)), problems_(std::move(problems)) {}

UserError::UserError(std::string place, std::string message, std::string hint)
    : UserError({Problem{std::move(place), std::move(message), std::move(hint)}}) {}

}  // namespace mta
