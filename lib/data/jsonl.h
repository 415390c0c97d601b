// Samples as lines of JSON: "src", "tgt", then the facts of the task.
#pragma once

#include "lib/core/task.h"

#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <string>
#include <vector>

namespace mta {

/// One line, with its end.
std::string to_jsonl(const Sample& sample);

/// Reads one sample after another. Keys other than "src" and "tgt" become facts.
class SampleReader {
 public:
  /// `name` stands in messages. The stream must outlive the reader.
  SampleReader(std::istream& stream, std::string name);

  /// False at the end; empty lines are passed over. Throws UserError "name:line: ...".
  bool next(Sample& sample);
  /// "name:line" of the last sample.
  std::string place() const;

 private:
  std::istream& stream_;
  std::string name_;
  std::int64_t line_ = 0;
};

/// All samples of a file, each checked to have tokens in `task` and given its slices. Throws
/// UserError "file:line: ..." for the first that is wrong, and for a file without samples.
std::vector<Sample> read_samples(const std::filesystem::path& file, const Task& task);

}  // namespace mta
