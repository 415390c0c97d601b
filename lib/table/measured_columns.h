// The columns of a table of measurements: what benchmarks measure, under one name for each figure.
#pragma once

#include "lib/table/columns.h"

#include <string>
#include <vector>

namespace mta {

/// A name of these columns, or a pointer into a measurement. Throws UserError for anything else.
TableColumn measured_column(const std::string& text, const std::vector<TableRun>& measurements);

/// Those of the kind that any of the measurements has, and of several kinds the few that they are
/// compared by; every figure that they have for a kind that is not known.
std::vector<std::string> usual_measured_columns(const std::vector<TableRun>& measurements,
                                                const std::vector<std::string>& rows);

/// Report, bench, case and path: those that tell measurements apart.
std::vector<std::string> usual_measured_rows(const std::vector<TableRun>& measurements);

}  // namespace mta
