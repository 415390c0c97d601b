// The folder of one run: its files, who may work in it, and whether it can go on.
#pragma once

#include "lib/core/json.h"
#include "lib/report/report.h"

#include <filesystem>
#include <optional>
#include <string>

namespace mta {

struct RunFiles {
  explicit RunFiles(std::filesystem::path directory);

  std::filesystem::path directory, config, metrics, evaluations, report, checkpoint, lock;
};

/// Held by the one process that trains in a folder. A process that dies lets go of it.
class RunLock {
 public:
  /// Makes the folder if need be. Throws UserError when another process holds the lock.
  explicit RunLock(const RunFiles& files);
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

 private:
  int descriptor_ = -1;
};

/// The report of a run that has ended as it was meant to; nothing for any other folder.
std::optional<RunReport> finished_report(const RunFiles& files);

/// Throws UserError when the folder holds a run already and `resume` is off, or one of another
/// experiment than the resolved `config`: then every key that differs is named. A key that the
/// program did not have when the run began counts as its default.
void check_may_run(const RunFiles& files, const Json& config, bool resume);

/// What the folder's run began with, as it was written; `config` where it has not begun.
Json begun_config(const RunFiles& files, const Json& config);

/// 64 bits of FNV-1a in hexadecimal: says whether two resolved experiments are the same.
std::string config_hash(const Json& config);

}  // namespace mta
