// Time and memory against the length, both axes logarithmic, with the slopes that they should have.
#include "lib/core/error.h"
#include "lib/plot/kinds.h"
#include "lib/plot/measured.h"
#include "lib/plot/palette.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <set>
#include <utility>

namespace mta::plot {
namespace {

constexpr double kMebibyte = 1 << 20;

struct Point {
  double tokens = 0;
  double ms = kNoValue, mib = kNoValue;
};

/// Cases that differ in their length alone: points of each path, by length.
struct Setting {
  Json stages;
  std::string report;
  std::map<std::string, std::vector<Point>> paths;
  std::set<double> lengths;
};

std::vector<Setting> settings_of(const std::vector<TableRun>& runs) {
  std::vector<Setting> settings;
  for (const TableRun& run : runs) {
    const auto ms = number_at(run, "/total/ms/median");
    const auto bytes = number_at(run, "/peak_memory_bytes");
    if (!run.report.contains("stages") || !ms) continue;
    const std::string report = text_at(run, "report");
    auto setting = std::find_if(settings.begin(), settings.end(), [&](const Setting& other) {
      return other.report == report && other.stages == run.report["stages"];
    });
    if (setting == settings.end()) {
      setting = settings.insert(settings.end(), {run.report["stages"], report, {}, {}});
    }
    const auto tokens = run.report.at("tokens").get<double>();
    setting->lengths.insert(tokens);
    setting->paths[text_at(run, "path")].push_back(
        {tokens, *ms, bytes ? *bytes / kMebibyte : kNoValue});
  }
  for (Setting& setting : settings) {
    for (auto& [unused, points] : setting.paths) {
      std::sort(points.begin(), points.end(),
                [](const Point& a, const Point& b) { return a.tokens < b.tokens; });
    }
  }
  return settings;
}

/// That of most lengths, and those that have lengths which the ones before have not.
std::vector<Setting> drawn_settings(std::vector<Setting> settings,
                                    std::vector<std::string>& notices) {
  std::stable_sort(settings.begin(), settings.end(), [](const Setting& a, const Setting& b) {
    return a.lengths.size() > b.lengths.size();
  });
  std::vector<Setting> drawn;
  std::set<double> lengths;
  std::size_t left_out = 0;
  for (Setting& setting : settings) {
    if (setting.lengths.size() < 2) continue;
    const std::size_t before = lengths.size();
    lengths.insert(setting.lengths.begin(), setting.lengths.end());
    if (lengths.size() > before) {
      drawn.push_back(std::move(setting));
    } else {
      ++left_out;
    }
  }
  if (drawn.empty()) {
    throw UserError("scaling", "no cases differ in their length alone",
                    "mta bench attention has such cases: scaling_t512 and so on");
  }
  if (left_out > 0) {
    notices.push_back(fmt::format(
        "{} more settings of some of these lengths are left out: --only case=... draws them",
        left_out));
  }
  return drawn;
}

/// "B4, 512 MiB": in what it differs from others that are drawn.
std::string label_of(const Setting& setting, const std::vector<Setting>& drawn) {
  static const std::vector<std::pair<const char*, const char*>> parts = {
      {"/batch", "B{}"},
      {"/heads", "H{}"},
      {"/head_dim", "d{}"},
      {"/attention/workspace_mib", "{} MiB"}};
  std::vector<std::string> words;
  for (const auto& [pointer, form] : parts) {
    const Json::json_pointer place(pointer);
    const auto differs = [&](const Setting& other) {
      return other.stages.value(place, 0) != setting.stages.value(place, 0);
    };
    if (std::none_of(drawn.begin(), drawn.end(), differs)) continue;
    words.push_back(fmt::format(fmt::runtime(form), setting.stages.value(place, 0)));
  }
  const bool reports = std::any_of(drawn.begin(), drawn.end(), [&](const Setting& other) {
    return other.report != setting.report;
  });
  if (reports) words.push_back(setting.report);
  return fmt::format("{}", fmt::join(words, ", "));
}

Axis tokens_axis(const std::vector<Setting>& drawn) {
  constexpr double kThousand = 1024;
  std::set<double> lengths;
  for (const Setting& setting : drawn) {
    lengths.insert(setting.lengths.begin(), setting.lengths.end());
  }
  Axis axis;
  axis.label = "length T (tokens)";
  axis.scale = AxisScale::Logarithmic;
  axis.min = *lengths.begin() / 1.2;
  axis.max = *lengths.rbegin() * 1.2;
  for (const double tokens : lengths) {
    const bool round = tokens >= kThousand && std::int64_t(tokens) % std::int64_t(kThousand) == 0;
    axis.ticks.emplace_back(
        tokens, round ? fmt::format("{:.0f}k", tokens / kThousand) : fmt::format("{:.0f}", tokens));
  }
  return axis;
}

/// How a curve is drawn.
struct Look {
  std::string name;
  std::size_t style = 0;
  bool dashed = false;
};

/// The line and its points; `value` chooses what goes up.
void add_curve(Panel& panel, const std::vector<Point>& curve, const Look& look,
               double Point::*value) {
  constexpr double kWidth = 1.6, kPointSize = 0.5;
  Series line;
  line.name = look.name;
  line.style = look.style;
  line.width = kWidth;
  line.dashed = look.dashed;
  for (const Point& point : curve) {
    line.x.push_back(point.tokens);
    line.y.push_back(point.*value);
  }
  Series points = line;
  points.name.clear();
  points.draw = Draw::Points;
  points.symbol_size = kPointSize;
  panel.series.push_back(std::move(line));
  panel.series.push_back(std::move(points));
}

/// Up to the last point of the curve as a power of the length.
Series slope(const std::vector<Point>& curve, const std::string& name, double power,
             double Point::*value) {
  Series series;
  series.name = name;
  series.style = kBlack;
  series.faint = true;
  series.dashed = true;
  const Point &first = curve.front(), &last = curve.back();
  series.x = {first.tokens, last.tokens};
  series.y = {last.*value * std::pow(first.tokens / last.tokens, power), last.*value};
  return series;
}

/// What goes up, and as which power of the length it should.
struct Quantity {
  const char* label;
  double power;
  double Point::*value;
};

/// Every curve and the slope under the fused one; all are `named`, or none is.
Panel panel_of(const std::vector<Setting>& drawn, const Quantity& quantity, bool named) {
  Panel panel;
  for (const Setting& setting : drawn) {
    const std::string label = label_of(setting, drawn);
    for (const auto& [path, points] : setting.paths) {
      const std::string name = label.empty() ? path : path + " (" + label + ")";
      add_curve(panel, points,
                {.name = named ? name : "",
                 .style = style_of_path(path),
                 .dashed = &setting != &drawn.front()},
                quantity.value);
    }
  }
  const auto fused = drawn.front().paths.find("fused");
  if (fused != drawn.front().paths.end()) {
    panel.series.push_back(
        slope(fused->second, named ? "slopes T² and T" : "", quantity.power, quantity.value));
  }
  panel.x = tokens_axis(drawn);
  panel.y.label = quantity.label;
  panel.y.scale = AxisScale::Logarithmic;
  return panel;
}

bool has_memory(const std::vector<Setting>& drawn) {
  return std::any_of(drawn.begin(), drawn.end(), [](const Setting& setting) {
    return std::any_of(setting.paths.begin(), setting.paths.end(), [](const auto& path) {
      return std::any_of(path.second.begin(), path.second.end(),
                         [](const Point& point) { return !std::isnan(point.mib); });
    });
  });
}

}  // namespace

Plot plot_scaling(const PlotOptions& options) {
  constexpr double kPanelWidth = 85, kHeight = 85;  // millimetres
  Plot plot;
  const std::vector<Setting> drawn = drawn_settings(
      settings_of(load_measurements(options, {"attention"}, plot.notices)), plot.notices);
  plot.figure.panels.push_back(panel_of(drawn, {"forward and backward (ms)", 2, &Point::ms}, true));
  if (has_memory(drawn)) {
    plot.figure.panels.push_back(panel_of(drawn, {"peak memory (MiB)", 1, &Point::mib}, false));
  } else {
    plot.notices.emplace_back("no memory was measured: time alone is drawn");
  }
  plot.figure.columns = plot.figure.panels.size();
  plot.figure.width_mm = kPanelWidth * double(plot.figure.columns);
  plot.figure.height_mm = kHeight;
  return plot;
}

}  // namespace mta::plot
