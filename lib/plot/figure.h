// A picture as data: panels of series and grids with labelled axes. Knows no drawing program.
#pragma once

#include <cstddef>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace mta::plot {

inline constexpr double kNoValue = std::numeric_limits<double>::quiet_NaN();

enum class AxisScale { Linear, Logarithmic };

struct Axis {
  std::string label;  // with its unit
  AxisScale scale = AxisScale::Linear;
  std::optional<double> min, max;                     // where the axis begins and ends
  std::vector<std::pair<double, std::string>> ticks;  // empty = chosen by the drawing program
  bool reversed = false;                              // grows downwards or leftwards
};

enum class Draw { Line, Points, Bars, Text };
enum class Symbol { Circle, OpenCircle, Cross };

struct Series {
  std::string name;  // in the legend; empty = not there
  Draw draw = Draw::Line;
  std::vector<double> x, y;       // kNoValue in y breaks the line
  std::vector<double> low, high;  // ends of the error bars; empty = none
  std::vector<double> from;       // Bars lie along x: from here to x, around y
  double thickness = 0;           // of Bars, in y
  std::vector<std::string> text;  // Text: one for each point
  enum class Place { Right, Middle } place = Place::Right;  // of Text, as seen from its point
  bool on_dark = false;                                     // Text that a dark bar is behind
  enum class Bars { None, X } bars = Bars::None;
  std::size_t style = 0;  // index of the variant: decides colour and dash
  double width = 1;       // of lines, in points
  Symbol symbol = Symbol::Circle;
  double symbol_size = 0.6;
  bool faint = false;   // one of many behind the one that matters
  bool dashed = false;  // besides the dash of the style
};

/// A matrix drawn as cells of equal size; row 0 stands at y = 0, column 0 at x = 0.
struct Grid {
  std::size_t rows = 0, columns = 0;
  std::vector<double> values;   // [rows, columns]; kNoValue = an empty cell
  std::optional<int> decimals;  // writes each value into its cell
};

struct Panel {
  std::string title;
  Axis x, y;
  std::vector<Series> series;
  std::optional<Grid> grid;
};

/// The colours of all grids of a figure.
struct ColourScale {
  enum class Kind {
    Sequential,  // viridis: from nothing to much
    Diverging,   // blue, white, red: white is 0, the range is symmetric
  };
  Kind kind = Kind::Sequential;
  double low = 0, high = 1;
  std::string label;
};

struct Figure {
  std::string title;
  std::vector<Panel> panels;  // row by row
  std::size_t columns = 1;    // panels in a row
  std::optional<ColourScale> colours;
  std::vector<std::string> row_labels;  // left of each row of panels; empty = none
  double width_mm = 120, height_mm = 75;
};

}  // namespace mta::plot
