// `mta maps`: the attention maps of a run, of every stage, as arrays and as a page to look at.
#pragma once

#include "lib/core/json.h"
#include "lib/maps/window.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace mta::maps {

struct MapsOptions {
  std::filesystem::path run;
  std::optional<std::filesystem::path> compare = {};  // a second run, on the same samples
  std::filesystem::path out;
  std::optional<std::filesystem::path> data = {};  // JSONL; else the run's test samples
  std::vector<std::int64_t> samples = {0};         // by index
  std::vector<std::int64_t> layers = {};           // empty = all
  std::vector<std::int64_t> heads = {};            // empty = all
  std::vector<std::string> stages = {};            // empty = all
  Window rows = {}, columns = {};
  std::string device = "cpu";
};

struct MapsResult {
  std::vector<Json> runs;           // maps.json of each run
  std::vector<std::string> tables;  // of each run: share of attention on the target; may be empty
};

/// Writes maps.json, .npy files and index.html into options.out, the second run's files into its
/// subfolder compare/. Throws UserError on a choice that the run does not have.
MapsResult write_maps(const MapsOptions& options);

}  // namespace mta::maps
