// Writes figures in gnuplot's language.
#include "lib/plot/arrangement.h"
#include "lib/plot/gnuplot.h"
#include "lib/plot/palette.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <string>
#include <utility>

namespace mta::plot {
namespace {

constexpr double kMillimetresPerInch = 25.4;
constexpr double kPointsPerInch = 72;
constexpr double kFontPoints = 9;

/// Everything that differs between the three formats.
struct Terminal {
  std::string command;
  double point = 1;      // what gnuplot calls a line width of one point
  double tick_lift = 0;  // of the labels below a panel, which SVG puts too low; characters
  double font = kFontPoints;
  double small_font = 7;      // of numbers in cells
  double key_spacing = 1.15;  // of the legend's lines, which SVG puts too far apart
};

Terminal terminal_of(const Figure& figure, Format format) {
  const double width = figure.width_mm / kMillimetresPerInch;    // inches
  const double height = figure.height_mm / kMillimetresPerInch;  // inches
  if (format == Format::Pdf) {
    return {fmt::format(
                "pdfcairo noenhanced size {:.4f}in,{:.4f}in font 'Helvetica,{:g}' fontscale 0.75 "
                "background '#ffffff'",
                width, height, kFontPoints),
            2};  // its unit is half a point
  }
  constexpr double kCssPixels = 96, kPrintPixels = 240;  // an inch
  const double dots = format == Format::Svg ? kCssPixels : kPrintPixels;
  const double point = dots / kPointsPerInch;
  if (format == Format::Svg) {
    return {fmt::format("svg noenhanced size {:.0f},{:.0f} font 'Helvetica,{:g}' "
                        "background '#ffffff'",
                        width * dots, height * dots, kFontPoints * point),
            point,
            0.4,
            kFontPoints * point,
            9,
            0.8};
  }
  return {
      fmt::format("pngcairo noenhanced size {:.0f},{:.0f} font 'Helvetica,{:g}' fontscale {:g} "
                  "pointscale {:g} background '#ffffff'",
                  width * dots, height * dots, kFontPoints, dots / kCssPixels, dots / kCssPixels),
      point, 0};
}

std::string quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) {
    if (c == '\'') result += '\'';
    result += c == '\n' ? ' ' : c;
  }
  return result += '\'';
}

std::string number(double value) {
  return std::isnan(value) ? "NaN" : fmt::format("{:.10g}", value);
}

/// Whether grids are drawn as one rectangle a cell, which stays sharp in every viewer: a bitmap is
/// smaller when there are many.
bool draws_cells(const Figure& figure) {
  constexpr std::size_t kMostRectangles = 20000;
  std::size_t cells = 0;
  for (const Panel& panel : figure.panels) {
    if (panel.grid) cells += panel.grid->rows * panel.grid->columns;
  }
  return cells <= kMostRectangles;
}

/// The parts of one `plot` command.
class PlotCommand {
 public:
  PlotCommand(const Figure& figure, const Terminal& terminal)
      : figure_(figure), terminal_(terminal) {}

  std::string text(const Panel& panel, std::size_t index) {
    if (panel.grid) {
      add(grid_part(index));
      if (panel.grid->decimals) {
        add(values_part(*panel.grid->decimals, index, true));
        add(values_part(*panel.grid->decimals, index, false));
      }
    }
    for (std::size_t s = 0; s < panel.series.size(); ++s) {
      const std::string data = fmt::format("$series_{}_{}", index, s);
      if (panel.series[s].bars != Series::Bars::None) add(bars_part(panel.series[s], data));
      add(series_part(panel.series[s], data));
    }
    return std::move(text_);
  }

 private:
  void add(const std::string& part) {
    text_ += text_.empty() ? "plot " : ", \\\n     ";
    text_ += part;
  }

  std::string grid_part(std::size_t index) const {
    if (!draws_cells(figure_)) {
      return fmt::format("$grid_{} matrix using 1:2:3 with image notitle", index);
    }
    // A little more than a cell, so that no seam shows between neighbours.
    return fmt::format(
        "$grid_{} using 1:2:($1-0.505):($1+0.505):($2-0.505):($2+0.505):3 "
        "with boxxyerror fillcolor palette fillstyle solid noborder notitle",
        index);
  }

