// Moves a kernel case to the device and its results back.
#include "tests/cuda/device_run.h"

#include "lib/kernels/attention.h"
#include "lib/kernels/device.h"
#include "lib/kernels/workspace.h"
#include "tests/cuda/device_memory.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>

namespace mta::check {
namespace {

using kernels::ElementType;
using kernels::Problem;
using kernels::ReferenceResult;
using kernels::Tensor;
using Bits = std::uint16_t;

Bits to_bits(double value, ElementType type) {
  Bits bits;
  if (type == ElementType::Float16) {
    const __half x = __float2half_rn(static_cast<float>(value));
    std::memcpy(&bits, &x, sizeof(bits));
  } else {
    const __nv_bfloat16 x = __float2bfloat16_rn(static_cast<float>(value));
    std::memcpy(&bits, &x, sizeof(bits));
  }
  return bits;
}

double from_bits(Bits bits, ElementType type) {
  if (type == ElementType::Float16)
    return static_cast<double>(__half2float(__half(__half_raw{bits})));
  return static_cast<double>(__bfloat162float(__nv_bfloat16(__nv_bfloat16_raw{bits})));
}

/// A [B, H, T, d] tensor on the device in one of the layouts.
class DeviceTensor {
 public:
  DeviceTensor(const Problem& p, TokenLayout layout) : p_(p), memory_(count()) {
    set_strides(layout);
  }
  DeviceTensor(const Problem& p, TokenLayout layout, const std::vector<double>& values)
      : p_(p), memory_(count()) {
    set_strides(layout);
    std::vector<Bits> bits(count());
    visit([&](std::size_t n, std::size_t place) { bits[place] = to_bits(values[n], p_.type); });
    must(cudaMemcpy(memory_.get(), bits.data(), bits.size() * sizeof(Bits), cudaMemcpyHostToDevice),
         "copy to the device");
  }
  const Tensor& tensor() const { return tensor_; }
  std::vector<double> read() const {
    const std::vector<Bits> bits = memory_.read();
    std::vector<double> values(count());
    visit([&](std::size_t n, std::size_t place) { values[n] = from_bits(bits[place], p_.type); });
    return values;
  }

 private:
  std::size_t count() const {
    return static_cast<std::size_t>(p_.batch) * static_cast<std::size_t>(p_.heads) *
           static_cast<std::size_t>(p_.tokens) * static_cast<std::size_t>(p_.head_dim);
  }
  void set_strides(TokenLayout layout) {
    const std::int64_t d = p_.head_dim, heads = p_.heads, tokens = p_.tokens;
    if (layout == TokenLayout::HeadsFirst) {
      tensor_ = {memory_.get(), heads * tokens * d, tokens * d, d};
    } else {
      tensor_ = {memory_.get(), heads * tokens * d, d, heads * d};
    }
  }
  /// visit(index in [B, H, T, d], place in memory).
  template <class Visit>
  void visit(Visit&& visit_element) const {
    std::size_t n = 0;
    for (int b = 0; b < p_.batch; ++b)
      for (int h = 0; h < p_.heads; ++h)
        for (int t = 0; t < p_.tokens; ++t)
          for (int c = 0; c < p_.head_dim; ++c) {
            visit_element(
                n++, static_cast<std::size_t>(b * tensor_.batch_stride + h * tensor_.head_stride +
                                              t * tensor_.token_stride + c));
          }
  }

