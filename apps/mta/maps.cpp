// `mta maps`: the archive is written in lib/maps; here it is reported.
#include "apps/mta/maps.h"

#include <ostream>

namespace mta {

int run_maps(const MapsCommand& command, std::ostream& out) {
  maps::MapsOptions options = command.options;
  options.rows = maps::Window::parse(command.rows, "--rows");
  options.columns = maps::Window::parse(command.columns, "--columns");
  const maps::MapsResult result = maps::write_maps(options);
  const std::string page = (options.out / "index.html").string();
  if (command.json) {
    Json runs = Json::array();
    for (const Json& run : result.runs) {
      runs.push_back({{"run", run.at("run")}, {"shares", run.at("shares")}});
    }
    out << Json({{"page", page}, {"runs", runs}}).dump(2) << '\n';
    return 0;
  }
  for (std::size_t i = 0; i < result.runs.size(); ++i) {
    if (result.tables[i].empty()) continue;
    out << result.runs[i].at("run").get<std::string>() << ": " << result.tables[i] << '\n';
  }
  out << page << '\n';
  return 0;
}

}  // namespace mta
