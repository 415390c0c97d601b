// Where a benchmark ran, for its report.
#pragma once

#include "lib/report/provenance.h"

#include <c10/core/Device.h>

#include <string>
#include <vector>

namespace mta {

/// Everything but the end.
Provenance bench_provenance(at::Device device, const std::vector<std::string>& command_line);

}  // namespace mta
