// What the error and loss figures of a report are called, where they stand and how they are shown.
#pragma once

#include "lib/plot/plot.h"
#include "lib/table/runs.h"

#include <optional>
#include <string>
#include <vector>

namespace mta::plot {

struct Metric {
  std::string name;   // key or JSON pointer
  std::string label;  // with its unit
  double factor = 1;  // from the report's unit to the shown one: 100 for percent
};

/// "err_seq", "err_tok" or "loss". Throws UserError otherwise.
Metric evaluation_metric(const std::string& name);

/// The same, or "/timing/ms_per_step": any number of a report.
Metric report_metric(const std::string& name);

struct CurvePoint {
  double step = 0;
  double value = 0;  // in shown units
};

/// The mode that `run` is judged by: `wanted`, or the first of its experiment. Throws UserError
/// when the run has no evaluation in that mode.
std::string mode_of(const TableRun& run, const std::string& wanted);

/// By step, evaluations on test samples in `mode`; those without a value are left out.
std::vector<CurvePoint> curve_of(const TableRun& run, const Metric& metric,
                                 const std::string& mode);

/// The value at the end of the run; nothing when it was not measured.
std::optional<double> final_value(const TableRun& run, const Metric& metric,
                                  const std::string& wanted_mode);

/// A logarithmic axis has no 0: the smallest value that can be shown in its place, half of one
/// wrong sample in the run's evaluations.
double smallest_error(const std::vector<TableRun>& runs, const Metric& metric);

}  // namespace mta::plot
