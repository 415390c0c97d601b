// `mta plot`: draws reports as pictures.
#pragma once

#include "lib/plot/plot.h"

#include <iosfwd>
#include <string>

namespace mta {

struct PlotCommand {
  plot::PlotOptions options;
  bool logarithmic = false;
  std::string size;  // "120x75", millimetres; empty = the kind's own
};

/// Writes the picture and names it on `out`; what it leaves out goes to `err`. Returns the exit
/// code.
int run_plot(const PlotCommand& command, std::ostream& out, std::ostream& err);

}  // namespace mta
