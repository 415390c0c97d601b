// The stops of the two colour scales, and what follows from them.
#include "lib/plot/palette.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace mta::plot {
namespace {

struct Rgb {
  double red, green, blue;  // 0..255
};

Rgb rgb_of(std::string_view hex) {
  const long value = std::strtol(std::string(hex.substr(1)).c_str(), nullptr, 16);
  return {double(value >> 16 & 255), double(value >> 8 & 255), double(value & 255)};
}

Rgb mixed(const Rgb& a, const Rgb& b, double share_of_b) {
  const auto mix = [share_of_b](double x, double y) { return x + (y - x) * share_of_b; };
  return {mix(a.red, b.red), mix(a.green, b.green), mix(a.blue, b.blue)};
}

Rgb colour_at(const ColourScale& scale, double value) {
  const auto& stops = colour_stops(scale.kind);
  const double last = double(stops.size() - 1);
  const double place = std::clamp((value - scale.low) / (scale.high - scale.low) * last, 0.0, last);
  const auto below = std::min(std::size_t(place), stops.size() - 2);
  return mixed(rgb_of(stops[below]), rgb_of(stops[below + 1]), place - double(below));
}

/// Rec. 709 luma; the limit is where black and white text read equally well.
bool is_dark(const Rgb& colour) {
  return 0.2126 * colour.red + 0.7152 * colour.green + 0.0722 * colour.blue < 128;
}

}  // namespace

const std::vector<std::string_view>& colour_stops(ColourScale::Kind kind) {
  // viridis (van der Walt and Smith, CC0), every 32nd of its 256 colours.
  static const std::vector<std::string_view> sequential = {"#440154", "#472d7b", "#3b528b",
                                                           "#2c728e", "#21918c", "#28ae80",
                                                           "#5ec962", "#addc30", "#fde725"};
  // After the RdBu of ColorBrewer, turned round (red is positive), with a pure white middle.
  static const std::vector<std::string_view> diverging = {"#053061", "#2166ac", "#4393c3",
                                                          "#92c5de", "#ffffff", "#f4a582",
                                                          "#d6604d", "#b2182b", "#67001f"};
  return kind == ColourScale::Kind::Sequential ? sequential : diverging;
}

std::string line_colour(std::size_t style, bool faint) {
  constexpr double kFaintness = 0.62;
  Rgb colour = rgb_of(kLineColours[style % kLineColours.size()]);
  if (faint) colour = mixed(colour, {255, 255, 255}, kFaintness);
  return fmt::format("#{:02x}{:02x}{:02x}", int(colour.red), int(colour.green), int(colour.blue));
}

std::string fill_colour(std::size_t style) {
  return std::string(kFillColours[style % kFillColours.size()]);
}

bool is_dark_fill(std::size_t style) { return is_dark(rgb_of(fill_colour(style))); }

bool is_dark(const ColourScale& scale, double value) { return is_dark(colour_at(scale, value)); }

ColourScale diverging_scale(double largest_magnitude, std::string label) {
  const double reach =
      std::isfinite(largest_magnitude) && largest_magnitude > 0 ? largest_magnitude : 1;
  return {ColourScale::Kind::Diverging, -reach, reach, std::move(label)};
}

}  // namespace mta::plot
