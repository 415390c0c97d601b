// Keeps one error text a thread.
#include "lib/kernels/status.h"

namespace mta::kernels {
namespace {

std::string& text() {
  thread_local std::string message;
  return message;
}

}  // namespace

const char* last_error() { return text().c_str(); }

Status fail(Status status, const std::string& message) {
  text() = message;
  return status;
}

}  // namespace mta::kernels
