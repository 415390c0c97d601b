// Writes figures as plotly traces and layout, in a page of their own.
#include "lib/plot/plotly.h"

#include "lib/core/error.h"
#include "lib/core/json.h"
#include "lib/plot/arrangement.h"
#include "lib/plot/palette.h"

#include <fmt/core.h>

#include <cmath>
#include <iterator>
#include <string_view>
#include <utility>

namespace mta::embedded {
std::string_view plotly_js();
}  // namespace mta::embedded

namespace mta::plot {
namespace {

constexpr double kPixelsPerMillimetre = 5.5;  // larger than paper: for a screen
constexpr int kFontPixels = 14;

/// Plotly reads tags and entities in all text, as the page itself does.
std::string html_text(const std::string& text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '<':
        result += "&lt;";
        break;
      case '&':
        result += "&amp;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

/// "x", "y2": plotly's name of a panel's axis in traces.
std::string axis_name(char axis, std::size_t panel) {
  return panel == 0 ? std::string(1, axis) : fmt::format("{}{}", axis, panel + 1);
}

/// "xaxis", "yaxis2": the same in the layout.
std::string axis_key(char axis, std::size_t panel) {
  return panel == 0 ? fmt::format("{}axis", axis) : fmt::format("{}axis{}", axis, panel + 1);
}

Json axis_layout(const Axis& axis, double begin, double end, const std::string& anchor) {
  Json json = {{"domain", {begin, end}},
               {"anchor", anchor},
               {"title", {{"text", html_text(axis.label)}, {"standoff", 8}}},
               {"zeroline", false},
               {"showline", true},
               {"linecolor", "#444444"},
               {"gridcolor", "#dddddd"},
               {"ticks", "outside"}};
  const bool logarithmic = axis.scale == AxisScale::Logarithmic;
  if (logarithmic) json["type"] = "log";
  if (axis.min && axis.max) {
    const auto place = [logarithmic](double value) {
      return logarithmic ? std::log10(value) : value;
    };
    json["range"] = {place(axis.reversed ? *axis.max : *axis.min),
                     place(axis.reversed ? *axis.min : *axis.max)};
  } else if (axis.reversed) {
    json["autorange"] = "reversed";
  } else if (axis.min && *axis.min == 0) {
    json["rangemode"] = "tozero";
  }
  if (!axis.ticks.empty()) {
    json["tickvals"] = Json::array();
    json["ticktext"] = Json::array();
    for (const auto& [place, text] : axis.ticks) {
      json["tickvals"].push_back(place);
      json["ticktext"].push_back(html_text(text));
    }
  }
  return json;
}

Json error_bars(const Series& series, const std::string& colour) {
  Json above = Json::array(), below = Json::array();
  for (std::size_t i = 0; i < series.x.size(); ++i) {
    above.push_back(series.high[i] - series.x[i]);
    below.push_back(series.x[i] - series.low[i]);
  }
  return {{"type", "data"},
          {"symmetric", false},
          {"array", above},
          {"arrayminus", below},
          {"color", colour}};
}

/// Plotly's bars begin at a base and have a length.
void make_bars(const Series& series, Json& trace) {
  Json lengths = Json::array();
  for (std::size_t i = 0; i < series.x.size(); ++i) lengths.push_back(series.x[i] - series.from[i]);
  trace.update({{"type", "bar"},
                {"orientation", "h"},
                {"x", lengths},
                {"base", series.from},
                {"width", series.thickness},
                {"marker", {{"color", fill_colour(series.style)}}}});
}

Json series_trace(const Series& series, std::size_t panel) {
  static constexpr const char* kSymbols[] = {"circle", "circle-open", "x-thin"};
  static constexpr const char* kDashes[] = {"solid",    "dash",        "dot",     "dashdot",
                                            "longdash", "longdashdot", "12px,4px"};
  constexpr double kPixelsPerPoint = 1.6, kPixelsPerSymbol = 14;
  const std::string colour = line_colour(series.style, series.faint);
  Json trace = {{"type", "scatter"},
                {"xaxis", axis_name('x', panel)},
                {"yaxis", axis_name('y', panel)},
                {"x", series.x},
                {"y", series.y},
                {"showlegend", !series.name.empty()},
                {"name", html_text(series.name)},
                {"legendgroup", fmt::format("style {}", series.style)}};
  if (series.name.empty()) trace["hoverinfo"] = "x+y";
  if (series.draw == Draw::Bars) {
    make_bars(series, trace);
  } else if (series.draw == Draw::Text) {
    trace["mode"] = "text";
    trace["text"] = series.text;
    trace["textposition"] = series.place == Series::Place::Right ? "middle right" : "middle center";
    trace["textfont"] = {{"color", series.on_dark ? "#ffffff" : "#000000"}};
    trace["hoverinfo"] = "skip";
  } else if (series.draw == Draw::Line) {
    const char* dash = kDashes[series.style % std::size(kDashes)];
    trace["mode"] = "lines";
    trace["line"] = {{"color", colour},
                     {"width", series.width * kPixelsPerPoint},
                     {"dash", series.dashed  ? "dot"
                              : series.faint ? "solid"
                                             : dash}};
  } else {
    trace["mode"] = "markers";
    trace["marker"] = {{"color", colour},
                       {"size", series.symbol_size * kPixelsPerSymbol},
                       {"symbol", kSymbols[int(series.symbol)]},
                       {"line", {{"color", colour}, {"width", 2}}}};
  }
  if (series.bars == Series::Bars::X) trace["error_x"] = error_bars(series, colour);
  return trace;
}

Json grid_trace(const Grid& grid, std::size_t panel) {
  Json rows = Json::array();
  for (std::size_t r = 0; r < grid.rows; ++r) {
    const auto begin = grid.values.begin() + std::ptrdiff_t(r * grid.columns);
    rows.push_back(std::vector<double>(begin, begin + std::ptrdiff_t(grid.columns)));
  }
  Json trace = {{"type", "heatmap"},
                {"z", rows},
                {"xaxis", axis_name('x', panel)},
                {"yaxis", axis_name('y', panel)},
                {"coloraxis", "coloraxis"},
                {"hovertemplate", "%{x}, %{y}: %{z:.4g}<extra></extra>"}};
  if (grid.decimals) trace["texttemplate"] = fmt::format("%{{z:.{}f}}", *grid.decimals);
  return trace;
}

Json colour_axis(const ColourScale& scale) {
  const auto& stops = colour_stops(scale.kind);
  Json list = Json::array();
  for (std::size_t i = 0; i < stops.size(); ++i) {
    list.push_back({double(i) / double(stops.size() - 1), stops[i]});
  }
  return {{"colorscale", list},
          {"cmin", scale.low},
          {"cmax", scale.high},
          {"colorbar", {{"thickness", 14}}}};
}

/// A text at a place of the page.
Json annotation(const std::string& text, double x, double y, int angle) {
  return {{"text", html_text(text)},
          {"x", x},
          {"y", y},
          {"xref", "paper"},
          {"yref", "paper"},
          {"showarrow", false},
          {"textangle", angle},
          {"xanchor", "center"},
          {"yanchor", "middle"}};
}

/// Panels with grids share the axes of the first column and the last row.
void hide_labels(Json& axis) {
  axis["title"] = nullptr;
  axis["showticklabels"] = false;
}

void add_panel_layout(const Figure& figure, std::size_t index, Json& layout) {
  const Panel& panel = figure.panels[index];
  const Rectangle place = place_of(figure, margins_of(figure), index);
  Json x = axis_layout(panel.x, place.left, place.right, axis_name('y', index));
  Json y = axis_layout(panel.y, place.bottom, place.top, axis_name('x', index));
  if (panel.grid && index + figure.columns < figure.panels.size()) hide_labels(x);
  if (panel.grid && index % figure.columns != 0) hide_labels(y);
  layout[axis_key('x', index)] = std::move(x);
  layout[axis_key('y', index)] = std::move(y);
}

Json annotations_of(const Figure& figure) {
  constexpr double kAbove = 2.5;  // millimetres
  constexpr int kUpwards = -90;   // degrees
  Json notes = Json::array();
  if (!figure.title.empty()) {
    notes.push_back(annotation(figure.title, 0.5, 1 - kAbove / figure.height_mm, 0));
  }
  for (std::size_t p = 0; p < figure.panels.size(); ++p) {
    const Rectangle place = place_of(figure, margins_of(figure), p);
    const std::string& title = figure.panels[p].title;
    if (!title.empty()) {
      notes.push_back(annotation(title, (place.left + place.right) / 2,
                                 place.top + kAbove / figure.height_mm, 0));
    }
    const std::size_t row = p / figure.columns;
    if (p % figure.columns == 0 && row < figure.row_labels.size()) {
      notes.push_back(annotation(figure.row_labels[row], kAbove / figure.width_mm,
                                 (place.bottom + place.top) / 2, kUpwards));
    }
  }
  if (figure.colours) {  // plotly's own title would lie on the numbers
    const Rectangle first = place_of(figure, margins_of(figure), 0);
    const Rectangle last = place_of(figure, margins_of(figure), figure.panels.size() - 1);
    notes.push_back(annotation(figure.colours->label, 1 - kAbove / figure.width_mm,
                               (first.top + last.bottom) / 2, kUpwards));
  }
  return notes;
}

/// Beside the panels, as high as all of them.
Json colour_bar_layout(const Figure& figure) {
  const Margins margins = margins_of(figure);
  const double top = place_of(figure, margins, 0).top;
  const double bottom = place_of(figure, margins, figure.panels.size() - 1).bottom;
  Json axis = colour_axis(*figure.colours);
  axis["colorbar"].update({{"x", 1 - (margins.right - 2) / figure.width_mm},
                           {"xanchor", "left"},
                           {"y", (top + bottom) / 2},
                           {"len", top - bottom}});
  return axis;
}

Json layout_of(const Figure& figure) {
  Json layout = {{"width", figure.width_mm * kPixelsPerMillimetre},
                 {"height", figure.height_mm * kPixelsPerMillimetre},
                 {"margin", {{"l", 0}, {"r", 0}, {"t", 0}, {"b", 0}}},
                 {"font", {{"family", "Helvetica, Arial, sans-serif"}, {"size", kFontPixels}}},
                 {"plot_bgcolor", figure.colours ? "#d9d9d9" : "#ffffff"},
                 {"hovermode", "closest"},
                 {"barmode", "overlay"},
                 {"annotations", annotations_of(figure)}};
  for (std::size_t p = 0; p < figure.panels.size(); ++p) add_panel_layout(figure, p, layout);
  layout["legend"] = {{"orientation", "h"},
                      {"x", legend_left(figure, margins_of(figure))},
                      {"y", 1 - (figure.title.empty() ? 0 : 6) / figure.height_mm},
                      {"yanchor", "top"}};
  if (figure.colours) layout["coloraxis"] = colour_bar_layout(figure);
  return layout;
}

/// JSON inside a script element: "</" would end it.
std::string script_text(const Json& json) {
  std::string text = json.dump();
  for (std::size_t at = 0; (at = text.find("</", at)) != std::string::npos; at += 3) {
    text.replace(at, 2, "<\\/");
  }
  return text;
}

}  // namespace

std::string plotly_page(const Figure& figure) {
  const std::string_view program = embedded::plotly_js();
  if (program.empty()) {
    throw UserError("--out", "this program was built without plotly.js, which .html needs",
                    "run scripts/setup and build again, or choose .svg, .png or .pdf");
  }
  Json traces = Json::array();
  for (std::size_t p = 0; p < figure.panels.size(); ++p) {
    if (figure.panels[p].grid) traces.push_back(grid_trace(*figure.panels[p].grid, p));
    for (const Series& series : figure.panels[p].series) traces.push_back(series_trace(series, p));
  }
  std::string page = "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>";
  page += html_text(figure.title.empty() ? "mta plot" : figure.title);
  page += "</title>\n<body>\n<div id=\"figure\"></div>\n<script>\n";
  page += program;
  page += "\n</script>\n<script>\nPlotly.newPlot(\"figure\", ";
  page += script_text(traces);
  page += ",\n";
  page += script_text(layout_of(figure));
  page +=
      ",\n{displaylogo: false, modeBarButtons: "
      "[[\"toImage\", \"zoom2d\", \"pan2d\", \"zoomIn2d\", \"zoomOut2d\", \"resetScale2d\"]]});\n"
      "</script>\n</body>\n</html>\n";
  return page;
}

}  // namespace mta::plot