  /// The values of the cells whose colour is dark, or of the others: as intervals of the value.
  std::string values_part(int decimals, std::size_t index, bool dark) const {
    constexpr int kPlaces = 64;
    const ColourScale& scale = *figure_.colours;
    const double step = (scale.high - scale.low) / kPlaces;
    std::string is_in;
    for (int i = 0; i < kPlaces; ++i) {
      const double begin = i == 0 ? -1e300 : scale.low + step * i;
      const double end = i + 1 == kPlaces ? 1e300 : scale.low + step * (i + 1);
      if (is_dark(scale, scale.low + step * (i + 0.5)) != dark) continue;
      is_in += fmt::format("($3>={:.8g}&&$3<{:.8g})||", begin, end);
    }
    return fmt::format(
        "$grid_{} using 1:2:(({}0)?sprintf('%.{}f',$3):'') with labels font ',{:g}' "
        "textcolor '{}' notitle",
        index, is_in, decimals, terminal_.small_font, dark ? "#ffffff" : "#000000");
  }

  std::string series_part(const Series& series, const std::string& data) const {
    if (series.draw == Draw::Bars) return areas_part(series, data);
    if (series.draw == Draw::Text) return texts_part(series, data);
    std::string part =
        fmt::format("{} using 1:2 with {} linecolor '{}' linewidth {:g}", data,
                    series.draw == Draw::Line ? "lines" : "points",
                    line_colour(series.style, series.faint), series.width * terminal_.point);
    part += series.draw == Draw::Line
                ? fmt::format(" dashtype {}", dash_of(series))
                : fmt::format(" pointtype {} pointsize {:g}", kSymbols[int(series.symbol)],
                              series.symbol_size);
    return part + title_of(series);
  }

  static std::string title_of(const Series& series) {
    return series.name.empty() ? " notitle" : " title " + quoted(series.name);
  }

  std::string areas_part(const Series& series, const std::string& data) const {
    return fmt::format(
               "{} using 1:2:3:1:($2-{:.6g}):($2+{:.6g}) with boxxyerror fillcolor '{}' "
               "fillstyle solid border linecolor '#ffffff' linewidth {:g}",
               data, series.thickness / 2, series.thickness / 2, fill_colour(series.style),
               0.5 * terminal_.point) +
           title_of(series);
  }

  std::string texts_part(const Series& series, const std::string& data) const {
    return fmt::format("{} using 1:2:3 with labels {} font ',{:g}' textcolor '{}' notitle", data,
                       series.place == Series::Place::Right ? "left offset 0.5,0" : "center",
                       terminal_.small_font, series.on_dark ? "#ffffff" : "#000000");
  }

  std::string bars_part(const Series& series, const std::string& data) const {
    return fmt::format(
        "{} using 1:2:3:4 with xerrorbars pointtype 0 linecolor '{}' linewidth {:g} notitle", data,
        line_colour(series.style, series.faint), series.width * terminal_.point);
  }

  /// Dashes tell variants apart without colour; a seed's own line is solid, one left out dotted.
  static const char* dash_of(const Series& series) {
    static constexpr const char* kDashes[] = {
        "solid", "(8,3)", "(3,3)", "(10,3,3,3)", "(1.5,2)", "(14,4)", "(6,2,1.5,2,1.5,2)"};
    if (series.dashed) return "(2,3)";
    return series.faint ? "solid" : kDashes[series.style % std::size(kDashes)];
  }

  static constexpr int kSymbols[] = {7, 6, 2};  // gnuplot's numbers, in the order of Symbol

  const Figure& figure_;
  const Terminal& terminal_;
  std::string text_;
};

class Script {
 public:
  Script(const Figure& figure, Format format)
      : figure_(figure), terminal_(terminal_of(figure, format)), margins_(margins_of(figure)) {}

