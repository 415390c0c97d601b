// Device memory that frees itself, for tests and the benchmark.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

namespace mta::check {

inline void must(cudaError_t error, const char* what) {
  if (error != cudaSuccess)
    throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

template <class Value>
class DeviceMemory {
 public:
  DeviceMemory() = default;
  /// Every byte 0xFF: NaN as fp32, fp16 and bf16.
  explicit DeviceMemory(std::size_t count) : count_(count) {
    must(cudaMalloc(&data_, bytes()), "cudaMalloc");
    must(cudaMemset(data_, 0xFF, bytes()), "cudaMemset");
  }
  explicit DeviceMemory(const std::vector<Value>& values) : DeviceMemory(values.size()) {
    must(cudaMemcpy(data_, values.data(), values.size() * sizeof(Value), cudaMemcpyHostToDevice),
         "copy to the device");
  }
  ~DeviceMemory() { cudaFree(data_); }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  Value* get() const { return static_cast<Value*>(data_); }
  std::vector<Value> read() const {
    std::vector<Value> values(count_);
    must(cudaMemcpy(values.data(), data_, count_ * sizeof(Value), cudaMemcpyDeviceToHost),
         "copy from the device");
    return values;
  }

 private:
  std::size_t bytes() const { return (count_ > 0 ? count_ : 1) * sizeof(Value); }

  std::size_t count_ = 0;
  void* data_ = nullptr;
};

}  // namespace mta::check
