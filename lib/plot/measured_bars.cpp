// Bars: times of attention by case and path, and the parts of a training step.
#include "lib/core/error.h"
#include "lib/plot/kinds.h"
#include "lib/plot/measured.h"
#include "lib/plot/palette.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

namespace mta::plot {
namespace {

constexpr double kRowShare = 0.84;  // of a row, taken by its bars

/// Rows from top to bottom at 0, 1, ...
Panel panel_of_rows(const std::vector<std::string>& labels) {
  Panel panel;
  for (std::size_t row = 0; row < labels.size(); ++row)
    panel.y.ticks.emplace_back(row, labels[row]);
  panel.y.min = -0.5;
  panel.y.max = double(labels.size()) - 0.5;
  panel.y.reversed = true;
  return panel;
}

Series bars(const std::string& name, std::size_t style, double thickness) {
  Series series;
  series.name = name;
  series.draw = Draw::Bars;
  series.style = style;
  series.thickness = thickness;
  return series;
}

Series texts(Series::Place place, bool on_dark) {
  Series series;
  series.draw = Draw::Text;
  series.place = place;
  series.on_dark = on_dark;
  return series;
}

void add_bar(Series& series, double from, double to, double y) {
  series.from.push_back(from);
  series.x.push_back(to);
  series.y.push_back(y);
}

void add_text(Series& series, double x, double y, const std::string& text) {
  series.x.push_back(x);
  series.y.push_back(y);
  series.text.push_back(text);
}

/// Distinct, in the order in which they come.
std::vector<std::string> distinct(const std::vector<std::string>& values) {
  std::vector<std::string> result;
  for (const std::string& value : values) {
    if (std::find(result.begin(), result.end(), value) == result.end()) result.push_back(value);
  }
  return result;
}

std::size_t index_of(const std::vector<std::string>& values, const std::string& value) {
  return std::size_t(std::find(values.begin(), values.end(), value) - values.begin());
}

struct Timed {
  std::string row, path;
  double forward = kNoValue, total = kNoValue;  // ms
};

std::vector<Timed> timed_measurements(const PlotOptions& options,
                                      std::vector<std::string>& notices) {
  const std::vector<TableRun> runs = load_measurements(options, {"attention"}, notices);
  const std::vector<std::string> labels = row_labels(runs);
  std::vector<Timed> timed;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const auto forward = number_at(runs[i], "/forward/ms/median");
    const auto total = number_at(runs[i], "/total/ms/median");
    if (!forward || !total) {
      notices.push_back(runs[i].name + ": has no time of both ways");
      continue;
    }
    timed.push_back({labels[i], text_at(runs[i], "path"), *forward, *total});
  }
  if (timed.empty()) throw UserError("times", "no measurement has a time of both ways");
  return timed;
}

/// Bars of one path, with its times beside them, and its forward passes as points.
void add_path(Panel& panel, const std::vector<Timed>& timed, const std::vector<std::string>& rows,
              const std::vector<std::string>& paths, std::size_t path) {
  constexpr double kPointSize = 0.4;
  const double thickness = kRowShare / double(paths.size());
  Series total = bars(paths[path], style_of_path(paths[path]), 0.9 * thickness);
  Series forward;
  forward.draw = Draw::Points;
  forward.style = kBlack;
  forward.symbol_size = kPointSize;
  Series text = texts(Series::Place::Right, false);
  for (const Timed& one : timed) {
    if (one.path != paths[path]) continue;
    const double y =
        double(index_of(rows, one.row)) + (double(path) - double(paths.size() - 1) / 2) * thickness;
    add_bar(total, *panel.x.min, one.total, y);
    forward.x.push_back(one.forward);
    forward.y.push_back(y);
    add_text(text, one.total, y, three_digits(one.total));
  }
  if (path + 1 == paths.size()) forward.name = "forward";
  panel.series.push_back(std::move(total));
  panel.series.push_back(std::move(forward));
  panel.series.push_back(std::move(text));
}

/// From a power of ten below the least to beyond the text of the longest bar.
Axis times_axis(const std::vector<Timed>& timed) {
  constexpr double kRoomForText = 2.2;
  double least = timed.front().forward, most = 0;
  for (const Timed& one : timed) {
    least = std::min(least, one.forward);
    most = std::max(most, one.total);
  }
  Axis axis;
  axis.label = "bars: forward and backward; dots: forward alone (ms)";
  axis.scale = AxisScale::Logarithmic;
  axis.min = std::pow(10, std::floor(std::log10(least)));
  axis.max = kRoomForText * most;
  return axis;
}

/// Milliseconds of a step by part.
struct Step {
  std::string label;
  double ms = kNoValue;
  std::map<std::string, double> parts;
};

/// Where a measurement has the time of what was profiled.
const char* whole_step(const std::string& bench) {
  if (bench == "attention") return "/total/ms/median";
  return bench == "train" ? "/ms_per_step/median" : "/ms_per_token/median";
}

std::vector<Step> profiled_steps(const PlotOptions& options, std::vector<std::string>& notices) {
  const std::vector<TableRun> runs =
      load_measurements(options, {"attention", "train", "decode"}, notices);
  const std::vector<std::string> labels = row_labels(runs);
  std::vector<Step> steps;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    static const Json::json_pointer parts("/profile/parts");
    if (!runs[i].report.contains(parts)) {
      // Of attention one path alone is profiled.
      if (runs[i].report.value("path", "fused") == "fused") {
        notices.push_back(labels[i] + ": was not profiled");
      }
      continue;
    }
    Step& step = steps.emplace_back();
    step.label = labels[i];
    step.ms = number_at(runs[i], whole_step(runs[i].bench)).value_or(kNoValue);
    for (const Json& part : runs[i].report.at(parts)) {
      step.parts[part.at("part").get<std::string>()] += part.at("ms").get<double>();
    }
  }
  if (steps.empty()) {
    throw UserError("profile", "no report has a profile",
                    "mta bench attention, train and decode profile on a GPU");
  }
  return steps;
}

