// Measurements of benchmarks as pictures read them.
#pragma once

#include "lib/plot/plot.h"
#include "lib/table/runs.h"

#include <optional>
#include <string>
#include <vector>

namespace mta::plot {

/// The chosen measurements of one of the `kinds` of benchmarks; `notices` gets a line for each that
/// was not made, of any kind. Throws UserError for a report that has none of these kinds.
std::vector<TableRun> load_measurements(const PlotOptions& options,
                                        const std::vector<std::string>& kinds,
                                        std::vector<std::string>& notices);

/// The number there; nothing when the measurement has none.
std::optional<double> number_at(const TableRun& run, const std::string& pointer);

std::string text_at(const TableRun& run, const std::string& key);

/// Its case, and before it its benchmark and its report where there are several.
std::vector<std::string> row_labels(const std::vector<TableRun>& measurements);

/// The style of a way to compute attention, the same in all pictures.
std::size_t style_of_path(const std::string& path);

/// "0.0736", "5.33", "157": three digits.
std::string three_digits(double value);

}  // namespace mta::plot
