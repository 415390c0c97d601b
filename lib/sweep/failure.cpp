// Picks the most telling of what is known about a failure.
#include "lib/sweep/failure.h"

#include <fmt/format.h>

#include <cstring>
#include <sstream>
#include <string_view>

namespace mta {
namespace {

/// The errors that the program printed, as it prints them: "mta: error: ...", one a line.
std::string printed_errors(const std::string& output) {
  constexpr std::string_view kMark = "mta: error: ";
  std::string errors;
  std::istringstream lines(output);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(kMark)) continue;
    if (!errors.empty()) errors += "; ";
    errors += line.substr(kMark.size());
  }
  return errors;
}

std::string last_line(const std::string& output) {
  std::string last;
  std::istringstream lines(output);
  for (std::string line; std::getline(lines, line);) {
    if (line.find_first_not_of(" \t\r") != std::string::npos) last = line;
  }
  return last;
}

}  // namespace

std::string failure_text(const ChildEnd& end, const std::string& output,
                         const PointStatus& status) {
  if (status.state == PointState::Changed) {
    return fmt::format("was run with another configuration: {}",
                       fmt::join(status.differences, "; "));
  }
  if (end.signal != 0) {
    return fmt::format("killed by signal {} ({})", end.signal, ::strsignal(end.signal));
  }
  if (std::string errors = printed_errors(output); !errors.empty()) return errors;
  if (!status.error.empty()) return status.error;
  const std::string line = last_line(output);
  const std::string how = end.code == 0 ? std::string("ended before it was done")
                                        : fmt::format("exit code {}", end.code);
  return line.empty() ? how : fmt::format("{}: {}", how, line);
}

}  // namespace mta