constexpr const char* kOther = "other";

/// The longest parts over all steps, as many as there are colours; what remains is "other", last.
std::vector<std::string> shown_parts(std::vector<Step>& steps) {
  std::map<std::string, double> sums;
  for (const Step& step : steps) {
    for (const auto& [part, ms] : step.parts) sums[part] += ms;
  }
  sums.erase(kOther);
  std::vector<std::string> parts;
  for (const auto& [part, unused] : sums) parts.push_back(part);
  std::stable_sort(parts.begin(), parts.end(),
                   [&](const std::string& a, const std::string& b) { return sums[a] > sums[b]; });
  while (parts.size() + 1 > kFillColours.size()) {
    for (Step& step : steps) {
      step.parts[kOther] += step.parts[parts.back()];
      step.parts.erase(parts.back());
    }
    parts.pop_back();
  }
  parts.emplace_back(kOther);
  return parts;
}

double all_ms(const Step& step) {
  double sum = 0;
  for (const auto& [unused, ms] : step.parts) sum += ms;
  return sum;
}

/// The parts of a step one after the other, with the share of those that have room for it.
void add_step(Panel& panel, const Step& step, double y, const std::vector<std::string>& parts) {
  constexpr double kPercent = 100, kLeastOfAxis = 0.05;
  double end = 0;
  Series light = texts(Series::Place::Middle, true), dark = texts(Series::Place::Middle, false);
  for (std::size_t p = 0; p < parts.size(); ++p) {
    const auto found = step.parts.find(parts[p]);
    if (found == step.parts.end()) continue;
    const double begin = std::exchange(end, end + found->second);
    add_bar(panel.series[p], begin, end, y);
    if (found->second < kLeastOfAxis * *panel.x.max) continue;
    add_text(is_dark_fill(panel.series[p].style) ? light : dark, (begin + end) / 2, y,
             fmt::format("{:.0f} %", kPercent * found->second / all_ms(step)));
  }
  panel.series.push_back(std::move(light));
  panel.series.push_back(std::move(dark));
}

}  // namespace

Plot plot_times(const PlotOptions& options) {
  constexpr double kBar = 3.2, kOtherHeight = 26;  // millimetres
  Plot plot;
  const std::vector<Timed> timed = timed_measurements(options, plot.notices);
  std::vector<std::string> rows, paths;
  for (const Timed& one : timed) {
    rows.push_back(one.row);
    paths.push_back(one.path);
  }
  rows = distinct(rows), paths = distinct(paths);
  Panel panel = panel_of_rows(rows);
  panel.x = times_axis(timed);
  for (std::size_t path = 0; path < paths.size(); ++path) {
    add_path(panel, timed, rows, paths, path);
  }
  plot.figure.height_mm =
      kOtherHeight + kBar / kRowShare * double(rows.size()) * double(paths.size());
  plot.figure.width_mm = 160;
  plot.figure.panels.push_back(std::move(panel));
  return plot;
}

Plot plot_profile(const PlotOptions& options) {
  constexpr double kRow = 11, kOtherHeight = 34;  // millimetres
  constexpr double kBeyond = 1.03;                // of the longest bar
  Plot plot;
  std::vector<Step> steps = profiled_steps(options, plot.notices);
  const std::vector<std::string> parts = shown_parts(steps);
  std::vector<std::string> labels;
  for (const Step& step : steps) labels.push_back(step.label);
  Panel panel = panel_of_rows(labels);
  panel.x.label = "kernels of a step (ms); they may overlap";
  panel.x.min = 0, panel.x.max = 0;
  for (const Step& step : steps) {
    panel.x.max = std::max(*panel.x.max, kBeyond * std::max(all_ms(step), step.ms));
  }
  for (std::size_t p = 0; p < parts.size(); ++p) {
    const bool other = p + 1 == parts.size();
    panel.series.push_back(bars(parts[p], other ? kGrey : p, 0.6));
  }
  Series measured;
  measured.name = "whole step";
  measured.draw = Draw::Points;
  measured.style = kBlack;
  measured.symbol = Symbol::OpenCircle;
  for (std::size_t row = 0; row < steps.size(); ++row) {
    add_step(panel, steps[row], double(row), parts);
    measured.x.push_back(steps[row].ms);
    measured.y.push_back(double(row) + 0.4);
  }
  panel.series.push_back(std::move(measured));
  plot.figure.height_mm = kOtherHeight + kRow * double(steps.size());
  plot.figure.width_mm = 160;
  plot.figure.panels.push_back(std::move(panel));
  return plot;
}

}  // namespace mta::plot
