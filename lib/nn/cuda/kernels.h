// The contract of the elementwise CUDA kernels around attention: plain pointers and sizes.
//
// Values are fp32 or bf16; all arithmetic is fp32, and a result is rounded once. Rows are vectors
// of eight: pointers are 16-byte aligned, sizes and strides multiples of 8. Nothing here allocates,
// waits or throws; sums are added in a fixed order, so that equal calls give equal bits.
#pragma once

#include <cstdint>

struct CUstream_st;  // what cudaStream_t points to

namespace mta::nn::cuda {

using Stream = CUstream_st*;

enum class Type : int { Float, BFloat16 };

inline constexpr std::int64_t kVector = 8;           // values that a thread moves at a time
inline constexpr std::int64_t kMaxWidth = 2048;      // of a normalised row
inline constexpr std::int64_t kMaxHead = 256;        // d of a head that is normalised or gated
inline constexpr std::int64_t kNormGateParts = 256;  // partial sums of its weights, at most

/// sum = x + update;  y = sum * scale * weight with scale = 1 / sqrt(mean(sum^2) + eps), a row at a
/// time. Without an update sum is x and not written.
struct RmsNorm {
  Type type = Type::Float;        // of x, update, sum and y
  const void* x = nullptr;        // [rows, d]
  const void* update = nullptr;   // [rows, d], or null
  const float* weight = nullptr;  // [d]
  void* sum = nullptr;            // [rows, d], written where there is an update
  void* y = nullptr;              // [rows, d]
  float* scale = nullptr;         // [rows]
  std::int64_t rows = 0, d = 0;
  float eps = 0;
};

/// The gradient of x (and of the update, which is the same), with that of `sum` added where given.
struct RmsNormBackward {
  Type type = Type::Float;
  const void* sum = nullptr;       // [rows, d], as normalised
  const float* weight = nullptr;   // [d]
  const float* scale = nullptr;    // [rows]
  const void* grad_y = nullptr;    // [rows, d]
  const void* grad_sum = nullptr;  // [rows / tokens, tokens - first, d], or null
  void* grad_x = nullptr;          // [rows, d]
  float* parts = nullptr;          // [norm_parts(), d], scratch
  float* grad_weight = nullptr;    // [d]
  std::int64_t rows = 0, d = 0;
  std::int64_t tokens = 1, first = 0;  // of a sample: grad_sum is that of the rows from first on
};

/// Of a tensor [batch, positions, heads, d], in values; the last is 1.
struct Strides {
  std::int64_t batch = 0, position = 0, head = 0;
};

/// One tensor, turned or copied.
struct RotationPart {
  const void* x = nullptr;  // [batch, positions, heads, d]
  void* y = nullptr;        // the same
  std::int64_t heads = 0, d = 0;
  Strides x_strides = {}, y_strides = {};
  bool turns = true;
};

/// Turns pairs of neighbours by the angles of their position: lib/nn/rotary.h.
struct Rotation {
  Type type = Type::Float;
  RotationPart parts[3] = {};
  int count = 1;               // of them
  const float* cos = nullptr;  // [positions, d]; parts that are turned have the same d
  const float* sin = nullptr;  // [positions, d], negative for the first of a pair
  std::int64_t batch = 0, positions = 0;
  float direction = 1;  // -1 turns backwards
};

/// y = silu(a) b, where a row holds a and then b.
struct Gated {
  Type type = Type::Float;
  const void* ab = nullptr;  // [rows, 2 width]
  void* y = nullptr;         // [rows, width]
  std::int64_t rows = 0, width = 0;
};

struct GatedBackward {
  Type type = Type::Float;
  const void* ab = nullptr;      // [rows, 2 width]
  const void* grad_y = nullptr;  // [rows, width]
  void* grad_ab = nullptr;       // [rows, 2 width]
  std::int64_t rows = 0, width = 0;
};

/// The stages on attention's output, for each head of a token:
///     n = o r w, r = norm_scale / sqrt(mean(o^2) + eps);  y = n sigmoid(g . n + bias).
/// Without `norm_weight` n is o, without `gate_weight` y is n; one of them is there.
struct NormGate {
  Type type = Type::Float;             // of o and y
  const void* o = nullptr;             // [batch, tokens, heads, d]; last stride 1
  const float* norm_weight = nullptr;  // [d], w, or null
  const float* gate_weight = nullptr;  // [d], g, or null
  const float* gate_bias = nullptr;    // [1], where there is a gate
  void* y = nullptr;                   // [batch, tokens, heads, d], contiguous
  std::int64_t batch = 0, tokens = 0, heads = 0, d = 0;
  std::int64_t batch_stride = 0, token_stride = 0, head_stride = 0;  // of o, in values
  float eps = 0, norm_scale = 1;
};

/// `forward` but its y; gradients of weights that are absent are null.
struct NormGateBackward {
  NormGate forward = {};
  const void* grad_y = nullptr;       // [batch, tokens, heads, d], contiguous
  void* grad_o = nullptr;             // [batch, tokens, heads, d], contiguous
  float* parts = nullptr;             // [norm_gate_parts(call), 2 d + 1], scratch
  float* grad_norm_weight = nullptr;  // [d]
  float* grad_gate_weight = nullptr;  // [d]
  float* grad_gate_bias = nullptr;    // [1]
};

/// losses = log(sum of exp(logits)) - logits[target] a row, 0 in rows whose target is `no_target`.
struct CrossEntropy {
  Type type = Type::Float;                // of the logits
  const void* logits = nullptr;           // [rows, vocabulary]
  const std::int64_t* targets = nullptr;  // [rows], in [0, vocabulary) or no_target
  float* log_sums = nullptr;              // [rows], written
  float* losses = nullptr;                // [rows], written
  std::int64_t rows = 0, vocabulary = 0, no_target = -1;
};

/// grad_logits = (softmax(logits) - 1 at the target) grad, 0 in rows without a target.
struct CrossEntropyBackward {
  Type type = Type::Float;
  const void* logits = nullptr;           // [rows, vocabulary]
  const std::int64_t* targets = nullptr;  // [rows]
  const float* log_sums = nullptr;        // [rows]
  const float* grad = nullptr;            // one number, on the device
  void* grad_logits = nullptr;            // [rows, vocabulary]
  std::int64_t rows = 0, vocabulary = 0, no_target = -1;
};

/// table[token] += the sum of all rows of that token, a token once.
struct AddRows {
  Type type = Type::Float;
  void* table = nullptr;                 // [tokens there are, d]
  const std::int64_t* sorted = nullptr;  // [count], tokens in ascending order
  const std::int64_t* order = nullptr;   // [count], the row of each
  const void* rows = nullptr;            // [count, d]
  std::int64_t count = 0, d = 0;
};

/// Rows of `parts` of a RmsNormBackward: each is a sum over a share of the rows.
std::int64_t norm_parts(Type type, std::int64_t rows, std::int64_t d);
std::int64_t norm_gate_parts(const NormGate& call);

/// Null when the kernels were launched, else CUDA's reason.
const char* rms_norm(const RmsNorm& call, Stream stream);
const char* rms_norm_backward(const RmsNormBackward& call, Stream stream);
const char* rotate(const Rotation& call, Stream stream);
const char* gated(const Gated& call, Stream stream);
const char* gated_backward(const GatedBackward& call, Stream stream);
const char* norm_gate(const NormGate& call, Stream stream);
const char* norm_gate_backward(const NormGateBackward& call, Stream stream);
const char* cross_entropy(const CrossEntropy& call, Stream stream);
const char* cross_entropy_backward(const CrossEntropyBackward& call, Stream stream);
const char* add_rows(const AddRows& call, Stream stream);

}  // namespace mta::nn::cuda
