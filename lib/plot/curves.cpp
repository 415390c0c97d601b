// Learning curves: every run thin, the median of a variant thick.
#include "lib/core/error.h"
#include "lib/plot/groups.h"
#include "lib/plot/kinds.h"
#include "lib/plot/metrics.h"
#include "lib/table/statistics.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace mta::plot {
namespace {

constexpr double kThin = 0.8, kThick = 2.2;  // points

/// The median over runs at the steps where all of them were evaluated: with fewer, it would jump
/// where a run ends.
std::vector<CurvePoint> median_curve(const std::vector<std::vector<CurvePoint>>& curves) {
  std::map<double, std::vector<double>> values;
  for (const auto& curve : curves) {
    for (const CurvePoint& point : curve) values[point.step].push_back(point.value);
  }
  std::vector<CurvePoint> result;
  for (const auto& [step, at_step] : values) {
    if (at_step.size() == curves.size()) result.push_back({step, median_of(at_step)});
  }
  return result;
}

class CurvesFigure {
 public:
  explicit CurvesFigure(const PlotOptions& options)
      : options_(options), metric_(evaluation_metric(options.metric)) {}

  Plot make() {
    std::vector<TableRun> runs = load_runs(options_, plot_.notices);
    if (options_.scale == AxisScale::Logarithmic) floor_ = smallest_error(runs, metric_);
    const std::vector<Group> groups = group_runs(std::move(runs), options_.by);
    // Thin lines first, so that no seed covers a median.
    std::vector<Series> medians;
    for (std::size_t i = 0; i < groups.size(); ++i) medians.push_back(add_group(groups[i], i));
    for (Series& series : medians) panel_.series.push_back(std::move(series));
    axes();
    plot_.figure.panels.push_back(std::move(panel_));
    return std::move(plot_);
  }

 private:
  Series series_of(const std::vector<CurvePoint>& curve, std::size_t style) {
    Series series;
    series.style = style;
    for (const CurvePoint& point : curve) {
      series.x.push_back(point.step);
      series.y.push_back(shown(point.value));
      largest_ = std::max(largest_, point.value);
      last_step_ = std::max(last_step_, point.step);
    }
    return series;
  }

  double shown(double value) {
    if (!floor_ || value >= *floor_) return value;
    has_floored_ = true;
    return *floor_;
  }

  /// Adds the group's runs to the panel and returns its median.
  Series add_group(const Group& group, std::size_t style) {
    const auto counted = group.counted();
    std::vector<std::vector<CurvePoint>> curves;
    for (const TableRun& run : group.runs) {
      const auto curve = curve_of(run, metric_, mode_of(run, options_.mode));
      const bool counts = std::find(counted.begin(), counted.end(), &run) != counted.end();
      if (counts) curves.push_back(curve);
      if (group.runs.size() == 1 || curve.empty()) continue;  // one alone is its own median
      Series series = series_of(curve, style);
      series.width = kThin;
      series.faint = true;
      series.dashed = !counts;
      panel_.series.push_back(std::move(series));
    }
    Series series = series_of(median_curve(curves), style);
    series.name = group.legend();
    series.width = kThick;
    if (series.x.empty()) {
      throw UserError(group.label,
                      fmt::format("its runs were never all evaluated at the same step, "
                                  "so {} has no median",
                                  metric_.name),
                      "leave out runs that have hardly begun, or tell runs apart with --by");
    }
    return series;
  }

  void axes() {
    panel_.x.label = "training step";
    panel_.x.min = 0;
    panel_.x.max = last_step_;
    panel_.y.label = metric_.label;
    panel_.y.scale = options_.scale;
    if (options_.scale == AxisScale::Linear) {
      const bool nearly_all = metric_.factor == 100 && largest_ > 50;
      panel_.y.min = 0;
      if (nearly_all) panel_.y.max = 100;
    } else if (has_floored_) {
      panel_.y.label += fmt::format("; 0 drawn at {:.2g}", *floor_);
    }
  }

  const PlotOptions& options_;
  const Metric metric_;
  std::optional<double> floor_;  // what stands for 0 on a logarithmic axis
  bool has_floored_ = false;
  double largest_ = 0, last_step_ = 0;
  Panel panel_;
  Plot plot_;
};

}  // namespace

Plot plot_curves(const PlotOptions& options) { return CurvesFigure(options).make(); }

}  // namespace mta::plot
