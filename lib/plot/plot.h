// What `mta plot` draws: from the request to a figure, and from a figure to a file.
#pragma once

#include "lib/plot/figure.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace mta::plot {

struct PlotOptions {
  std::string kind;  // one of plot_kinds()
  std::vector<std::filesystem::path> inputs;
  std::filesystem::path out;  // .svg, .png, .pdf or .html decides the format
  std::string title;

  // curves, steps, bars, heatmap
  std::string metric = "err_seq";  // "err_seq", "err_tok", "loss"; bars: any pointer into a report
  std::string mode;                // of evaluation; empty = the run's first
  std::vector<std::string> by;     // pointers that make a variant; empty = all but the seeds
  double threshold = 0.05;         // steps: err_seq below it is solved
  AxisScale scale = AxisScale::Linear;
  std::string rows, columns;  // heatmap: a slice or a configuration key; empty = the usual ones

  // kernels, mixing, maps; empty = all
  std::vector<std::int64_t> layers, heads, samples;
  std::vector<std::string> stages;

  std::vector<std::string> only;  // conditions KEY=VALUE,VALUE of all kinds that read reports

  std::optional<double> width_mm, height_mm;

  std::vector<std::string> given;  // flags of the command line: those of other kinds are refused
};

struct Plot {
  Figure figure;
  std::vector<std::string> notices;  // what the picture leaves out or cannot show, one line each
};

struct PlotKind {
  std::string name;
  std::string summary;
  std::vector<std::string> flags;  // that it reads, besides --out, --title and --size
  Plot (*make)(const PlotOptions& options);
};

const std::vector<PlotKind>& plot_kinds();

/// Throws UserError on an unknown kind or format, on flags that the kind does not read, on inputs
/// without what it needs.
Plot make_plot(const PlotOptions& options);

/// Draws by the ending of `out` and writes it whole or not at all.
void write_plot(const Figure& figure, const std::filesystem::path& out);

}  // namespace mta::plot
