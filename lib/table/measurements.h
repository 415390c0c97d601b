// Reads reports of benchmarks: each measurement in one is to a table what a run is.
#pragma once

#include "lib/table/runs.h"

#include <filesystem>
#include <string>
#include <vector>

namespace mta {

/// Everything that a measurement says, as its report says it, and beside it where they apply:
///   report, case, path     its place: file, case, way to compute the case
///   bench                  what was run: its kind, or its name in the report of a card
///   shape                  "B4 H16 T2048 d64"
///   stages                 what the case sets, without its name and shape
///   total, backward        times of both ways and of the way back, as forward has them
///   ratio_to_composed      total over the composed path's
///   gradient_error         the worst of a gradient
/// Median and quartiles are an object {"median", "quartiles"}. What was not measured is absent.
/// A path that did not run is Missing, with the reason as its error.
///
/// Reports of `mta bench`, and those of kernel_bench and scripts/compare-pytorch-step, which count
/// as kinds "attention" and "train". A card's report is the reports that it is made of. An input is
/// such a report or a folder that has some at any depth. Throws UserError for an input without one.
std::vector<TableRun> find_measurements(const std::vector<std::filesystem::path>& inputs);

/// Runs, as find_runs() does, or measurements: an input is one or the other, and so are all of
/// them. A folder with runs is one of runs, and what else lies there is passed over.
std::vector<TableRun> find_runs_or_measurements(const std::vector<std::filesystem::path>& inputs);

/// One for each part of a profile, or each of its longest kernels, in place of each of the
/// measurements: report, bench, case, `what` ("part" or "kernel"), ms, share and launches, and of
/// attention direction and floor_ms. Throws UserError when none was profiled.
std::vector<TableRun> profile_of(const std::vector<TableRun>& measurements,
                                 const std::string& what);

}  // namespace mta
