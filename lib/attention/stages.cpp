// Head mixing, the differential map and the stages on the output.
#include "lib/attention/stages.h"

#include "lib/nn/linear.h"
#include "lib/nn/rms_norm.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/matmul.h>

#include <cmath>

namespace mta {
namespace {

constexpr double kLambdaSigma = 0.1;  // arXiv 2410.05258, section 2.1

/// map [B, G c, R, T], weight [G, out, in] -> [B, G c, R, T]
at::Tensor mix(const at::Tensor& map, const at::Tensor& weight) {
  const at::Tensor grouped = map.unflatten(1, {weight.size(0), weight.size(1)}).flatten(3);
  return at::matmul(weight, grouped).view(map.sizes());
}

}  // namespace

Stage head_mixing(LayerBuilder& layer, const HeadMixingConfig& config, Side side) {
  const bool before = side == Side::BeforeSoftmax;
  const std::string name = before ? "heads_before" : "heads_after";
  const std::int64_t maps = before ? layer.shape().heads : layer.weight_maps();
  const std::int64_t group = config.group.value_or(maps);
  const at::Tensor identity = at::eye(group, at::kDouble).repeat({maps / group, 1, 1});
  const at::Tensor weight = layer.add(name + ".weight", {maps / group, group, group},
                                      InitialValue::of(identity));  // [G, c, c]
  return {.name = name,
          .apply =
              [=](const at::Tensor& map, const MapWindow&) {
                const at::Tensor typed = weight.to(map.scalar_type());
                return mix(map, before ? typed : typed.transpose(1, 2));
              },
          .fuse =
              [=](ops::AttentionCall& call) {
                (before ? call.heads_before : call.heads_after) = weight;
              }};
}

Stage differential(LayerBuilder& layer) {
  const double start = lambda_init(layer.shape().layer);
  const auto vector = [&](const char* name) {
    return layer.add(std::string("differential.lambda_") + name, {layer.shape().head_dim()},
                     InitialValue::normal(kLambdaSigma));
  };
  const at::Tensor q1 = vector("q1"), k1 = vector("k1"), q2 = vector("q2"), k2 = vector("k2");
  return {.name = "differential", .apply = [=](const at::Tensor& map, const MapWindow&) {
            const at::Tensor lambda =
                (q1 * k1).sum().exp() - (q2 * k2).sum().exp() + start;  // in the master type
            const at::Tensor pairs = map.unflatten(1, {-1, 2});         // [B, H/2, 2, R, T]
            return pairs.select(2, 0) - lambda.to(map.scalar_type()) * pairs.select(2, 1);
          }};
}

Stage group_norm(LayerBuilder& layer, const GroupNormConfig& config) {
  const at::Tensor weight =
      layer.add("group_norm.weight", {layer.value_dim()}, InitialValue::constant(1));
  const double scale = depth_scale(config.depth_scale, layer.shape().layer);
  return {.name = "group_norm",
          .apply =
              [weight, scale, eps = config.eps](const at::Tensor& output, const MapWindow&) {
                return rms_norm(output, scale == 1 ? weight : weight * scale, eps);
              },
          .fuse_output =
              [weight, scale, eps = config.eps](ops::OutputStages& output) {
                output.norm_weight = weight;
                output.norm_eps = eps, output.norm_scale = scale;
              }};
}

Stage gate(LayerBuilder& layer, const GateConfig& config) {
  const std::int64_t d = layer.value_dim();
  const std::int64_t gates = config.kind == GateKind::Scalar ? 1 : d;
  const double sigma = 1 / std::sqrt(static_cast<double>(layer.shape().dim));
  const at::Tensor weight =
      layer.add("gate.weight", {gates, d}, InitialValue::truncated_normal(sigma));
  const at::Tensor bias = layer.add("gate.bias", {gates}, InitialValue::constant(0));
  return {.name = "gate",
          .apply =
              [=](const at::Tensor& output, const MapWindow&) {
                return output * mta::linear(output, weight, bias).sigmoid();
              },
          .fuse_output =
              [=](ops::OutputStages& output) {
                output.gate_weight = weight;
                output.gate_bias = bias;
              }};
}

double depth_scale(DepthScale scale, std::int64_t layer) {
  switch (scale) {
    case DepthScale::Exponential:
      return 1 - lambda_init(layer);
    case DepthScale::InverseSqrt:  // arXiv 2502.05795, equation 5, with layers counted from 1
      return 1 / std::sqrt(static_cast<double>(layer + 1));
    case DepthScale::None:
      break;
  }
  return 1;
}

double lambda_init(std::int64_t layer) {
  return 0.8 - 0.6 * std::exp(-0.3 * static_cast<double>(layer));
}

}  // namespace mta
