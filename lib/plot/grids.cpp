// Axes and sizes of pictures of arrays.
#include "lib/plot/grids.h"

#include "lib/core/description.h"
#include "lib/core/error.h"
#include "lib/plot/arrangement.h"

#include <fmt/core.h>

#include <cmath>

namespace mta::plot {

void require_known(const std::string& flag, const std::string& name,
                   const std::vector<std::string>& known) {
  if (std::find(known.begin(), known.end(), name) == known.end()) {
    throw UserError(flag, unknown_name_message("name", name, known));
  }
}

std::vector<std::int64_t> chosen_heads(const std::vector<std::int64_t>& chosen,
                                       std::int64_t heads) {
  for (const std::int64_t head : chosen) {
    if (head < 0 || head >= heads) {
      throw UserError("--heads", fmt::format("must be from 0 to {} (head {})", heads - 1, head));
    }
  }
  if (!chosen.empty()) return chosen;
  std::vector<std::int64_t> all;
  for (std::int64_t head = 0; head < heads; ++head) all.push_back(head);
  return all;
}

Axis cell_axis(const std::string& label, std::size_t size) {
  Axis axis;
  axis.label = label;
  axis.min = -0.5;
  axis.max = double(size) - 0.5;
  return axis;
}

Axis index_axis(const std::string& label, std::size_t size, std::int64_t first) {
  constexpr double kMostTicks = 8;
  Axis axis = cell_axis(label, size);
  // 1, 2, 5, 10, 20, ...: the first step that gives few enough ticks
  double step = 1;
  for (int i = 0; double(size) / step > kMostTicks; ++i) step *= i % 3 == 1 ? 2.5 : 2;
  const double begin = std::ceil(double(first) / step) * step;
  for (double index = begin; index < double(first) + double(size); index += step) {
    axis.ticks.emplace_back(index - double(first), fmt::format("{:.0f}", index));
  }
  return axis;
}

void size_panels(Figure& figure, double rows, double columns, double cell_mm) {
  constexpr double kSmallest = 16, kLargest = 75;  // millimetres
  const double cell = std::min(cell_mm, kLargest / std::max(rows, columns));
  const double width = std::max(cell * columns, kSmallest);
  const double height = std::max(cell * rows, kSmallest);
  const Margins m = margins_of(figure);
  const std::size_t down = (figure.panels.size() + figure.columns - 1) / figure.columns;
  figure.width_mm = m.left + m.right + width * double(figure.columns) +
                    m.between_columns * double(figure.columns - 1);
  figure.height_mm = m.top + m.bottom + height * double(down) + m.between_rows * double(down - 1);
}

}  // namespace mta::plot
