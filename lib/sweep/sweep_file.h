// What a sweep file says: experiments, axes, seeds and exclusions.
#pragma once

#include "lib/core/description.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace mta {

/// JSON pointer into an experiment -> value.
using Settings = std::vector<std::pair<std::string, Json>>;

/// Settings that belong together, with a name of their own if it was given.
struct NamedSettings {
  std::string name;
  Settings settings;
};

/// How one key is drawn: evenly between two numbers (on a logarithmic scale if asked), or from a
/// list.
struct RandomKey {
  std::string pointer;
  double min = 0;
  double max = 1;
  bool logarithmic = false;
  bool whole = false;             // round to whole numbers
  std::vector<Json> choose = {};  // when not empty, only this counts
};

struct RandomAxes {
  std::int64_t count = 0;  // points that are drawn
  std::int64_t seed = 1;
  std::vector<RandomKey> keys;
};

/// The points are the product of experiments, list, grid, random draws and seeds, without those
/// that an exclusion matches.
struct SweepFile {
  std::filesystem::path path;
  std::vector<std::string> experiments;  // files, relative to this one
  Settings set;                          // laid over every experiment
  std::vector<NamedSettings> list;       // one axis: each entry is one place on it
  std::vector<std::pair<std::string, std::vector<Json>>> grid;  // an axis for each pointer
  RandomAxes random;                // one axis: each draw is one place on it
  std::vector<std::int64_t> seeds;  // sets /seeds/weights, /seeds/data and /seeds/train together
  std::vector<Settings> exclude;    // besides pointers, "experiment" and "point" by name
};

/// Keys of a sweep file, for reading and for the schema. `file` outlives the description.
Description describe(SweepFile& file);

/// The JSON Schema of a sweep file.
Json sweep_schema();

/// Throws UserError with every problem of the file.
SweepFile read_sweep_file(const std::filesystem::path& path);

}  // namespace mta
