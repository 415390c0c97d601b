// `mta plot`: the figure is made in lib/plot; here it is written and reported.
#include "apps/mta/plot.h"

#include "lib/core/error.h"

#include <ostream>
#include <regex>

namespace mta {
namespace {

void set_size(const std::string& text, plot::PlotOptions& options) {
  static const std::regex form("([0-9]{1,4})x([0-9]{1,4})");
  std::smatch match;
  if (!std::regex_match(text, match, form)) {
    throw UserError("--size " + text, "must be WIDTHxHEIGHT in millimetres, such as 120x75");
  }
  options.width_mm = std::stod(match[1]);
  options.height_mm = std::stod(match[2]);
}

}  // namespace

int run_plot(const PlotCommand& command, std::ostream& out, std::ostream& err) {
  plot::PlotOptions options = command.options;
  if (command.logarithmic) options.scale = plot::AxisScale::Logarithmic;
  if (!command.size.empty()) set_size(command.size, options);
  const plot::Plot picture = plot::make_plot(options);
  for (const std::string& notice : picture.notices) err << "mta plot: " << notice << '\n';
  plot::write_plot(picture.figure, options.out);
  out << options.out.string() << '\n';
  return 0;
}

}  // namespace mta
