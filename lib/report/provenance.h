// What made a result: commit, compiler, libraries, device, command line and time.
#pragma once

#include "lib/core/json.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mta {

struct Provenance {
  std::string commit;  // "unknown" outside a git checkout
  bool dirty = false;
  std::string program_version;
  std::string compiler;
  std::string build_type;
  std::string libtorch;
  std::optional<std::string> cuda;    // of the build; nothing without
  std::optional<std::string> driver;  // of the GPU used; nothing on the CPU
  /// Whose launch plans the fused kernels take: the card's own name or "default"; nothing on the
  /// CPU.
  std::optional<std::string> launch_plans;
  std::string device;  // "cpu", "cuda:0"
  std::string device_description;
  std::int64_t threads = 0;
  std::string command_line;
  std::string started, ended;  // UTC, "2025-04-01T09:30:00Z"
};

/// The part that is known from the build: all but libtorch, driver, device, threads, command line
/// and times.
Provenance build_provenance();

Json to_json(const Provenance& provenance);
Provenance provenance_from_json(const Json& json);

/// Now, in UTC: "2025-04-01T09:30:00Z".
std::string utc_now();
/// One line that a shell reads as these words again.
std::string shell_line(const std::vector<std::string>& words);

}  // namespace mta
