// One training run in its folder: from an experiment to report.json.
#pragma once

#include "lib/experiment/experiment.h"
#include "lib/report/report.h"
#include "lib/train/progress.h"

#include <filesystem>
#include <ostream>
#include <string>
#include <vector>

namespace mta {

struct RunOptions {
  std::filesystem::path directory;
  bool resume = false;          // go on with what is there; start where there is nothing
  std::string device = "auto";  // as resolve_device() takes it
  ProgressKind progress = ProgressKind::None;
  std::ostream* log = nullptr;                 // for people: progress and notices; null = nowhere
  std::vector<std::string> command_line = {};  // for the report
};

struct RunResult {
  RunReport report;
  bool was_complete = false;  // nothing was left to do
};

/// Trains in options.directory: config.json, metrics.jsonl, evaluations.jsonl, checkpoint/ and, at
/// the end, report.json. SIGINT and SIGTERM end it after the step, saved, with status "stopped"; a
/// second one kills.
///
/// Whatever goes wrong after the folder is ready is thrown on after a report with status "failed"
/// is written: NumericError (a loss that is not finite) or std::runtime_error (a full disk).
/// UserError before that: a folder that holds a run (resume off), another experiment, another
/// process at work, a device that is not there.
RunResult run_training(const Experiment& experiment, const RunOptions& options);

}  // namespace mta
