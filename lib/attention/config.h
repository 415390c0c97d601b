// The attention part of an experiment: which stages a layer has. No torch here.
#pragma once

#include "lib/core/description.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mta {

enum class KeyPad { Both, Left, Right };
enum class Causality { Double, Exact };
enum class DepthScale { None, Exponential, InverseSqrt };
enum class GateKind { Scalar, Vector };
enum class KernelInit { Identity, Zero, Constant, Uniform, Normal, Diagonal };
enum class AttentionPath { Auto, Composed, Fused };

/// A kq convolution (paper, section 3.1; equation 4): span over queries and keys.
struct KqConvolutionConfig {
  std::int64_t query = 6;  // c_q
  std::int64_t key = 11;   // c_k
  KeyPad pad = KeyPad::Both;
};

/// Head mixing (paper, section 3.2) inside groups of `group` heads; null = all heads.
struct HeadMixingConfig {
  std::optional<std::int64_t> group;
};

/// Headwise RMS norm of the output (paper, section 3.3).
struct GroupNormConfig {
  DepthScale depth_scale = DepthScale::None;
  double eps = 1e-5;
};

struct GateConfig {
  GateKind kind = GateKind::Scalar;
};

/// What every variant is made of. A variant's preset sets some of these; an experiment may override
/// any.
struct AttentionConfig {
  std::string variant = "standard";
  std::optional<KqConvolutionConfig> kq_before, kq_after;     // before and after softmax
  std::optional<HeadMixingConfig> heads_before, heads_after;  // before and after softmax
  std::optional<GroupNormConfig> group_norm;
  std::optional<GateConfig> gate;
  bool differential = false;  // two softmax maps a head, subtracted (arXiv 2410.05258)
  std::optional<std::vector<std::int64_t>>
      kq_layers;  // layers that have the kq convolutions; null = all
  Causality causality = Causality::Double;
  KernelInit init = KernelInit::Identity;
  AttentionPath path = AttentionPath::Auto;
  std::int64_t workspace_mib = 512;  // of the fused path on a GPU, in each direction
};

/// Keys of "/attention" but for "variant", which chooses the preset that the others start from.
Description describe(AttentionConfig& config);

/// Reads "/attention": the variant's preset first, then every key that is given.
AttentionConfig read_attention(const Json& object, const std::string& pointer, Problems& problems);
Json to_json(const AttentionConfig& config);

/// Checks against the model around it: groups divide heads, layers exist, stages that exclude each
/// other.
void validate(const AttentionConfig& config, std::int64_t heads, std::int64_t layers,
              Problems& problems);

}  // namespace mta
