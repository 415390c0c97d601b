// Files of one JSON object a line, in step order: metrics.jsonl and evaluations.jsonl.
#pragma once

#include "lib/core/json.h"

#include <cstdint>
#include <filesystem>
#include <vector>

namespace mta {

/// Appends lines; each reaches the system before append() returns, so that killing the process
/// loses none and a reader sees it at once.
class JsonLines {
 public:
  /// Opens `path` for appending. Throws std::runtime_error with the reason.
  explicit JsonLines(std::filesystem::path path);
  ~JsonLines();
  JsonLines(const JsonLines&) = delete;
  JsonLines& operator=(const JsonLines&) = delete;

  /// Throws std::runtime_error when the line cannot be written (a full disk).
  void append(const Json& line);

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
};

/// The objects of the file; a last line that was cut short is left out. Empty when there is no
/// file. Throws UserError naming the line on anything else that is not a JSON object.
std::vector<Json> read_json_lines(const std::filesystem::path& path);

/// Drops every line whose "step" is after `step`, and a last line that was cut short.
void keep_json_lines(const std::filesystem::path& path, std::int64_t step);

}  // namespace mta
