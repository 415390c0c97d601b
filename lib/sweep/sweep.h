// Runs the points of a sweep, each as a process of its own, until all are done.
#pragma once

#include "lib/sweep/machine.h"
#include "lib/sweep/overview.h"
#include "lib/sweep/points.h"

#include <cstdint>
#include <filesystem>
#include <ostream>
#include <string>
#include <vector>

namespace mta {

enum class OnFailure { Continue, Stop };

struct SweepRequest {
  std::filesystem::path out;         // folder of the run directories
  std::vector<std::string> program;  // started as: <program> train FILE --set ... --out DIR ...
  std::filesystem::path file = {};   // what is executed under that name; empty = the name's file
  std::int64_t jobs = 1;             // runs at once
  std::int64_t retries = 0;          // further tries of a run that fails
  OnFailure on_failure = OnFailure::Continue;
  std::string device = "auto";  // passed on
  Machine machine = {};         // shared out among the runs
  OverviewKind overview = OverviewKind::None;
};

struct SweepFailure {
  std::string name;
  std::string error;
  std::filesystem::path log;  // everything that the run printed
};

struct SweepResult {
  std::size_t points = 0;
  std::size_t done = 0;  // before this call, in it, or by another sweep meanwhile
  std::vector<SweepFailure> failures;
  bool interrupted = false;  // by SIGINT, SIGTERM or SIGHUP
};

/// Part `index` (from 1) of `count` nearly equal parts: every count-th point. Parts do not overlap
/// and together are everything.
std::vector<SweepPoint> shard_of(const std::vector<SweepPoint>& points, std::int64_t index,
                                 std::int64_t count);

/// Leaves plan.json in `out`, for tables: which runs there should be.
void write_plan(const std::filesystem::path& out, const std::vector<SweepPoint>& points);

/// Throws UserError naming every run in `out` that was begun with another configuration, and the
/// keys that differ.
void refuse_changed(const std::filesystem::path& out, const std::vector<SweepPoint>& points);

/// "NAME  state  command", one line a point.
std::string dry_run_text(const std::vector<SweepPoint>& points, const SweepRequest& request);

/// Runs what is not done yet. The only state is in the run directories, so this may be killed and
/// called again at any time, and called from several processes and machines at once: each point
/// runs once. SIGINT, SIGTERM or SIGHUP stops the runs, which save a checkpoint; a second one kills
/// them. Must be called from a process's only thread. `log` gets the overview and the failures.
SweepResult run_points(const std::vector<SweepPoint>& points, const SweepRequest& request,
                       std::ostream& log);

}  // namespace mta
