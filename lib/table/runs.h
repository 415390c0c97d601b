// Finds runs and what is known about each: reports, and what should have one and has not.
#pragma once

#include "lib/core/json.h"

#include <filesystem>
#include <string>
#include <vector>

namespace mta {

enum class RunState {
  Done,
  Failed,
  Stopped,     // by a signal; can be resumed
  Unfinished,  // has begun and has no report: still running, or killed
  Missing,     // planned by a sweep, not begun
};

std::string to_string(RunState status);

/// One run as a table sees it, or one measurement of a benchmark (see measurements.h).
struct TableRun {
  std::string name;  // of its folder, or of its report's file
  RunState status = RunState::Missing;
  std::string error;                  // of a failed run
  Json report = Json::object();       // a run without a report has "experiment" at most
  std::filesystem::path folder = {};  // the run directory; empty for a report that stands alone
  std::string bench = {};             // kind of the benchmark that measured it; empty for a run
};

/// The name under which a sweep keeps its plan beside its run directories:
/// {"schema": "mta.plan/1", "runs": [{"name", "experiment"}]}.
inline constexpr const char* kPlanFile = "plan.json";
inline constexpr const char* kPlanSchema = "mta.plan/1";
/// Of reports of `mta bench`.
inline constexpr const char* kBenchSchema = "mta.bench/1";

/// Each input is a report, a run directory, or a folder that has any of these at any depth. In a
/// folder, files of other kinds are passed over; a sweep's runs come in the order of its plan,
/// everything else by name. Throws UserError for an input that holds no run, and for a report that
/// cannot be read.
std::vector<TableRun> find_runs(const std::vector<std::filesystem::path>& inputs);

/// Whether find_runs() finds any in the folder.
bool holds_runs(const std::filesystem::path& folder);

}  // namespace mta
