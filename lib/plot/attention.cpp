// Attention maps from an archive of `mta maps`: a row for each layer and stage, a column for each
// head.
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
#include <set>

namespace mta::plot {
namespace {

namespace fs = std::filesystem;

bool is_score(const std::string& stage) {
  return stage == "scores" || stage == "kq_before" || stage == "heads_before";
}

struct Archive {
  fs::path folder;
  Json index;
};

Archive read_archive(const PlotOptions& options) {
  if (options.inputs.size() != 1) {
    throw UserError("maps", fmt::format("draws one archive of `mta maps`, but {} inputs are given",
                                        options.inputs.size()));
  }
  const fs::path folder = options.inputs.front();
  if (!fs::exists(folder / "maps.json")) {
    throw UserError(folder.string(), "has no maps.json",
                    "make one with: mta maps RUN_DIR --out DIR");
  }
  const fs::path file = folder / "maps.json";
  return {folder, parse_json(read_file(file), file.string())};
}

/// The chosen sample, or the first.
const Json& chosen_sample(const Archive& archive, const PlotOptions& options) {
  if (options.samples.size() > 1) throw UserError("--samples", "maps draws one sample");
  const Json& samples = archive.index.at("samples");
  if (options.samples.empty()) return samples.at(0);
  for (const Json& sample : samples) {
    if (sample.at("index") == options.samples.front()) return sample;
  }
  throw UserError("--samples", fmt::format("{} is not in the archive", options.samples.front()));
}

/// Entries of the sample's maps: the chosen stages, or else all weights.
std::vector<Json> chosen_maps(const Archive& archive, const Json& sample,
                              const PlotOptions& options) {
  const auto stages = archive.index.at("stages").get<std::vector<std::string>>();
  std::set<bool> kinds;  // scores, weights
  for (const std::string& stage : options.stages) {
    require_known("--stages", stage, stages);
    kinds.insert(is_score(stage));
  }
  if (kinds.size() > 1) {
    throw UserError("--stages", "scores and weights have no common colour scale",
                    "draw stages before the softmax and from it on as two pictures");
  }
  std::vector<Json> maps;
  for (const Json& map : archive.index.at("maps")) {
    const std::string stage = map.at("stage");
    const bool chosen =
        options.stages.empty() ? !is_score(stage) : is_chosen(options.stages, stage);
    if (map.at("sample") == sample.at("index") && chosen &&
        is_chosen(options.layers, map.at("layer").get<std::int64_t>())) {
      maps.push_back(map);
    }
  }
  if (maps.empty()) {
    throw UserError(archive.folder.string(), "has no maps of these layers and stages");
  }
  return maps;
}

/// The tokens of the window as ticks where they can be read, else positions.
Axis token_axis(const std::string& label, const Json& sample, const Json& window) {
  constexpr std::int64_t kMostTokens = 48;
  const auto begin = window.at(0).get<std::int64_t>(), end = window.at(1).get<std::int64_t>();
  const auto size = std::size_t(end - begin);
  if (end - begin > kMostTokens) return index_axis(label, size, begin);
  Axis axis = cell_axis(label, size);
  for (std::int64_t t = begin; t < end; ++t) {
    const auto text = sample.at("tokens")[std::size_t(t)].at("text").get<std::string>();
    axis.ticks.emplace_back(t - begin, text == "<bos>" ? "" : text);
  }
  return axis;
}

/// One head of a map; tokens that the query cannot see stay empty.
Grid head_grid(const Array& array, std::int64_t head, const Json& sample) {
  const std::int64_t rows = array.size(1), columns = array.size(2);
  const auto first_row = sample.at("rows")[0].get<std::int64_t>();
  const auto first_column = sample.at("columns")[0].get<std::int64_t>();
  Grid grid{std::size_t(rows), std::size_t(columns), {}, std::nullopt};
  grid.values.reserve(grid.rows * grid.columns);
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < columns; ++c) {
      const bool visible = first_column + c <= first_row + r;
      grid.values.push_back(visible ? array.values[std::size_t((head * rows + r) * columns + c)]
                                    : kNoValue);
    }
  }
  return grid;
}

ColourScale scale_of(const std::vector<Panel>& panels, bool scores) {
  double least = 0, most = 0;
  for (const Panel& panel : panels) {
    for (const double value : panel.grid->values) {
      if (std::isnan(value)) continue;
      least = std::min(least, value);
      most = std::max(most, value);
    }
  }
  const std::string label = scores ? "score" : "attention weight";
  if (least < 0) return diverging_scale(std::max(-least, most), label);
  return {ColourScale::Kind::Sequential, 0, most > 0 ? most : 1, label};
}

}  // namespace

Plot plot_maps(const PlotOptions& options) {
  const Archive archive = read_archive(options);
  const Json& sample = chosen_sample(archive, options);
  Plot plot;
  Figure& figure = plot.figure;
  for (const Json& map : chosen_maps(archive, sample, options)) {
    const auto heads = map.at("heads").get<std::vector<std::int64_t>>();
    const Array array = read_npy(archive.folder / map.at("file").get<std::string>());
    std::size_t in_row = 0;
    for (std::size_t h = 0; h < heads.size(); ++h) {
      if (!is_chosen(options.heads, heads[h])) continue;
      Panel panel;
      panel.title = figure.row_labels.empty() ? fmt::format("head {}", heads[h]) : "";
      panel.x = token_axis("key", sample, sample.at("columns"));
      panel.y = token_axis("query", sample, sample.at("rows"));
      panel.y.reversed = true;
      panel.grid = head_grid(array, std::int64_t(h), sample);
      figure.panels.push_back(std::move(panel));
      ++in_row;
    }
    if (in_row == 0) throw UserError("--heads", "none of them is in the archive");
    if (!figure.row_labels.empty() && in_row != figure.columns) {
      throw UserError("--stages", "these stages have different numbers of heads",
                      "draw them as separate pictures");
    }
    figure.columns = in_row;
    figure.row_labels.push_back(fmt::format("layer {} {}", map.at("layer").get<std::int64_t>(),
                                            map.at("stage").get<std::string>()));
  }
  const bool scores = !options.stages.empty() && is_score(options.stages.front());
  figure.colours = scale_of(figure.panels, scores);
  constexpr double kCell = 2.6, kSmallestPanel = 34;  // millimetres
  const double rows = double(figure.panels[0].grid->rows),
               columns = double(figure.panels[0].grid->columns);
  size_panels(figure, rows, columns, std::max(kCell, kSmallestPanel / rows));
  return plot;
}

}  // namespace mta::plot
