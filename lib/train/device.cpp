// Devices by way of LibTorch's hooks; names and drivers from CUDA's runtime where it is built in.
#include "lib/train/device.h"

#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/ops/empty.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <torch/headeronly/version.h>
#include <unistd.h>

#include <charconv>
#include <fstream>
#include <regex>
#ifdef MTA_WITH_CUDA
#include <cuda_runtime_api.h>
#endif

#include "lib/core/error.h"
#include "lib/ops/precision.h"

namespace mta {
namespace {

constexpr std::int64_t kKibibyte = 1024;

int gpu_count() { return at::hasCUDA() ? at::detail::getCUDAHooks().getNumGPUs() : 0; }

at::Device gpu(int index) {
  ops::use_full_float32();
  return {at::kCUDA, static_cast<at::DeviceIndex>(index)};
}

/// Why `gpu_count()` is 0.
std::string no_gpu_reason() {
#ifdef MTA_WITH_CUDA
  return "no CUDA device found";
#else
  return "this build is without CUDA (configured where no nvcc is, or with MTA_CUDA=OFF)";
#endif
}

/// What follows ": " in the first line of `path` that starts with `key`; empty when there is none.
std::string value_in(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(": ");
    if (line.rfind(key, 0) == 0 && colon != std::string::npos) return line.substr(colon + 2);
  }
  return {};
}

DeviceInfo describe_cpu() {
  const std::string model = value_in("/proc/cpuinfo", "model name");
  return {.name = "cpu",
          .description = fmt::format("{}, {} cores", model.empty() ? "unknown CPU" : model,
                                     ::sysconf(_SC_NPROCESSORS_ONLN)),
          .memory_bytes = ::sysconf(_SC_PHYS_PAGES) * ::sysconf(_SC_PAGESIZE),
          .driver = {}};
}

DeviceInfo describe_gpu(int index) {
  DeviceInfo info{.name = fmt::format("cuda:{}", index), .description = {}, .driver = {}};
#ifdef MTA_WITH_CUDA
  cudaDeviceProp properties{};
  const cudaError_t error = cudaGetDeviceProperties(&properties, index);
  TORCH_CHECK(error == cudaSuccess, "cuda:", index, ": ", cudaGetErrorString(error));
  info.description = properties.name;
  info.memory_bytes = static_cast<std::int64_t>(properties.totalGlobalMem);
  // "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  ..."
  const std::string module = value_in("/proc/driver/nvidia/version", "NVRM version");
  std::smatch version;
  if (std::regex_search(module, version, std::regex(R"(\d+\.\d+(\.\d+)?)"))) {
    info.driver = version.str();
  }
#endif
  return info;
}

/// Knows its device: it does not before its first tensor.
c10::DeviceAllocator* allocator_of(at::Device device) {
  at::empty({1}, at::TensorOptions(device));
  return at::getDeviceAllocator(device.type());
}

/// Bytes of tensors on a GPU: those of now, and the most so far.
c10::CachingAllocator::Stat tensor_bytes(at::Device device) {
  constexpr auto kAll = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  return allocator_of(device)->getDeviceStats(device.index()).allocated_bytes[kAll];
}

}  // namespace

at::Device resolve_device(const std::string& request) {
  if (request == "cpu") return at::kCPU;
  const int count = gpu_count();
  if (request == "auto") return count > 0 ? gpu(0) : at::Device(at::kCPU);

  const std::string prefix = "cuda:";
  int index = 0;
  bool known = request == "cuda";
  if (request.rfind(prefix, 0) == 0 && request.size() > prefix.size()) {
    const char* end = request.data() + request.size();
    const auto [stop, error] = std::from_chars(request.data() + prefix.size(), end, index);
    known = error == std::errc() && stop == end && index >= 0;
  }
  if (!known) {
    throw UserError("--device " + request, "unknown (known: auto, cpu, cuda, cuda:<index>)");
  }
  if (count == 0) throw UserError("--device " + request, no_gpu_reason());
  if (index >= count) {
    throw UserError("--device " + request,
                    fmt::format("no such device (there are {}, from cuda:0)", count));
  }
  return gpu(index);
}

std::vector<DeviceInfo> devices() {
  std::vector<DeviceInfo> all = {describe_cpu()};
  for (int i = 0; i < gpu_count(); ++i) all.push_back(describe_gpu(i));
  return all;
}

DeviceInfo describe_device(at::Device device) {
  return device.is_cpu() ? describe_cpu() : describe_gpu(device.index());
}

void synchronize(at::Device device) {
  if (!device.is_cpu())
    c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.index());
}

WorkStream::WorkStream(at::Device device) : device_(device) {
  if (device.is_cpu()) return;
  synchronize(device);
  guard_.emplace(c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device));
}

WorkStream::~WorkStream() {
  try {
    synchronize(device_);
  } catch (const std::exception&) {
    // The device's error was thrown already, or the next call that needs the device throws it.
  }
}

void use_deterministic_algorithms(at::Device device, bool wanted) {
  if (device.is_cpu()) return;
  // What LibTorch asks for where it multiplies matrices deterministically; a user's choice counts.
  if (wanted) ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*replace=*/0);
  at::globalContext().setDeterministicAlgorithms(wanted, /*warn_only=*/false);
  at::globalContext().setDeterministicFillUninitializedMemory(false);
}

std::int64_t peak_memory_bytes(at::Device device) {
  if (device.is_cpu()) {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss * kKibibyte;
  }
  return tensor_bytes(device).peak;
}

std::int64_t restart_peak_memory(at::Device device) {
  allocator_of(device)->resetPeakStats(device.index());
  return tensor_bytes(device).current;
}

std::string libtorch_version() {
  return fmt::format("{}.{}.{}", TORCH_VERSION_MAJOR, TORCH_VERSION_MINOR, TORCH_VERSION_PATCH);
}

}  // namespace mta
