// `mta maps`: dumps attention maps as arrays and as a page.
#pragma once

#include "lib/maps/maps.h"

#include <iosfwd>
#include <string>

namespace mta {

struct MapsCommand {
  maps::MapsOptions options;
  std::string rows = ":", columns = ":";  // windows as the user writes them
  bool json = false;
};

/// Names the page on `out`, with the share of attention on the target as a table; with `json`
/// {"page", "runs": [{"run", "shares"}]} instead. Returns the exit code.
int run_maps(const MapsCommand& command, std::ostream& out);

}  // namespace mta
