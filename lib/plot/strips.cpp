// One row for each variant: its runs as dots, with the mean and its interval, or the median.
#include "lib/core/error.h"
#include "lib/plot/groups.h"
#include "lib/plot/kinds.h"
#include "lib/plot/metrics.h"
#include "lib/plot/palette.h"
#include "lib/table/statistics.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

namespace mta::plot {
namespace {

constexpr double kRowHeight = 9, kOtherHeight = 25;  // millimetres

Series points(std::size_t style, Symbol symbol, double size) {
  Series series;
  series.draw = Draw::Points;
  series.style = style;
  series.symbol = symbol;
  series.symbol_size = size;
  return series;
}

/// A legend entry that no variant's colour claims.
Series legend_entry(const std::string& name, Symbol symbol, double size) {
  Series series = points(kBlack, symbol, size);
  series.name = name;
  series.x = {0};
  series.y = {kNoValue};
  return series;
}

/// Below the middle of its row; equal values one under the other.
void add_run(Series& series, double x, std::size_t row) {
  constexpr double kFirst = 0.22, kNext = 0.08;  // of a row's height
  const auto equal = double(std::count(series.x.begin(), series.x.end(), x));
  series.x.push_back(x);
  series.y.push_back(double(row) + kFirst + kNext * equal);
}

/// Variants from top to bottom at 0, 1, ...
class Rows {
 public:
  explicit Rows(std::vector<Group> groups) : groups_(std::move(groups)) {
    panel_.y.reversed = true;
    panel_.y.min = -0.6;
    panel_.y.max = double(groups_.size()) - 0.3;
  }

  const std::vector<Group>& groups() const { return groups_; }
  Panel& panel() { return panel_; }
  void label(std::size_t row, const std::string& text) { panel_.y.ticks.emplace_back(row, text); }

  Figure figure() {
    Figure figure;
    figure.height_mm = kOtherHeight + kRowHeight * double(groups_.size());
    figure.panels.push_back(std::move(panel_));
    return figure;
  }

 private:
  std::vector<Group> groups_;
  Panel panel_;
};

constexpr double kSeedSize = 0.5, kCentreSize = 0.9, kBarWidth = 1.6;

/// One run has no interval.
Series mean_with_interval(const std::vector<double>& values, std::size_t row) {
  Series centre = points(row, Symbol::Circle, kCentreSize);
  centre.x = {mean_of(values)};
  centre.y = {double(row)};
  if (const auto interval = bootstrap_interval(values)) {
    centre.bars = Series::Bars::X;
    centre.low = {interval->low};
    centre.high = {interval->high};
    centre.width = kBarWidth;
  }
  return centre;
}

/// The runs of group g, each at its first evaluation below the threshold, and their median.
void add_steps(Rows& rows, std::size_t g, const Metric& metric, const PlotOptions& options) {
  const Group& group = rows.groups()[g];
  Series solved = points(g, Symbol::OpenCircle, kSeedSize);
  Series unsolved = points(g, Symbol::Cross, kSeedSize);
  std::vector<StepsToSolve> steps;
  for (const TableRun& run : group.runs) {
    const auto curve = curve_of(run, metric, mode_of(run, options.mode));
    if (curve.empty()) continue;
    const auto first = std::find_if(curve.begin(), curve.end(), [&](const CurvePoint& point) {
      return point.value < options.threshold * metric.factor;
    });
    steps.push_back({first == curve.end() ? curve.back().step : first->step, first != curve.end()});
    add_run(steps.back().solved ? solved : unsolved, steps.back().step, g);
  }
  const auto solved_runs =
      std::count_if(steps.begin(), steps.end(), [](const StepsToSolve& s) { return s.solved; });
  rows.label(g, fmt::format("{} ({} of {} solved)", group.label, solved_runs, steps.size()));
  if (steps.empty()) return;
  rows.panel().series.push_back(std::move(solved));
  rows.panel().series.push_back(std::move(unsolved));
  const SolvedMedian median = median_steps(steps);
  if (median.at_least) return;  // more than half unsolved: there is no median to draw
  Series centre = points(g, Symbol::Circle, kCentreSize);
  centre.x = {median.step};
  centre.y = {double(g)};
  rows.panel().series.push_back(std::move(centre));
}

}  // namespace

Plot plot_bars(const PlotOptions& options) {
  const Metric metric = report_metric(options.metric);
  Plot plot;
  Rows rows(group_runs(load_runs(options, plot.notices), options.by));
  for (std::size_t g = 0; g < rows.groups().size(); ++g) {
    const Group& group = rows.groups()[g];
    Series seeds = points(g, Symbol::OpenCircle, kSeedSize);
    std::vector<double> values;
    for (const TableRun* run : group.counted()) {
      const auto value = final_value(*run, metric, options.mode);
      if (!value) {
        plot.notices.push_back(run->name + ": no value of " + metric.name);
        continue;
      }
      values.push_back(*value);
      add_run(seeds, *value, g);
    }
    rows.label(g, group.legend());
    if (values.empty()) continue;
    rows.panel().series.push_back(std::move(seeds));
    rows.panel().series.push_back(mean_with_interval(values, g));
  }
  if (rows.panel().series.empty()) throw UserError("--metric " + metric.name, "no run has it");
  rows.panel().series.push_back(
      legend_entry("mean and 95 % interval (bootstrap)", Symbol::Circle, kCentreSize));
  rows.panel().series.push_back(legend_entry("one run", Symbol::OpenCircle, kSeedSize));
  rows.panel().x.label = metric.label;
  rows.panel().x.scale = options.scale;
  if (options.scale == AxisScale::Linear) rows.panel().x.min = 0;
  plot.figure = rows.figure();
  return plot;
}

Plot plot_steps(const PlotOptions& options) {
  const Metric metric = evaluation_metric("err_seq");
  Plot plot;
  Rows rows(group_runs(load_runs(options, plot.notices), options.by));
  for (std::size_t g = 0; g < rows.groups().size(); ++g) {
    add_steps(rows, g, metric, options);
  }
  if (rows.panel().series.empty()) throw UserError("steps", "no run has evaluations");
  rows.panel().series.push_back(legend_entry("median", Symbol::Circle, kCentreSize));
  rows.panel().series.push_back(legend_entry("solved run", Symbol::OpenCircle, kSeedSize));
  rows.panel().series.push_back(
      legend_entry("unsolved run, where it ended", Symbol::Cross, kSeedSize));
  rows.panel().x.label =
      fmt::format("training steps to reach err_seq < {:g} %", options.threshold * metric.factor);
  rows.panel().x.scale = options.scale;
  if (options.scale == AxisScale::Linear) rows.panel().x.min = 0;
  plot.figure = rows.figure();
  return plot;
}

}  // namespace mta::plot
