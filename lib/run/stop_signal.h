// Turns SIGINT and SIGTERM into a request that a run looks at between steps.
#pragma once

#include <csignal>

namespace mta {

/// While it lives, the first SIGINT or SIGTERM is noted and the next one kills the process as
/// usual. At most one lives at a time.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  bool requested() const;

 private:
  struct sigaction interrupt_before_, terminate_before_;
};

}  // namespace mta
