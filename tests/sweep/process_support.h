// Sweeps over the fake program, and what their run directories say afterwards.
#pragma once

#include "lib/core/document.h"
#include "lib/core/files.h"
#include "lib/sweep/sweep.h"
#include "tests/sweep/support.h"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

namespace mta::check {

inline SweepRequest fake_request(const SweepFolder& folder, std::int64_t jobs) {
  return {.out = folder.path("runs"),
          .program = {MTA_FAKE_TRAIN},
          .jobs = jobs,
          .machine = {.cores = 8, .gpus = {}}};
}

/// The lines that the processes of a run left behind: "begin", then "end", "stopped" or nothing.
inline std::vector<std::string> history(const SweepRequest& request, const SweepPoint& point) {
  std::ifstream file(request.out / point.name / "history.txt");
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

/// Whether a run has ended just once, and no process was started after that or at the same time as
/// another.
inline bool ended_once(const std::vector<std::string>& history) {
  return std::count(history.begin(), history.end(), "end") == 1 && history.back() == "end" &&
         std::find(history.begin(), history.end(), "clash") == history.end();
}

inline Json report(const SweepRequest& request, const SweepPoint& point) {
  const auto path = request.out / point.name / "report.json";
  return parse_json(read_file(path), path.string());
}

}  // namespace mta::check