  std::string text() {
    line("set encoding utf8");
    line("set terminal {}", terminal_.command);
    for (std::size_t i = 0; i < figure_.panels.size(); ++i) {
      series_data(figure_.panels[i], i);
      if (figure_.panels[i].grid) grid_data(*figure_.panels[i].grid, i);
    }
    line("set multiplot");
    style();
    if (figure_.colours) colours(*figure_.colours);
    page_labels();
    for (std::size_t i = 0; i < figure_.panels.size(); ++i) panel(figure_.panels[i], i);
    line("unset multiplot");
    return std::move(text_);
  }

 private:
  template <class... Values>
  void line(fmt::format_string<Values...> format, Values&&... values) {
    fmt::format_to(std::back_inserter(text_), format, std::forward<Values>(values)...);
    text_ += '\n';
  }

  void series_data(const Panel& panel, std::size_t index) {
    for (std::size_t s = 0; s < panel.series.size(); ++s) {
      const Series& series = panel.series[s];
      line("$series_{}_{} << END_OF_DATA", index, s);
      for (std::size_t i = 0; i < series.x.size(); ++i) {
        text_ += number(series.x[i]);
        text_ += ' ';
        text_ += number(series.y[i]);
        if (!series.low.empty()) {
          fmt::format_to(std::back_inserter(text_), " {} {}", number(series.low[i]),
                         number(series.high[i]));
        }
        if (!series.from.empty()) text_ += ' ' + number(series.from[i]);
        if (!series.text.empty()) text_ += " \"" + series.text[i] + '"';
        text_ += '\n';
      }
      line("END_OF_DATA");
    }
  }

  void grid_data(const Grid& grid, std::size_t index) {
    line("$grid_{} << END_OF_DATA", index);
    const bool cells = draws_cells(figure_);
    for (std::size_t r = 0; r < grid.rows; ++r) {
      for (std::size_t c = 0; c < grid.columns; ++c) {
        const double value = grid.values[r * grid.columns + c];
        if (!cells) {
          text_ += number(value);
          text_ += ' ';
        } else if (!std::isnan(value)) {
          line("{} {} {:.6g}", c, r, value);
        }
      }
      if (!cells) text_ += '\n';
    }
    line("END_OF_DATA");
  }

  void style() {
    line("set border 3 linewidth {:g} linecolor '#444444'", 0.6 * terminal_.point);
    line("set tics out nomirror scale 0.6");
    line("set xtics offset 0,{:g}", terminal_.tick_lift);
    line("set grid ytics linewidth {:g} linecolor '#dddddd' dashtype solid", 0.5 * terminal_.point);
    line("set key off");
  }

  void colours(const ColourScale& scale) {
    const auto& stops = colour_stops(scale.kind);
    std::string list;
    for (std::size_t i = 0; i < stops.size(); ++i) {
      list += fmt::format("{}{} '{}'", i ? ", " : "", i, stops[i]);
    }
    line("set palette defined ({})", list);
    line("set cbrange [{:.10g}:{:.10g}]", scale.low, scale.high);
    line("set cbtics scale 0.4 offset -0.6,0");
    const Rectangle last = place_of(figure_, margins_, figure_.panels.size() - 1);
    const Rectangle first = place_of(figure_, margins_, 0);
    line("set colorbox user origin screen {:.5f},{:.5f} size screen {:.5f},{:.5f} noborder",
         1 - (margins_.right - 3) / figure_.width_mm, last.bottom, 3 / figure_.width_mm,
         first.top - last.bottom);
    upright_label(scale.label, 1 - 2 / figure_.width_mm, (first.top + last.bottom) / 2);
  }

  /// gnuplot leaves its own axis labels out where it thinks that they do not fit, so ours are
  /// labels at a place on the page.
  void level_label(const std::string& text, double x, double y) {
    if (!text.empty()) line("set label {} at screen {:.5f},{:.5f} center", quoted(text), x, y);
  }
  void upright_label(const std::string& text, double x, double y) {
    if (text.empty()) return;
    line("set label {} at screen {:.5f},{:.5f} center rotate by 90", quoted(text), x, y);
  }

