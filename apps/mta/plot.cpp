// `mta plot`: the figure is made in lib/plot; here it is written and reported.
#include "apps/mta/plot.h"

#include <ostream>

namespace mta {

int run_plot(const plot::PlotOptions& options, std::ostream& out, std::ostream& err) {
  const plot::Plot picture = plot::make_plot(options);
  for (const std::string& notice : picture.notices) err << "mta plot: " << notice << '\n';
  plot::write_plot(picture.figure, options.out);
  out << options.out.string() << '\n';
  return 0;
}

}  // namespace mta
