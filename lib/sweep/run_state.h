// What the files of a run directory say about its run. A sweep keeps no other state.
#pragma once

#include "lib/core/json.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace mta {

enum class PointState {
  Missing,     // not begun
  Unfinished,  // begun, then stopped or killed: goes on from its last checkpoint
  Failed,      // its report says so
  Done,
  Changed,  // begun with another configuration
};

struct PointStatus {
  PointState state = PointState::Missing;
  std::string error = {};                     // of a failed run
  std::vector<std::string> differences = {};  // "/train/steps is 600, but was 500"
  std::optional<std::int64_t> threads = {};   // that it was begun with
};

/// `config` is the resolved experiment, `given` what it says without the defaults. "/train/threads"
/// may differ where the experiment leaves the number open, because then the sweep chose it; a key
/// that is in no config.json of the program that began the run counts only where it is given.
/// Throws UserError for a file that cannot be read.
PointStatus inspect_run(const std::filesystem::path& directory, const Json& config,
                        const Json& given);

/// How far a run is, from the last lines of metrics.jsonl and evaluations.jsonl.
struct RunProgress {
  std::int64_t step = 0;
  std::optional<double> loss = {};
  std::optional<double> err_seq = {};  // fraction
};

RunProgress run_progress(const std::filesystem::path& directory);

}  // namespace mta
