// The signal handler. A handler can reach nothing but static state.
#include "lib/run/stop_signal.h"

namespace mta {
namespace {

volatile std::sig_atomic_t stop_requested = 0;

void note(int /*signal*/) {
  stop_requested = 1;
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
}

}  // namespace

StopSignal::StopSignal() {
  stop_requested = 0;
  struct sigaction action {};
  action.sa_handler = note;
  action.sa_flags = SA_RESTART;  // a write that is interrupted goes on
  ::sigaction(SIGINT, &action, &interrupt_before_);
  ::sigaction(SIGTERM, &action, &terminate_before_);
}

StopSignal::~StopSignal() {
  ::sigaction(SIGINT, &interrupt_before_, nullptr);
  ::sigaction(SIGTERM, &terminate_before_, nullptr);
}

bool StopSignal::requested() const { return stop_requested != 0; }

}  // namespace mta
