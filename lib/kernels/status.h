// Status codes and the last error's text: nothing in lib/kernels throws, prints or exits.
#pragma once

#include <string>

namespace mta::kernels {

enum class Status : int {
  Ok,
  InvalidArgument,  ///< a null pointer, a stride or a size that cannot be meant
  Unsupported,      ///< a shape or an option that no kernel covers; support.h says what is covered
  WorkspaceTooSmall,
  CudaError,  ///< a launch failed
};

/// Why the last call on this thread that did not return Ok failed: one line that names the field
/// and what is allowed.
const char* last_error();

/// Remembers `message` for last_error() and returns `status`.
Status fail(Status status, const std::string& message);

}  // namespace mta::kernels
