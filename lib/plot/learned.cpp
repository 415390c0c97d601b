// What a run has learned inside its attention: kq kernels and head mixing matrices.
#include "lib/core/document.h"
#include "lib/core/error.h"
#include "lib/core/files.h"
#include "lib/plot/grids.h"
#include "lib/plot/kinds.h"
#include "lib/plot/palette.h"
#include "lib/plot/tensors.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

namespace mta::plot {
namespace {

namespace fs = std::filesystem;

/// One stage's parameter in one layer.
struct Learned {
  std::int64_t layer = 0;
  std::string stage;  // "kq_before"
  Array array;
};

/// The run directory that the only input is.
fs::path run_folder(const PlotOptions& options) {
  if (options.inputs.size() != 1) {
    throw UserError(options.kind,
                    fmt::format("draws one run, but {} inputs are given", options.inputs.size()));
  }
  fs::path folder = options.inputs.front();
  if (!fs::exists(folder / "checkpoint" / "model.safetensors")) {
    throw UserError(folder.string(), "has no checkpoint/model.safetensors",
                    "name the directory of a run that has written a checkpoint");
  }
  return folder;
}

/// Parameters "layers.<l>.attention.<stage><ending>" of the chosen layers and stages, by stage,
/// then layer.
std::vector<Learned> read_learned(const fs::path& folder, const PlotOptions& options,
                                  const std::vector<std::string>& stages,
                                  const std::string& ending) {
  for (const std::string& stage : options.stages) require_known("--stages", stage, stages);
  std::vector<std::string> endings;
  for (const std::string& stage : stages) endings.push_back("attention." + stage + ending);
  std::vector<Learned> all;
  const auto tensors = read_tensors(folder / "checkpoint" / "model.safetensors", endings);
  for (const auto& [name, array] : tensors) {
    const std::int64_t layer = std::stoll(name.substr(std::string("layers.").size()));
    const std::string stage = name.substr(
        name.find("attention.") + 10, name.size() - ending.size() - name.find("attention.") - 10);
    if (is_chosen(options.layers, layer) && is_chosen(options.stages, stage)) {
      all.push_back({layer, stage, array});
    }
  }
  if (all.empty()) {
    throw UserError(folder.string(), tensors.empty()
                                         ? fmt::format("its attention has no {}", options.kind)
                                         : "has none in these layers and stages");
  }
  const auto order = [&stages](const Learned& x) {
    return std::pair(std::find(stages.begin(), stages.end(), x.stage), x.layer);
  };
  std::sort(all.begin(), all.end(),
            [&order](const Learned& a, const Learned& b) { return order(a) < order(b); });
  return all;
}

/// "kq_before" -> "before"
std::string side_of(const std::string& stage) { return stage.substr(stage.find('_') + 1); }

float largest_magnitude(const std::vector<Learned>& all) {
  float largest = 0;
  for (const Learned& learned : all) {
    for (const float value : learned.array.values) largest = std::max(largest, std::abs(value));
  }
  return largest;
}

/// How far the first column lies before the query's own key (method, stage 3).
std::int64_t key_offset(const Json& config, const std::string& stage, std::int64_t columns) {
  const Json::json_pointer pointer("/attention/" + stage + "/pad");
  const std::string pad = config.contains(pointer) ? config.at(pointer).get<std::string>() : "both";
  if (pad == "left") return columns - 1;
  return pad == "right" ? 0 : (columns - 1) / 2;
}

/// Cells 0 .. size-1, labelled by their distance from `origin`: both ends and 0.
Axis offset_axis(const std::string& label, std::int64_t size, std::int64_t origin) {
  Axis axis = cell_axis(label, std::size_t(size));
  for (const std::int64_t cell : {std::int64_t{0}, origin, size - 1}) {
    const std::pair<double, std::string> tick(double(cell), fmt::format("{}", cell - origin));
    if (axis.ticks.empty() || axis.ticks.back() != tick) axis.ticks.push_back(tick);
  }
  return axis;
}

Panel kernel_panel(const Learned& learned, std::int64_t head, std::int64_t offset) {
  const std::int64_t rows = learned.array.size(1), columns = learned.array.size(2);
  Panel panel;
  panel.x = offset_axis("key j' - j", columns, offset);
  panel.y = offset_axis("query i' - i", rows, rows - 1);
  panel.y.reversed = true;
  const float* const begin = learned.array.values.data() + head * rows * columns;
  panel.grid = Grid{std::size_t(rows), std::size_t(columns),
                    std::vector<double>(begin, begin + rows * columns), std::nullopt};
  return panel;
}

/// Groups [G, c, c] on the diagonal of an H x H matrix: a row for each output head.
Panel mixing_panel(const Learned& learned) {
  const std::int64_t groups = learned.array.size(0), c = learned.array.size(1);
  const auto heads = std::size_t(groups * c);
  const bool inputs_first = learned.stage == "heads_after";  // method, stage 7
  Grid grid{heads, heads, std::vector<double>(heads * heads, kNoValue), std::nullopt};
  for (std::int64_t g = 0; g < groups; ++g) {
    for (std::int64_t i = 0; i < c; ++i) {
      for (std::int64_t j = 0; j < c; ++j) {
        const auto out = std::size_t(g * c + (inputs_first ? j : i));
        const auto in = std::size_t(g * c + (inputs_first ? i : j));
        grid.values[out * heads + in] = learned.array.values[std::size_t((g * c + i) * c + j)];
      }
    }
  }
  constexpr std::size_t kMostNumbered = 8;  // heads whose weights can be read as numbers
  if (heads <= kMostNumbered) grid.decimals = 2;
  Panel panel;
  panel.x = index_axis("input head", heads);
  panel.y = index_axis("output head", heads);
  panel.y.reversed = true;
  panel.grid = std::move(grid);
  return panel;
}

}  // namespace

Plot plot_kernels(const PlotOptions& options) {
  const fs::path folder = run_folder(options);
  const Json config =
      parse_json(read_file(folder / "config.json"), (folder / "config.json").string());
  const auto all = read_learned(folder, options, {"kq_before", "kq_after"}, ".kernel");
  Plot plot;
  const bool one_stage = all.front().stage == all.back().stage;
  std::int64_t rows = 1, columns = 1;
  for (const Learned& learned : all) {
    const std::int64_t offset = key_offset(config, learned.stage, learned.array.size(2));
    plot.figure.row_labels.push_back(
        one_stage ? fmt::format("layer {}", learned.layer)
                  : fmt::format("L{} {}", learned.layer, side_of(learned.stage)));
    rows = std::max(rows, learned.array.size(1));
    columns = std::max(columns, learned.array.size(2));
    for (const std::int64_t head : chosen_heads(options.heads, learned.array.size(0))) {
      plot.figure.panels.push_back(kernel_panel(learned, head, offset));
      const bool first_row = plot.figure.row_labels.size() == 1;
      if (first_row) plot.figure.panels.back().title = fmt::format("head {}", head);
    }
  }
  plot.figure.columns = plot.figure.panels.size() / all.size();
  plot.figure.colours = diverging_scale(
      largest_magnitude(all),
      one_stage ? fmt::format("kernel weight, {}", all.front().stage) : "kernel weight");
  constexpr double kCell = 5;  // millimetres
  size_panels(plot.figure, double(rows), double(columns), kCell);
  return plot;
}

Plot plot_mixing(const PlotOptions& options) {
  if (!options.heads.empty())
    throw UserError("--heads", "means nothing for mixing: a matrix has all");
  const auto all =
      read_learned(run_folder(options), options, {"heads_before", "heads_after"}, ".weight");
  Plot plot;
  for (const Learned& learned : all) {
    plot.figure.panels.push_back(mixing_panel(learned));
    plot.figure.panels.back().title =
        fmt::format("layer {} {}", learned.layer, side_of(learned.stage));
  }
  constexpr std::size_t kMostAcross = 4;
  plot.figure.columns = std::min(all.size(), kMostAcross);
  plot.figure.colours = diverging_scale(largest_magnitude(all), "mixing weight");
  const auto heads = double(plot.figure.panels.front().grid->rows);
  constexpr double kTitle = 26;  // room for "layer 10 before"; millimetres
  constexpr double kCell = 6.5;  // room for "-0.12"
  size_panels(plot.figure, heads, heads, std::max(kCell, kTitle / heads));
  return plot;
}

}  // namespace mta::plot