  void page_labels() {
    level_label(figure_.title, 0.5, 1 - 4 / figure_.height_mm);
    for (std::size_t r = 0; r < figure_.row_labels.size(); ++r) {
      const Rectangle place = place_of(figure_, margins_, r * figure_.columns);
      upright_label(figure_.row_labels[r], 3 / figure_.width_mm, (place.bottom + place.top) / 2);
    }
  }

  void axis(char name, const Axis& axis, bool labelled) {
    const auto end = [](const std::optional<double>& value) {
      return value ? fmt::format("{:.10g}", *value) : std::string("*");
    };
    // gnuplot's `reverse` does nothing where the ends are given.
    const bool swapped = axis.reversed && axis.min && axis.max;
    line("set {}range [{}:{}]{}", name, end(swapped ? axis.max : axis.min),
         end(swapped ? axis.min : axis.max), axis.reversed && !swapped ? " reverse" : "");
    line("{} logscale {}", axis.scale == AxisScale::Logarithmic ? "set" : "unset", name);
    if (axis.ticks.empty()) {
      line("set {}tics autofreq format '{}' font ',{:g}'", name, labelled ? "%g" : "",
           terminal_.font);
      return;
    }
    std::string list;
    for (const auto& [place, text] : axis.ticks) {
      list += fmt::format("{}{} {:.10g}", list.empty() ? "" : ", ", quoted(labelled ? text : ""),
                          place);
    }
    // Tokens at every cell stand closer than a line of text is high.
    constexpr std::size_t kMostAtFullSize = 20;
    const double font = axis.ticks.size() > kMostAtFullSize ? terminal_.small_font : terminal_.font;
    line("set {}tics ({}) font ',{:g}'", name, list, font);
  }

  void panel(const Panel& panel, std::size_t index) {
    const Rectangle place = place_of(figure_, margins_, index);
    line("set lmargin at screen {:.5f}", place.left);
    line("set rmargin at screen {:.5f}", place.right);
    line("set bmargin at screen {:.5f}", place.bottom);
    line("set tmargin at screen {:.5f}", place.top);
    line("set title {} offset 0,-0.6", quoted(panel.title));
    // Panels with grids share the axes of the first column and the last row.
    const bool x_labelled = !panel.grid || index + figure_.columns >= figure_.panels.size();
    const bool y_labelled = !panel.grid || index % figure_.columns == 0;
    axis('x', panel.x, x_labelled);
    axis('y', panel.y, y_labelled);
    if (x_labelled) {
      constexpr double kBelow = 9.5;  // millimetres
      level_label(panel.x.label, (place.left + place.right) / 2,
                  place.bottom - kBelow / figure_.height_mm);
    }
    if (y_labelled) {
      upright_label(panel.y.label, place.left - (tick_room(figure_) + 3) / figure_.width_mm,
                    (place.bottom + place.top) / 2);
    }
    if (panel.grid) {
      line("set border 15");
      line("unset grid");
      line(
          "set object 1 rectangle from graph 0,0 to graph 1,1 behind fillcolor '#d9d9d9' "
          "fillstyle solid noborder");
    }
    if (const std::size_t lines = legend_lines(figure_, panel)) {
      line(
          "set key at screen {:.5f},{:.5f} left top Left reverse maxrows {} samplen 3 width 1 "
          "spacing {:g}",
          legend_left(figure_, margins_),
          1 - (figure_.title.empty() ? 1.5 : 7.5) / figure_.height_mm, lines,
          terminal_.key_spacing);
    }
    line("{}", PlotCommand(figure_, terminal_).text(panel, index));
    line("unset label");
    line("unset colorbox");  // one for the whole page
  }

  const Figure& figure_;
  const Terminal terminal_;
  const Margins margins_;
  std::string text_;
};

}  // namespace

std::string gnuplot_script(const Figure& figure, Format format) {
  return Script(figure, format).text();
}

}  // namespace mta::plot