  const Problem& p_;
  DeviceMemory<Bits> memory_;
  Tensor tensor_;
};

std::vector<double> widen(const std::vector<float>& values) {
  return {values.begin(), values.end()};
}

/// A stage's weights on the device, with room for their gradient.
struct DeviceWeights {
  explicit DeviceWeights(const std::vector<float>& values)
      : weights(values), gradient(values.size()) {}
  DeviceMemory<float> weights, gradient;
};

std::unique_ptr<DeviceWeights> upload(const std::vector<float>& values) {
  return values.empty() ? nullptr : std::make_unique<DeviceWeights>(values);
}

template <class Stage, class Pointer>
void attach(Stage& stage, Pointer Stage::*weights, const std::unique_ptr<DeviceWeights>& device) {
  if (device == nullptr) return;
  stage.*weights = device->weights.get();
  stage.gradient = device->gradient.get();
}

std::vector<double> gradient(const std::unique_ptr<DeviceWeights>& device) {
  return device == nullptr ? std::vector<double>() : widen(device->gradient.read());
}

/// A case's tensors, weights and workspaces on the device.
class DeviceCase {
 public:
  DeviceCase(const KernelCase& c, const DeviceOptions& options)
      : p_(c.problem),
        options_(options),
        conv_before_(upload(c.conv_before)),
        conv_after_(upload(c.conv_after)),
        mix_before_(upload(c.mix_before)),
        mix_after_(upload(c.mix_after)),
        step_(std::vector<std::uint32_t>{options.dropout_step == nullptr ? 0u
                                                                         : *options.dropout_step}),
        q_(p_, options.layout, c.inputs.q),
        k_(p_, options.layout, c.inputs.k),
        v_(p_, options.layout, c.inputs.v),
        d_o_(p_, options.layout, c.inputs.d_o),
        o_(p_, options.layout),
        d_q_(p_, options.layout),
        d_k_(p_, options.layout),
        d_v_(p_, options.layout),
        lse_(static_cast<std::size_t>(p_.batch * p_.heads * p_.tokens)) {
    attach(p_.conv_before, &kernels::Convolution::kernel, conv_before_);
    attach(p_.conv_after, &kernels::Convolution::kernel, conv_after_);
    attach(p_.mix_before, &kernels::Mixing::weight, mix_before_);
    attach(p_.mix_after, &kernels::Mixing::weight, mix_after_);
    if (options.dropout_step != nullptr) p_.dropout.step = step_.get();
  }

  void forward() const {
    const std::size_t bytes = kernels::forward_workspace_bytes(p_, options_.forward_budget);
    const DeviceMemory<char> memory(bytes);
    const kernels::ForwardParams params = {
        p_, q_.tensor(), k_.tensor(), v_.tensor(), o_.tensor(), lse_.get(), {memory.get(), bytes}};
    EXPECT_EQ(kernels::forward(params, nullptr), kernels::Status::Ok) << kernels::last_error();
    must(cudaDeviceSynchronize(), "forward");
  }
  void backward() const {
    const std::size_t bytes =
        kernels::backward_workspace_bytes(p_, options_.backward_budget, options_.gives_output);
    const DeviceMemory<char> memory(bytes);
    const kernels::BackwardParams params = {p_,
                                            q_.tensor(),
                                            k_.tensor(),
                                            v_.tensor(),
                                            options_.gives_output ? o_.tensor() : Tensor(),
                                            lse_.get(),
                                            d_o_.tensor(),
                                            d_q_.tensor(),
                                            d_k_.tensor(),
                                            d_v_.tensor(),
                                            {memory.get(), bytes}};
    EXPECT_EQ(kernels::backward(params, nullptr), kernels::Status::Ok) << kernels::last_error();
    must(cudaDeviceSynchronize(), "backward");
  }
  ReferenceResult read() const {
    return {
        o_.read(),           widen(lse_.read()),     d_q_.read(),           d_k_.read(),
        d_v_.read(),         gradient(conv_before_), gradient(conv_after_), gradient(mix_before_),
        gradient(mix_after_)};
  }

 private:
  Problem p_;
  DeviceOptions options_;
  std::unique_ptr<DeviceWeights> conv_before_, conv_after_, mix_before_, mix_after_;
  DeviceMemory<std::uint32_t> step_;
  DeviceTensor q_, k_, v_, d_o_, o_, d_q_, d_k_, d_v_;
  DeviceMemory<float> lse_;
};

/// The problem of a tensor that holds other tokens.
Problem with_tokens(Problem p, int tokens) {
  p.tokens = tokens;
  return p;
}

/// [B, H, T, d] with tokens first..first+count-1, those past T not a number.
std::vector<double> tokens_of(const std::vector<double>& all, const Problem& p, int first,
                              int count) {
  const auto size = [](int a) { return static_cast<std::size_t>(a); };
  std::vector<double> some(size(p.batch * p.heads) * size(count * p.head_dim),
                           std::numeric_limits<double>::quiet_NaN());
  for (std::size_t map = 0; map < size(p.batch * p.heads); ++map) {
    for (int n = 0; n < count && first + n < p.tokens; ++n) {
      for (std::size_t c = 0; c < size(p.head_dim); ++c) {
        some[(map * size(count) + size(n)) * size(p.head_dim) + c] =
            all[(map * size(p.tokens) + size(first + n)) * size(p.head_dim) + c];
      }
    }
  }
  return some;
}

/// The weights of the norm and the gate of decoding, moved to the device.
class DeviceOutput {
 public:
  DeviceOutput(const kernels::DecodeOutput& host, int head_dim)
      : stages_(host),
        norm_(weights(host.norm_weight, head_dim)),
        gate_(weights(host.gate_weight, host.gates * head_dim)),
        bias_(weights(host.gate_bias, host.gates)) {
    if (norm_ != nullptr) stages_.norm_weight = norm_->weights.get();
    if (gate_ != nullptr) stages_.gate_weight = gate_->weights.get();
    if (bias_ != nullptr) stages_.gate_bias = bias_->weights.get();
  }
  const kernels::DecodeOutput& stages() const { return stages_; }

