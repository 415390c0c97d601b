// Where a benchmark ran, for its report.
#include "lib/bench/provenance.h"

#include "lib/ops/launch_plans.h"
#include "lib/train/device.h"

#include <ATen/Parallel.h>

namespace mta {

Provenance bench_provenance(at::Device device, const std::vector<std::string>& command_line) {
  Provenance provenance = build_provenance();
  const DeviceInfo info = describe_device(device);
  provenance.libtorch = libtorch_version();
  provenance.device = info.name;
  provenance.device_description = info.description;
  if (!info.driver.empty()) provenance.driver = info.driver;
  if (device.is_cuda()) provenance.launch_plans = ops::launch_plans_of(info.description);
  provenance.threads = at::get_num_threads();
  provenance.command_line = shell_line(command_line);
  provenance.started = utc_now();
  return provenance;
}

}  // namespace mta
