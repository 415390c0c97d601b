// The points of a sweep: which runs there are, what each is called, how each is started.
#pragma once

#include "lib/core/document.h"
#include "lib/sweep/sweep_file.h"

#include <functional>
#include <string>
#include <vector>

namespace mta {

// Json's assertions look to the lint as if moving it could throw.
// NOLINTNEXTLINE(bugprone-exception-escape)
struct SweepPoint {
  std::string name;                  // of its run directory
  std::filesystem::path experiment;  // file
  Settings settings;                 // over that file
  Json config;                       // the resolved experiment
  Json given = {};                   // what files and settings say of it, without the defaults
};

/// Turns a document into a resolved experiment; throws UserError when it is wrong. Reading
/// experiments is not this library's business, so that it stays free of everything they are made
/// of.
using ResolveExperiment = std::function<Json(const Document&)>;

/// Every point, in a fixed order. Throws UserError: problems of the experiments (each once, at the
/// place of the file that has it), points that are the same, exclusions that match nothing.
std::vector<SweepPoint> sweep_points(const SweepFile& file, const ResolveExperiment& resolve);

/// "/train/lr=0.004", as --set takes it.
std::string setting_text(const std::string& pointer, const Json& value);

}  // namespace mta