 private:
  static std::unique_ptr<DeviceWeights> weights(const float* from, int count) {
    return from == nullptr ? nullptr : upload(std::vector<float>(from, from + count));
  }

  kernels::DecodeOutput stages_;
  std::unique_ptr<DeviceWeights> norm_, gate_, bias_;
};

/// Sizes and stages of decoding a case, without the tensors.
kernels::DecodeRows decode_call(const Problem& p, const DecodeOptions& options, int room) {
  kernels::DecodeRows call;
  call.batch = p.batch, call.heads = p.heads, call.head_dim = p.head_dim;
  call.rows = options.rows, call.query_rows = options.query_rows, call.keys = room;
  call.type = p.type, call.scale = p.scale, call.causality = p.causality;
  call.conv_before = p.conv_before, call.conv_after = p.conv_after;
  call.mix_before = p.mix_before, call.mix_after = p.mix_after;
  return call;
}

}  // namespace

std::string no_device() {
  int devices = 0;
  const cudaError_t error = cudaGetDeviceCount(&devices);
  if (error != cudaSuccess || devices == 0)
    return std::string("no CUDA device: ") + cudaGetErrorString(error);
  return kernels::check(kernels::current_device()) == kernels::Status::Ok ? ""
                                                                          : kernels::last_error();
}

bool device_is_emulated() {
#ifdef MTA_EMULATED_DEVICE
  return true;
#else
  return false;
#endif
}

Rounding rounding_of(ElementType type) {
  return [type](double value) { return from_bits(to_bits(value, type), type); };
}

void round_inputs(KernelCase& c) {
  const Rounding round = rounding_of(c.problem.type);
  for (std::vector<double>* values : {&c.inputs.q, &c.inputs.k, &c.inputs.v, &c.inputs.d_o}) {
    for (double& value : *values) value = round(value);
  }
}

ReferenceResult run_on_device(const KernelCase& c, const DeviceOptions& options) {
  const DeviceCase device_case(c, options);
  device_case.forward();
  device_case.backward();
  return device_case.read();
}

std::vector<double> decode_on_device(const KernelCase& c, const DecodeOptions& options) {
  const Problem& p = c.problem;
  const int room = options.room == 0 ? p.tokens : options.room;
  const int queries = options.query_rows == 0 ? room : options.query_rows;
  const Problem of_keys = with_tokens(p, room), of_queries = with_tokens(p, queries),
                of_rows = with_tokens(p, options.rows);
  const DeviceTensor q(
      of_queries, options.layout,
      tokens_of(c.inputs.q, p, options.query_rows == 0 ? 0 : p.tokens - queries, queries));
  const DeviceTensor k(of_keys, options.layout, tokens_of(c.inputs.k, p, 0, room));
  const DeviceTensor v(of_keys, options.layout, tokens_of(c.inputs.v, p, 0, room));
  const DeviceTensor o(of_rows, options.layout);
  const auto conv_before = upload(c.conv_before), conv_after = upload(c.conv_after),
             mix_before = upload(c.mix_before), mix_after = upload(c.mix_after);
  const DeviceMemory<int> length(std::vector<int>{p.tokens});
  kernels::DecodeRows call = decode_call(p, options, room);
  call.length = options.room == 0 ? nullptr : length.get();
  call.q = q.tensor(), call.k = k.tensor(), call.v = v.tensor();
  attach(call.conv_before, &kernels::Convolution::kernel, conv_before);
  attach(call.conv_after, &kernels::Convolution::kernel, conv_after);
  attach(call.mix_before, &kernels::Mixing::weight, mix_before);
  attach(call.mix_after, &kernels::Mixing::weight, mix_after);
  const DeviceOutput output(options.output, p.head_dim);
  call.output = output.stages();
  const std::size_t bytes = kernels::decode_workspace_bytes(call);
  const DeviceMemory<char> memory(bytes);
  EXPECT_EQ(kernels::decode(call, o.tensor(), {memory.get(), bytes}, nullptr), kernels::Status::Ok)
      << kernels::last_error();
  must(cudaDeviceSynchronize(), "decode");
  return o.read();
}

}  // namespace mta::check
