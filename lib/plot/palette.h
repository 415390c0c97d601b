// The colours of all pictures: told apart in print and by colour-blind readers.
#pragma once

#include "lib/plot/figure.h"

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace mta::plot {

/// Colours for lines, after Okabe and Ito (2008), without their yellow, which white paper swallows.
/// Index i of a series is colour i modulo their number.
inline constexpr std::array<std::string_view, 7> kLineColours = {
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"};

/// Colours for areas: yellow can be seen there, and black would hide what is written on it.
inline constexpr std::array<std::string_view, 8> kFillColours = {
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#BBBBBB"};

inline constexpr std::size_t kBlack = 6;  // of lines: the style of what belongs to no variant
inline constexpr std::size_t kGrey = 7;   // of areas: the same

/// The colour of bars.
std::string fill_colour(std::size_t style);
/// Whether text on it must be white to be read.
bool is_dark_fill(std::size_t style);

/// Between these colours, at equal distances, a scale is interpolated.
const std::vector<std::string_view>& colour_stops(ColourScale::Kind kind);

/// The colour of a series: faint ones are mixed with white.
std::string line_colour(std::size_t style, bool faint);

/// Whether text on the cell's colour must be white to be read.
bool is_dark(const ColourScale& scale, double value);

/// -r..r with r the largest magnitude, or 1 when there is none: white stays 0.
ColourScale diverging_scale(double largest_magnitude, std::string label);

}  // namespace mta::plot
