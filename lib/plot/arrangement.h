// Where the panels of a figure stand on the page.
#pragma once

#include "lib/plot/figure.h"

#include <cstddef>

namespace mta::plot {

/// A rectangle of the page in shares of its width and height, from the bottom left.
struct Rectangle {
  double left = 0, right = 0, bottom = 0, top = 0;
};

/// Room around and between panels for labels, titles and the legend; millimetres.
struct Margins {
  double left = 0, right = 0, bottom = 0, top = 0, between_columns = 0, between_rows = 0;
};

/// Lines of the legend, which stands above the panel in as many columns as fit.
std::size_t legend_lines(const Figure& figure, const Panel& panel);

Margins margins_of(const Figure& figure);
/// What the longest tick label of the vertical axes takes; millimetres.
double tick_room(const Figure& figure);
/// Where the legend begins, in shares of the page's width.
double legend_left(const Figure& figure, const Margins& margins);
Rectangle place_of(const Figure& figure, const Margins& margins, std::size_t panel);

}  // namespace mta::plot
