// Sorts runs into variants: runs that differ only in their seeds belong together.
#pragma once

#include "lib/plot/plot.h"
#include "lib/table/keys.h"
#include "lib/table/runs.h"

#include <filesystem>
#include <string>
#include <vector>

namespace mta::plot {

/// The chosen runs of find_runs(), those without a report with their evaluations so far. `notices`
/// gets a line for each that is not done.
std::vector<TableRun> load_runs(const PlotOptions& options, std::vector<std::string>& notices);

struct Group {
  std::string label;
  std::vector<TableRun> runs;

  /// The runs that stand for the variant: those that are done, or all while none is.
  std::vector<const TableRun*> counted() const;
  /// "multi_token (n = 4, 1 failed)"
  std::string legend() const;
};

/// One group for each combination of values of the keys `by` (see table_key()), or of the fewest
/// keys that tell configurations apart when `by` is empty; in the order in which their first runs
/// stand. The label is made of the values that differ between groups.
/// `shown_otherwise` is a key that the picture shows on an axis: without `by`, it makes no groups.
std::vector<Group> group_runs(std::vector<TableRun> runs, const std::vector<std::string>& by,
                              const TableKey* shown_otherwise = nullptr);

}  // namespace mta::plot
