// Run directories with made-up reports, for tests of pictures.
#pragma once

#include "lib/core/json.h"
#include "tests/support/scratch_folder.h"

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace mta::check {

/// err_seq at steps 100, 200, ...
inline Json report_of(const std::string& variant, int seed, const std::vector<double>& errors) {
  Json report = {{"schema", "mta.report/1"}, {"name", variant}, {"status", "done"}};
  report["experiment"] = {{"name", variant},
                          {"task", {{"kind", "block_finding"}, {"length", 29}}},
                          {"attention", {{"variant", variant}, {"kq_before", nullptr}}},
                          {"seeds", {{"weights", seed}, {"data", seed}, {"train", seed}}}};
  report["evaluations"] = Json::array();
  for (std::size_t i = 0; i < errors.size(); ++i) {
    report["evaluations"].push_back({{"step", 100 * (i + 1)},
                                     {"split", "test"},
                                     {"mode", "correct"},
                                     {"err_seq", errors[i]},
                                     {"err_tok", errors[i] / 3},
                                     {"loss", 2 * errors[i]},
                                     {"scored", 1000}});
  }
  return report;
}

inline std::filesystem::path write_run(const std::filesystem::path& folder, const Json& report) {
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "report.json") << report.dump();
  return folder;
}

}  // namespace mta::check
