// Runs the program as a user would, in a folder of its own.
#pragma once

#include "tests/support/scratch_folder.h"

#include <filesystem>
#include <string>

namespace mta::check {

struct Outcome {
  int code = -1;    // exit code; 128 + signal when it was killed
  std::string out;  // stdout
  std::string err;  // stderr
};

/// Runs `command` through the shell in `folder`; "mta" stands for the program under test
/// (MTA_PROGRAM).
Outcome shell(const std::string& command, const std::filesystem::path& folder = ".");

/// A scratch folder with files that a test writes and reads by name.
class WorkFolder {
 public:
  const std::filesystem::path& path() const { return folder_.path(); }
  std::filesystem::path write(const std::string& name, const std::string& content) const;
  std::string read(const std::string& name) const;

 private:
  ScratchFolder folder_;
};

}  // namespace mta::check
