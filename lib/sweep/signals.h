// Waits for what a sweep must react to, without signal handlers.
#pragma once

#include <chrono>
#include <csignal>

namespace mta {

/// While it lives, SIGCHLD, SIGINT, SIGTERM and SIGHUP do not interrupt this thread: they wait to
/// be asked for. A program started from here must be given `before()` as its mask.
class WaitingSignals {
 public:
  WaitingSignals();
  ~WaitingSignals();
  WaitingSignals(const WaitingSignals&) = delete;
  WaitingSignals& operator=(const WaitingSignals&) = delete;

  const sigset_t& before() const { return before_; }
  /// The next signal, at once if one is waiting; 0 when none comes in time.
  int wait(std::chrono::milliseconds time) const;

 private:
  sigset_t waiting_, before_;
};

}  // namespace mta
