// The kinds of picture, one function each; plot.cpp lists them by name.
#pragma once

#include "lib/plot/plot.h"

namespace mta::plot {

Plot plot_curves(const PlotOptions& options);

}  // namespace mta::plot
