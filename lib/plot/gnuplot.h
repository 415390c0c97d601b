// Draws figures with gnuplot, a separate program.
#pragma once

#include "lib/plot/figure.h"

#include <string>

namespace mta::plot {

enum class Format { Svg, Png, Pdf };

/// The script that draws `figure` to its standard output: data inside, no other files.
std::string gnuplot_script(const Figure& figure, Format format);

/// Runs gnuplot on `script` and returns what it wrote. Nothing is left on the disk. Throws
/// UserError when there is no gnuplot, std::runtime_error with its first complaint when it fails.
std::string run_gnuplot(const std::string& script);

}  // namespace mta::plot
