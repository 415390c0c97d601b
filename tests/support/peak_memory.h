// How much memory an action takes at its peak.
#pragma once

#include <cstdint>
#include <fstream>
#include <functional>
#include <optional>
#include <sstream>
#include <string>

namespace mta::check {

/// A line of /proc/self/status, "VmRSS" or "VmHWM" (its peak), in bytes.
inline std::int64_t memory_of(const std::string& key) {
  constexpr std::int64_t kKilobyte = 1024;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with(key + ":")) continue;
    std::istringstream words(line.substr(key.size() + 1));
    std::int64_t kilobytes = 0;
    words >> kilobytes;
    return kilobytes * kKilobyte;
  }
  return 0;
}

/// Bytes of resident memory that `action` adds at its peak. Nothing where Linux does not let a
/// process reset its peak, and with a sanitizer, which keeps memory of its own.
inline std::optional<std::int64_t> peak_memory(const std::function<void()>& action) {
  std::ofstream reset("/proc/self/clear_refs");
  reset << "5" << std::flush;
  const std::int64_t before = memory_of("VmRSS");
  action();
#ifdef __SANITIZE_ADDRESS__
  return std::nullopt;
#else
  if (!reset) return std::nullopt;
  return memory_of("VmHWM") - before;
#endif
}

}  // namespace mta::check
