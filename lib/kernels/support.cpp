// Checks a problem against the table of what the kernels cover.
#include "lib/kernels/support.h"

#include "lib/kernels/shared_memory.h"
#include "lib/kernels/tile_plan.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <string>
#include <tuple>
#include <utility>

namespace mta::kernels {
namespace {

constexpr const char* kSpans = "1 to 16 queries by 1 to 32 keys, any left padding from 0 to c_k-1";
constexpr const char* kGroups = "any c_h that divides H";

Status unsupported(const std::string& what, const std::string& value, const std::string& covered) {
  return fail(Status::Unsupported,
              what + " " + value + " is not covered (covered: " + covered + ")");
}

Status check_convolution(const Convolution& conv, const std::string& where) {
  if (conv.kernel == nullptr) return Status::Ok;
  const std::string span = std::to_string(conv.query_span) + "x" + std::to_string(conv.key_span);
  if (conv.query_span < 1 || conv.query_span > kMaxQuerySpan || conv.key_span < 1 ||
      conv.key_span > kMaxKeySpan) {
    return unsupported("kq convolution " + where + " softmax:", span, kSpans);
  }
  if (conv.pad_left < 0 || conv.pad_left >= conv.key_span) {
    return unsupported("kq convolution " + where + " softmax: left padding",
                       std::to_string(conv.pad_left) + " of " + span, kSpans);
  }
  return Status::Ok;
}

Status check_mixing(const Mixing& mix, int heads, const std::string& where) {
  if (mix.weight == nullptr) return Status::Ok;
  if (mix.group < 1 || heads % mix.group != 0) {
    return unsupported("head mixing " + where + " softmax: group",
                       std::to_string(mix.group) + " of " + std::to_string(heads) + " heads",
                       kGroups);
  }
  return Status::Ok;
}

}  // namespace

std::vector<SupportRow> support_table() {
  return {
      {"device", "compute capability 8.0 or newer, such as A100, L40, H100, H200"},
      {"type of q, k, v",
       "fp16, bf16 (sums in fp32; maps before softmax in fp16, so |score| < 65504)"},
      {"head size d", "32, 64, 96, 128"},
      {"heads H", "1 to 64"},
      {"tokens T", "1 to 1048576, any length; causal"},
      {"batch B", "1 or more; B x H up to 2^30"},
      {"kq convolution before and after softmax", kSpans},
      {"causality of the convolution before softmax", "double, exact"},
      {"head mixing before and after softmax", kGroups},
      {"dropout on the weights", "0 to below 1 in steps of 1/65536"},
      {"run-to-run differences", "none: no atomics, sums in a fixed order"},
  };
}

Status check(const LaunchPlan& launch) {
  const std::tuple<const char*, int, int, int> numbers[] = {
      {"chunk_rows", launch.chunk_rows, kTileRows, kMaxTokens},
      {"score_keys", launch.score_keys, kTileKeys, kMaxStripKeys},
      {"convolution_keys", launch.convolution_keys, kTileKeys, kMaxStripKeys},
      {"mixing_keys", launch.mixing_keys, kTileKeys, kMaxStripKeys},
      {"mixing_rows", launch.mixing_rows, kMixingWarps, kMaxMixingRows},
      {"fused_heads", launch.fused_heads, 1, kNeverFused},
      {"sum_parts", launch.sum_parts, 1, kMaxSumParts},
      {"sum_ahead", launch.sum_ahead, 1, kMaxSumAhead}};
  for (const auto& [name, value, step, most] : numbers) {
    if (value >= 0 && value <= most && value % step == 0) continue;
    return fail(Status::InvalidArgument, std::string("launch plan: ") + name + " " +
                                             std::to_string(value) + " is not a multiple of " +
                                             std::to_string(step) + " up to " +
                                             std::to_string(most));
  }
  return Status::Ok;
}

Status check(const Device& device) {
  const std::string capability =
      std::to_string(device.capability / 10) + "." + std::to_string(device.capability % 10);
  if (device.capability == 0) return fail(Status::Unsupported, "there is no CUDA device");
  if (device.capability < kLeastCapability) {
    return unsupported("compute capability", capability, "8.0 or newer");
  }
  for (const SharedMemoryRow& row : shared_memory_table(device.shared_bytes)) {
    if (row.bytes <= device.shared_bytes) continue;
    return unsupported("shared memory of", std::to_string(device.shared_bytes) + " bytes a block",
                       row.kernel + " takes " + std::to_string(row.bytes));
  }
  if (device.has_code) return Status::Ok;
  return fail(Status::Unsupported,
              "the kernels are not built for compute capability " + capability +
                  ": configure with CMAKE_CUDA_ARCHITECTURES=" + std::to_string(device.capability));
}

Status check(const Problem& p) {
  const auto number = [](auto value) { return std::to_string(value); };
  if (p.type != ElementType::Float16 && p.type != ElementType::BFloat16) {
    return unsupported("type", number(static_cast<int>(p.type)), "fp16, bf16");
  }
  if (std::find(std::begin(kHeadDims), std::end(kHeadDims), p.head_dim) == std::end(kHeadDims)) {
    return unsupported("head size", number(p.head_dim), "32, 64, 96, 128");
  }
  if (p.heads < 1 || p.heads > kMaxHeads) return unsupported("heads", number(p.heads), "1 to 64");
  if (p.tokens < 1 || p.tokens > kMaxTokens) {
    return unsupported("tokens", number(p.tokens), "1 to 1048576");
  }
  if (p.batch < 1 || static_cast<std::int64_t>(p.batch) * p.heads > (1 << 30)) {
    return unsupported("batch", number(p.batch), "1 or more; B x H up to 2^30");
  }
  for (const auto& [conv, where] :
       {std::pair{p.conv_before, "before"}, std::pair{p.conv_after, "after"}}) {
    if (const Status s = check_convolution(conv, where); s != Status::Ok) return s;
  }
  for (const auto& [mix, where] :
       {std::pair{p.mix_before, "before"}, std::pair{p.mix_after, "after"}}) {
    if (const Status s = check_mixing(mix, p.heads, where); s != Status::Ok) return s;
  }
  if (const Status s = check(p.launch); s != Status::Ok) return s;
  if (!std::isfinite(p.scale)) return fail(Status::InvalidArgument, "scale is not a finite number");
  if (!(p.dropout.rate >= 0 && p.dropout.rate < 1)) {
    return unsupported("dropout rate", number(p.dropout.rate), "0 to below 1");
  }
  return Status::Ok;
}

}  // namespace mta::kernels
