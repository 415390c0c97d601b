// One run as a process of its own, and the lock that keeps every other sweep away from it.
#pragma once

#include <sys/types.h>

#include <csignal>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace mta {

/// Held by the sweep that deals with a run, and by the process that it starts: as long as either of
/// them lives, nobody else gets it; when both are dead, anybody does.
class PointLock {
 public:
  /// Makes the directory if need be. Nothing when somebody else holds the lock. Throws
  /// std::runtime_error when the directory cannot be written to.
  static std::optional<PointLock> take(const std::filesystem::path& directory);

  PointLock(PointLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  PointLock& operator=(PointLock&& other) noexcept;
  ~PointLock();

  int descriptor() const { return descriptor_; }

 private:
  explicit PointLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_ = -1;
};

struct ChildCommand {
  std::vector<std::string> arguments;                            // the program first
  std::filesystem::path file = {};                               // to execute; empty = the first
  std::vector<std::pair<std::string, std::string>> environment;  // added to this process's own
  std::filesystem::path log;                                     // gets what it prints, appended
  int lock = -1;                                                 // descriptor that it keeps open
  sigset_t signals = {};                                         // its signal mask
};

/// Starts a process in a group of its own (Ctrl-C does not reach it) that is sent SIGTERM when this
/// one dies. Throws std::runtime_error when it cannot be started.
pid_t start_child(const ChildCommand& command);

/// How a process ended.
struct ChildEnd {
  int code = 0;    // exit status
  int signal = 0;  // that killed it; 0 = none did
};

/// Nothing while it runs.
std::optional<ChildEnd> ended(pid_t child);

}  // namespace mta
