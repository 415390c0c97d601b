// The errors that this program raises itself, and the form in which a person reads them.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

namespace mta {

/// One thing that is wrong with a request: where, what was found and what is allowed, and the next
/// step if there is one.
struct Problem {
  std::string place;    // file and JSON pointer, or flag; empty when the whole request is meant
  std::string message;  // lower case, one line
  std::string hint;     // empty when there is no obvious next step
};

/// "place: message", and the hint on a line of its own, indented.
std::string to_string(const Problem& problem);

/// The request is wrong and the user can mend it (exit code 2). Carries every problem that was
/// found, not only the first.
class UserError : public std::runtime_error {
 public:
  explicit UserError(std::vector<Problem> problems);
  UserError(std::string place, std::string message, std::string hint = {});

  const std::vector<Problem>& problems() const { return problems_; }

 private:
  std::vector<Problem> problems_;
};

/// It ran, and the numbers are wrong: a loss that is not finite, a tolerance that is exceeded (exit
/// code 3).
class NumericError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace mta
