// Draws figures as pages through plotly.js.
#pragma once

#include "lib/plot/figure.h"

#include <string>

namespace mta::plot {

/// One page that holds the figure and plotly.js: it works from file:// and fetches nothing. Throws
/// UserError when plotly.js was not there at build time.
std::string plotly_page(const Figure& figure);

}  // namespace mta::plot
