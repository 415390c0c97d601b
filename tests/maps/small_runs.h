// Small trained runs for tests of attention maps.
#pragma once

#include "lib/run/train.h"
#include "tests/support/tiny_experiment.h"

#include <filesystem>
#include <string>
#include <vector>

namespace mta::check {

/// A few steps of the tiny experiment; `settings` come after those.
inline std::filesystem::path small_run(const std::filesystem::path& folder,
                                       std::vector<std::string> settings = {}) {
  settings.insert(settings.begin(),
                  {"/train/steps=2", "/evaluate/samples=64", "/evaluate/every=2"});
  run_training(tiny_experiment(settings), {.directory = folder, .device = "cpu"});
  return folder;
}

/// Two layers of multi-token attention with every stage.
inline std::filesystem::path full_run(const std::filesystem::path& folder,
                                      std::vector<std::string> settings = {}) {
  settings.insert(settings.begin(),
                  {"/model/layers=2",
                   R"(/attention={"variant": "multi_token", "kq_before": {"query": 2, "key": 3},
                      "kq_after": {"query": 2, "key": 3}, "heads_before": {"group": 2},
                      "heads_after": {"group": 2}, "kq_layers": [0, 1]})"});
  return small_run(folder, settings);
}

}  // namespace mta::check
