// Where the kernels' work is queued, and their status codes as exceptions. No CUDA header is
// needed: LibTorch hands out its current stream as a pointer.
#pragma once

#include "lib/kernels/attention.h"
#include "lib/kernels/status.h"

#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/Exception.h>

namespace mta::ops::cuda {

/// LibTorch's current stream of a GPU, which is the current device as long as this lives.
class Queue {
 public:
  explicit Queue(c10::Device device) : guard_(device) {
    stream_ = static_cast<kernels::Stream>(
        c10::impl::VirtualGuardImpl(device.type()).getStream(device).native_handle());
  }
  kernels::Stream stream() const { return stream_; }

 private:
  c10::DeviceGuard guard_;
  kernels::Stream stream_ = nullptr;
};

/// Whether LibTorch's current stream of a GPU is being captured into a graph.
bool is_capturing(c10::Device device);

inline void check_status(kernels::Status status) {
  TORCH_CHECK(status == kernels::Status::Ok, "fused attention: ", kernels::last_error());
}

}  // namespace mta::ops::cuda
