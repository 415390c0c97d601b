// `mta sweep`: a grid of runs; a second call does only what is missing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <optional>
#include <string>

namespace mta {

struct SweepOptions {
  std::filesystem::path file;           // sweep file
  std::filesystem::path out;            // folder of the run directories
  std::optional<std::int64_t> jobs;     // runs at once; a GPU each, or one, when absent
  std::string shard;                    // "2/3": the second of three parts; empty = everything
  std::string on_failure = "continue";  // or stop
  std::int64_t retries = 0;
  bool dry_run = false;
  std::string device = "auto";    // auto, cpu or cuda
  std::string progress = "auto";  // auto, bar, plain or none
};

/// Prints the table of all runs to `out`. Returns 0 when every run is done, 3 when any failed, 1
/// when it was interrupted.
int run_sweep(const SweepOptions& options, std::ostream& out, std::ostream& err);

}  // namespace mta
