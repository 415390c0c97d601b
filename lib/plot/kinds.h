// The kinds of picture, one function each; plot.cpp lists them by name.
#pragma once

#include "lib/plot/plot.h"

namespace mta::plot {

Plot plot_curves(const PlotOptions& options);
Plot plot_steps(const PlotOptions& options);
Plot plot_bars(const PlotOptions& options);
Plot plot_heatmap(const PlotOptions& options);
Plot plot_kernels(const PlotOptions& options);
Plot plot_mixing(const PlotOptions& options);
Plot plot_maps(const PlotOptions& options);
Plot plot_times(const PlotOptions& options);
Plot plot_scaling(const PlotOptions& options);
Plot plot_profile(const PlotOptions& options);

}  // namespace mta::plot
