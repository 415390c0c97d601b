// `mta plot`: draws reports as pictures.
#pragma once

#include "lib/plot/plot.h"

#include <iosfwd>

namespace mta {

/// Writes the picture and names it on `out`; what it leaves out goes to `err`. Returns the exit
/// code.
int run_plot(const plot::PlotOptions& options, std::ostream& out, std::ostream& err);

}  // namespace mta
