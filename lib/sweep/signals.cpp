// Blocks signals and takes them one by one.
#include "lib/sweep/signals.h"

#include <ctime>

namespace mta {

WaitingSignals::WaitingSignals() {
  ::sigemptyset(&waiting_);
  for (const int signal : {SIGCHLD, SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&waiting_, signal);
  ::pthread_sigmask(SIG_BLOCK, &waiting_, &before_);
}

WaitingSignals::~WaitingSignals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

int WaitingSignals::wait(std::chrono::milliseconds time) const {
  constexpr long kNanoseconds = 1'000'000;
  constexpr std::int64_t kMilliseconds = 1000;
  const timespec limit{.tv_sec = static_cast<time_t>(time.count() / kMilliseconds),
                       .tv_nsec = static_cast<long>(time.count() % kMilliseconds) * kNanoseconds};
  const int signal = ::sigtimedwait(&waiting_, nullptr, &limit);
  return signal > 0 ? signal : 0;
}

}  // namespace mta
