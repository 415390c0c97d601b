// What this program is: its version, the commit it was built from, and how it was built.
#pragma once

#include <string_view>

namespace mta {

struct Version {
  std::string_view program;     // "0.1.0"
  std::string_view commit;      // abbreviated hash; "unknown" outside a git checkout
  bool dirty;                   // tracked files differed from the commit when it was built
  std::string_view compiler;    // "GNU 12.2.0"
  std::string_view build_type;  // "Release", "Debug", "Sanitize"
  std::string_view cuda;        // nvcc's version; empty when CUDA is off
};

Version version();

}  // namespace mta
