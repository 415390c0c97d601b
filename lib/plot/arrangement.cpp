// Page geometry from the text that must fit.
#include "lib/plot/arrangement.h"

#include <algorithm>

namespace mta::plot {
namespace {

// Millimetres, for the 9 point font of all pictures.
constexpr double kLine = 3.9;
constexpr double kCharacter = 1.85;
constexpr double kDigits = 5;    // the shortest label with its tick
constexpr double kNumber = 9.5;  // a tick label that the drawing program chooses

/// Words beside the axis need much room, which the legend above them must not lose.
bool has_words(const Figure& figure) { return tick_room(figure) > 2 * kNumber; }

}  // namespace

double tick_room(const Figure& figure) {
  double room = kDigits;
  for (const Panel& panel : figure.panels) {
    if (panel.y.ticks.empty()) room = std::max(room, kNumber);
    for (const auto& [unused, text] : panel.y.ticks) {
      room = std::max(room, kCharacter * double(text.size()) + 2);
    }
  }
  return room;
}

std::size_t legend_lines(const Figure& figure, const Panel& panel) {
  constexpr double kSample = 12;  // the piece of line and the gaps around it
  // Columns stand as far apart as gnuplot guesses: by a wider character, and twelve more of them.
  constexpr double kGuessed = 1.91, kMore = 12;
  std::size_t entries = 0, longest = 1;
  for (const Series& series : panel.series) {
    if (series.name.empty()) continue;
    ++entries;
    longest = std::max(longest, series.name.size());
  }
  const double width = has_words(figure) ? figure.width_mm : figure.width_mm - tick_room(figure);
  const double last = kSample + kCharacter * double(longest);
  const auto columns =
      1 + std::size_t(std::max(0.0, width - last) / (kGuessed * (double(longest) + kMore)));
  return (entries + columns - 1) / columns;
}

Margins margins_of(const Figure& figure) {
  const Panel& first = figure.panels.front();
  std::size_t lines = 0;
  for (const Panel& panel : figure.panels) lines = std::max(lines, legend_lines(figure, panel));
  Margins m;
  m.left =
      tick_room(figure) + (first.y.label.empty() ? 1 : 6) + (figure.row_labels.empty() ? 0 : 7);
  m.right = figure.colours ? 20 : 7;
  m.bottom = 12.5;
  m.top = (figure.title.empty() ? 2 : 8) + kLine * double(lines) + (lines > 0 ? 2 : 0) +
          (first.title.empty() ? 1 : 5);
  m.between_columns = first.grid ? 3 : m.left + 3;  // as much as the first column has
  m.between_rows = first.grid ? 8 : 16;
  return m;
}

double legend_left(const Figure& figure, const Margins& margins) {
  constexpr double kEdge = 2;  // millimetres
  return (has_words(figure) ? kEdge : margins.left) / figure.width_mm;
}

Rectangle place_of(const Figure& figure, const Margins& m, std::size_t panel) {
  const std::size_t rows = (figure.panels.size() + figure.columns - 1) / figure.columns;
  const std::size_t row = panel / figure.columns, column = panel % figure.columns;
  const double width =
      (figure.width_mm - m.left - m.right - m.between_columns * double(figure.columns - 1)) /
      double(figure.columns);
  const double height =
      (figure.height_mm - m.top - m.bottom - m.between_rows * double(rows - 1)) / double(rows);
  const double left = m.left + (width + m.between_columns) * double(column);
  const double top = figure.height_mm - m.top - (height + m.between_rows) * double(row);
  return {left / figure.width_mm, (left + width) / figure.width_mm,
          (top - height) / figure.height_mm, top / figure.height_mm};
}

}  // namespace mta::plot
