// The table of kinds, and which program draws which format.
#include "lib/plot/plot.h"

#include "lib/core/description.h"
#include "lib/core/error.h"
#include "lib/core/files.h"
#include "lib/plot/gnuplot.h"
#include "lib/plot/kinds.h"
#include "lib/plot/plotly.h"

#include <fmt/format.h>

#include <algorithm>

namespace mta::plot {
namespace {

using Words = std::vector<std::string>;

const Words kEndings = {".svg", ".png", ".pdf", ".html"};

// Flags by the kind of picture that reads them.
const Words kOfCurves = {"--metric", "--mode", "--by", "--log", "--only"};
const Words kOfSteps = {"--mode", "--by", "--threshold", "--log", "--only"};
const Words kOfHeatmaps = {"--by", "--rows", "--columns", "--only"};
const Words kOfKernels = {"--layers", "--heads", "--stages"};
const Words kOfMixing = {"--layers", "--stages"};
const Words kOfMaps = {"--layers", "--heads", "--stages", "--samples"};
const Words kOfMeasurements = {"--only"};

void check_ending(const std::filesystem::path& out) {
  const std::string ending = out.extension().string();
  if (std::find(kEndings.begin(), kEndings.end(), ending) == kEndings.end()) {
    throw UserError("--out " + out.string(), unknown_name_message("ending", ending, kEndings));
  }
}

void check_size(const PlotOptions& options) {
  constexpr double kLeast = 30, kMost = 2000;  // millimetres
  for (const auto& size : {options.width_mm, options.height_mm}) {
    if (size && (*size < kLeast || *size > kMost)) {
      throw UserError("--size", "must be from 30 to 2000 mm on each side");
    }
  }
}

void check_flags(const PlotOptions& options, const PlotKind& kind) {
  const std::vector<std::string> all = {"--out", "--title", "--size"};
  const auto has = [](const std::vector<std::string>& flags, const std::string& flag) {
    return std::find(flags.begin(), flags.end(), flag) != flags.end();
  };
  for (const std::string& flag : options.given) {
    if (!flag.starts_with("--") || has(all, flag) || has(kind.flags, flag)) continue;
    std::vector<std::string> readers;
    for (const PlotKind& other : plot_kinds()) {
      if (has(other.flags, flag)) readers.push_back(other.name);
    }
    throw UserError(flag, fmt::format("means nothing for {} (it is for {})", kind.name,
                                      fmt::join(readers, ", ")));
  }
}

}  // namespace

const std::vector<PlotKind>& plot_kinds() {
  static const std::vector<PlotKind> kinds = {
      {"curves", "learning curves: every run thin, the median of a variant thick", kOfCurves,
       plot_curves},
      {"steps", "steps until a task is solved, unsolved runs shown as such", kOfSteps, plot_steps},
      {"bars", "the final figure of each variant: mean, 95 % interval, runs", kOfCurves, plot_bars},
      {"heatmap", "accuracy by slice (depth) and configuration key (length)", kOfHeatmaps,
       plot_heatmap},
      {"kernels", "a run's learned kq kernels, by layer and head", kOfKernels, plot_kernels},
      {"mixing", "a run's learned head mixing matrices, by layer", kOfMixing, plot_mixing},
      {"maps", "attention maps of a sample, by stage and head, from an archive of mta maps",
       kOfMaps, plot_maps},
      {"times", "times of attention by case and path, from mta bench attention", kOfMeasurements,
       plot_times},
      {"scaling", "time and memory against the length, from mta bench attention", kOfMeasurements,
       plot_scaling},
      {"profile", "the parts of a step, from mta bench attention, train or decode on a GPU",
       kOfMeasurements, plot_profile},
  };
  return kinds;
}

Plot make_plot(const PlotOptions& options) {
  std::vector<std::string> names;
  for (const PlotKind& kind : plot_kinds()) names.push_back(kind.name);
  const auto kind = std::find(names.begin(), names.end(), options.kind);
  if (kind == names.end()) {
    throw UserError("plot", unknown_name_message("kind", options.kind, names));
  }
  check_ending(options.out);
  check_size(options);
  const PlotKind& chosen = plot_kinds()[std::size_t(kind - names.begin())];
  check_flags(options, chosen);
  Plot plot = chosen.make(options);
  plot.figure.title = options.title;
  if (options.width_mm) plot.figure.width_mm = *options.width_mm;
  if (options.height_mm) plot.figure.height_mm = *options.height_mm;
  return plot;
}

void write_plot(const Figure& figure, const std::filesystem::path& out) {
  const std::string ending = out.extension().string();
  if (ending == ".html") return write_file_atomically(out, plotly_page(figure));
  const Format format = ending == ".svg"   ? Format::Svg
                        : ending == ".png" ? Format::Png
                                           : Format::Pdf;
  write_file_atomically(out, run_gnuplot(gnuplot_script(figure, format)));
}

}  // namespace mta::plot
