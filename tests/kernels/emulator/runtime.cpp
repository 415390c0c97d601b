// The CUDA runtime of the emulator: memory is the host's, work is done when a call returns.
#include "lib/kernels/launch.cuh"

#include <cstdlib>
#include <map>
#include <mutex>

namespace mta::emulator {
namespace {

constexpr int kFreeSharedBytes = 48 * 1024;  // more is an opt-in of each kernel

alignas(1024) thread_local std::byte shared[kMaxSharedBytes + kGuardBytes];

std::mutex mutex;
std::map<const void*, int>& allowed() {
  static std::map<const void*, int> bytes;
  return bytes;
}
thread_local cudaError_t last_error = cudaSuccess;

int allowed_bytes(const void* kernel) {
  const std::lock_guard lock(mutex);
  const auto found = allowed().find(kernel);
  return found == allowed().end() ? kFreeSharedBytes : found->second;
}

}  // namespace

std::byte* shared_memory() { return shared; }

int shared_limit() {
  static const char* const text = std::getenv("MTA_EMULATED_SHARED_KB");
  return text == nullptr ? static_cast<int>(kMaxSharedBytes) : std::atoi(text) * 1024;
}

int multiprocessors() {
  static const char* const text = std::getenv("MTA_EMULATED_MULTIPROCESSORS");
  return text == nullptr ? 3 : std::atoi(text);
}

cudaError_t allow_shared_bytes(const void* kernel, int bytes) {
  if (bytes < 0 || bytes > shared_limit()) return last_error = cudaErrorInvalidValue;
  const std::lock_guard lock(mutex);
  allowed()[kernel] = bytes;
  return cudaSuccess;
}

void launch(const void* kernel, dim3 grid, dim3 block, int shared_bytes,
            const std::function<void()>& run) {
  const unsigned threads = block.x * block.y * block.z;
  const bool fits = threads >= 1 && threads <= kMaxThreads && grid.x >= 1 && grid.y >= 1 &&
                    grid.z >= 1 && grid.y <= 65535 && grid.z <= 65535 && shared_bytes >= 0 &&
                    shared_bytes <= allowed_bytes(kernel);
  if (!fits) {
    last_error = cudaErrorInvalidValue;
    return;
  }
  run_grid({grid.x, grid.y, grid.z}, {block.x, block.y, block.z},
           static_cast<std::size_t>(shared_bytes), shared, run);
}

}  // namespace mta::emulator

cudaError_t cudaGetLastError() {
  const cudaError_t error = mta::emulator::last_error;
  mta::emulator::last_error = cudaSuccess;
  return error;
}
const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaSuccess             ? "no error"
         : error == cudaErrorInvalidValue ? "invalid argument"
                                          : "out of memory";
}
cudaError_t cudaMalloc(void** pointer, std::size_t bytes) {
  *pointer = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  return *pointer == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}
cudaError_t cudaFree(void* pointer) {
  std::free(pointer);
  return cudaSuccess;
}
cudaError_t cudaMemset(void* pointer, int value, std::size_t bytes) {
  std::memset(pointer, value, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  const bool major = attribute == cudaDevAttrComputeCapabilityMajor;
  *value = attribute == cudaDevAttrMaxSharedMemoryPerBlockOptin ? mta::emulator::shared_limit()
           : attribute == cudaDevAttrMultiProcessorCount        ? mta::emulator::multiprocessors()
           : major                                              ? 9
                                                                : 0;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {"the CPU, emulating", 9, 0};
  return cudaSuccess;
}
