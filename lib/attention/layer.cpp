// Builds a layer's plan, chooses its path, and runs it.
#include "lib/attention/layer.h"

#include "lib/attention/fuse.h"
#include "lib/attention/registry.h"
#include "lib/attention/stages.h"
#include "lib/core/error.h"
#include "lib/nn/linear.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

namespace mta {
namespace {

/// [B, T, H d] -> [B, T, H, d]
at::Tensor split_heads(const at::Tensor& x, std::int64_t heads) {
  return x.unflatten(-1, {heads, -1});
}

bool has_kq(const AttentionConfig& config, std::int64_t layer) {
  return !config.kq_layers || std::find(config.kq_layers->begin(), config.kq_layers->end(),
                                        layer) != config.kq_layers->end();
}

constexpr std::int64_t kMebibyte = 1 << 20;
constexpr std::int64_t kRoomAhead = 64;  // tokens

/// Room for `tokens` and some more, in powers of two.
std::int64_t doubled(std::int64_t tokens) {
  return static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(tokens + kRoomAhead)));
}

constexpr const char* kRowsOnTheGpu =
    "calls for the last rows alone (the last layer's answers) run composed, or by a kernel of "
    "their own where they are up to 8 rows and a convolution before the softmax at most";

/// On a GPU the fused paths compute all rows, but for flash attention, which takes the last one
/// alone as well; a few rows are little work for the composed one.
bool covers_rows(const AttentionPlan& plan, const AttendInput& input) {
  return input.first_row == 0 || input.q.is_cpu() || is_flash_of_last_row(plan, input);
}

}  // namespace

AttentionLayer::AttentionLayer(const AttentionConfig& config, const LayerShape& shape,
                               Parameters& parameters, const std::string& prefix,
                               at::ScalarType compute)
    : shape_(shape) {
  LayerBuilder layer(config, shape, parameters, prefix);
  const auto initial =
      InitialValue::truncated_normal(1 / std::sqrt(static_cast<double>(shape.dim)));
  for (const auto& [weight, name] : {std::pair(&wq_, "wq.weight"), std::pair(&wk_, "wk.weight"),
                                     std::pair(&wv_, "wv.weight"), std::pair(&wo_, "wo.weight")}) {
    *weight = layer.add(name, {shape.dim, shape.dim}, initial);
  }
  weight_maps_ = layer.weight_maps();
  workspace_bytes_ = config.workspace_mib * kMebibyte;
  plan_ = make_plan(layer);
  choose_path(config.path, wq_, compute);
}

AttentionPlan make_plan(LayerBuilder& layer) {
  const AttentionConfig& config = layer.config();
  const bool kq = has_kq(config, layer.shape().layer);
  AttentionPlan plan;
  auto& [on_scores, on_weights, on_output] = plan;
  if (kq && config.kq_before) {
    on_scores.push_back(kq_convolution(layer, *config.kq_before, Side::BeforeSoftmax));
  }
  if (config.heads_before) {
    on_scores.push_back(head_mixing(layer, *config.heads_before, Side::BeforeSoftmax));
  }
  if (config.differential) on_weights.push_back(differential(layer));
  if (kq && config.kq_after) {
    on_weights.push_back(kq_convolution(layer, *config.kq_after, Side::AfterSoftmax));
  }
  if (config.heads_after) {
    on_weights.push_back(head_mixing(layer, *config.heads_after, Side::AfterSoftmax));
  }
  if (config.group_norm) on_output.push_back(group_norm(layer, *config.group_norm));
  if (config.gate) on_output.push_back(gate(layer, *config.gate));
  if (const auto add_stages = find_variant(config.variant).add_stages) add_stages(plan, layer);
  return plan;
}

void AttentionLayer::choose_path(AttentionPath wanted, const at::Tensor& like,
                                 at::ScalarType compute) {
  if (wanted == AttentionPath::Composed) {
    path_reason_ = "/attention/path is \"composed\"";
    return;
  }
  const auto options = like.options().dtype(compute).requires_grad(false);
  const at::Tensor q = at::zeros({1, shape_.heads, 1, shape_.head_dim()}, options);
  const at::Tensor v = at::zeros({1, weight_maps_, 1, shape_.dim / weight_maps_}, options);
  const AttendInput input{.q = q, .k = q, .v = v};
  path_reason_ = not_fused_because(plan_, input);
  if (path_reason_.empty()) {
    path_ = AttentionPath::Fused;
    uses_flash_ = is_flash(plan_, input);
    if (uses_flash_) path_reason_ = "LibTorch's flash attention; ";
    if (q.is_cuda()) path_reason_ += kRowsOnTheGpu + decoding_path(input);
  } else if (wanted == AttentionPath::Fused) {
    throw UserError(
        "/attention/path",
        "\"fused\" does not cover layer " + std::to_string(shape_.layer) + ": " + path_reason_,
        "use \"auto\" or \"composed\"");
  }
}

std::string AttentionLayer::decoding_path(const AttendInput& input) const {
  const at::NoGradGuard no_grad;
  if (uses_flash_)
    return "; decoding one token is flash attention, in recorded steps "
           "a kernel of its own";
  const std::string reason = not_decoded_because(plan_, input, {});
  return reason.empty() ? "; decoding up to 8 tokens at a time is a kernel of its own"
                        : "; decoding runs composed: " + reason;
}

std::int64_t AttentionLayer::first_query(std::int64_t first_row) const {
  return std::max<std::int64_t>(0, first_row - plan_.rows_above());
}

Projected AttentionLayer::project(const at::Tensor& x, std::int64_t first) const {
  if (first == 0) {
    const std::vector<at::Tensor> all = linear_each(x, {wq_, wk_, wv_});
    return {all[0], all[1], all[2]};
  }
  const at::Tensor q = mta::linear(x.narrow(-2, first, x.size(-2) - first), wq_);
  const std::vector<at::Tensor> both = linear_each(x, {wk_, wv_});
  return {q, both[0], both[1]};
}

at::Tensor AttentionLayer::project_jointly(const at::Tensor& x) const {
  return linear_group(x, {wq_, wk_, wv_});
}

at::Tensor AttentionLayer::forward(const at::Tensor& x, const RotaryTable& table,
                                   const AttentionOptions& options) const {
  const std::int64_t first = first_query(options.first_row);
  if (!x.is_cuda()) return forward(project(x, first), table, options);
  if (first == 0) return forward_joint(project_jointly(x), table, options);
  const auto [q, both] = linear_tail(x, first, wq_, {wk_, wv_});
  const std::vector<at::Tensor> kv = rotate_joint(both, table, {shape_.heads, weight_maps_});
  return attend_rotated({rotate(split_heads(q, shape_.heads), table, first), kv[0], kv[1]}, first,
                        options);
}

at::Tensor AttentionLayer::forward_joint(const at::Tensor& joint, const RotaryTable& table,
                                         const AttentionOptions& options) const {
  return attend_rotated(rotate_joint(joint, table, {shape_.heads, shape_.heads, weight_maps_}), 0,
                        options);
}

at::Tensor AttentionLayer::forward(const Projected& projected, const RotaryTable& table,
                                   const AttentionOptions& options) const {
  const std::int64_t first = projected.k.size(1) - projected.q.size(1);
  return attend_rotated({rotate(split_heads(projected.q, shape_.heads), table, first),
                         rotate(split_heads(projected.k, shape_.heads), table, 0),
                         split_heads(projected.v, weight_maps_)},
                        first, options);
}

at::Tensor AttentionLayer::attend_rotated(const std::vector<at::Tensor>& qkv, std::int64_t first,
                                          const AttentionOptions& options) const {
  return attend_and_project({.q = qkv[0].transpose(1, 2),
                             .k = qkv[1].transpose(1, 2),
                             .v = qkv[2].transpose(1, 2),
                             .first_row = first,
                             .dropout = options.dropout,
                             .workspace_bytes = workspace_bytes_},
                            options);
}

void KvCache::append(const Projected& fresh) {
  const std::int64_t n = fresh.k.size(2);
  for (const auto& [kept, rows] :
       {std::pair(&q, &fresh.q), std::pair(&k, &fresh.k), std::pair(&v, &fresh.v)}) {
    if (!rows->defined()) continue;
    const std::int64_t wanted = seen + n, there = kept->defined() ? kept->size(2) : 0;
    if (wanted > there) {
      const std::int64_t more = wanted <= room ? room : doubled(wanted);
      const at::Tensor larger =
          at::empty({rows->size(0), rows->size(1), more, rows->size(3)}, rows->options());
      if (seen > 0) larger.narrow(2, 0, seen).copy_(kept->narrow(2, 0, seen));
      *kept = larger;
    }
    kept->narrow(2, seen, n).copy_(*rows);
  }
  seen += n;
}

void KvCache::put(const Projected& fresh, const at::Tensor& position) const {
  for (const auto& [kept, row] :
       {std::pair(q, fresh.q), std::pair(k, fresh.k), std::pair(v, fresh.v)}) {
    if (row.defined()) kept.index_copy_(2, position, row);
  }
}

Projected AttentionLayer::rotated(const at::Tensor& x, const RotaryTable& table,
                                  std::int64_t first) const {
  const Projected fresh = project(x, 0);
  return {rotate(split_heads(fresh.q, shape_.heads), table, first).transpose(1, 2),
          rotate(split_heads(fresh.k, shape_.heads), table, first).transpose(1, 2),
          split_heads(fresh.v, weight_maps_).transpose(1, 2)};
}

at::Tensor AttentionLayer::decode(const at::Tensor& x, const RotaryTable& table,
                                  KvCache& cache) const {
  const at::NoGradGuard no_grad;  // the cache is written in place
  const std::int64_t seen = cache.tokens(), above = plan_.rows_above();
  Projected fresh = rotated(x, table, seen);
  at::Tensor q = fresh.q;
  if (above == 0) fresh.q = at::Tensor();
  cache.append(fresh);
  const std::int64_t first = std::max<std::int64_t>(0, seen - above);
  if (above > 0) q = cache.q.narrow(2, first, cache.seen - first);
  const AttendInput input{.q = q,
                          .k = cache.k.narrow(2, 0, cache.seen),
                          .v = cache.v.narrow(2, 0, cache.seen),
                          .first_row = first,
                          .workspace_bytes = workspace_bytes_};
  const ops::NewestRows newest{.rows = cache.seen - seen};
  if (path_ == AttentionPath::Fused && !covers_rows(plan_, input) &&
      not_decoded_because(plan_, input, newest).empty()) {
    return attend_newest_and_project(input, newest, {seen, newest.rows, cache.seen});
  }
  return attend_and_project(input, {.first_row = seen});
}

std::string AttentionLayer::no_decode_at_because(const KvCache& cache) const {
  if (path_ != AttentionPath::Fused) return path_reason_;
  if (!fused_output(plan_)) return "a stage on the output has no fused form";
  const at::NoGradGuard no_grad;
  const AttendInput input{
      .q = cache.q.defined() ? cache.q : cache.k.narrow(2, 0, 1), .k = cache.k, .v = cache.v};
  return not_decoded_because(plan_, input,
                             {.length = at::empty({1}, cache.k.options().dtype(at::kInt))});
}

at::Tensor AttentionLayer::decode_at(const at::Tensor& x, const DevicePlace& place,
                                     const KvCache& cache) const {
  const at::NoGradGuard no_grad;
  Projected fresh = rotated(x, place.table, 0);
  AttendInput input{.q = fresh.q, .k = cache.k, .v = cache.v};
  if (plan_.rows_above() == 0) fresh.q = at::Tensor();
  cache.put(fresh, place.position);
  if (cache.q.defined()) input.q = cache.q;
  return attend_newest_and_project(input, {.rows = 1, .length = place.length},
                                   {0, 1, cache.capacity()});
}

at::Tensor AttentionLayer::attend_newest_and_project(const AttendInput& input,
                                                     const ops::NewestRows& newest,
                                                     const MapWindow& window) const {
  const at::Tensor output = attend_newest(plan_, input, newest);
  return mta::linear(fused_output(plan_) ? joined_heads(output) : finish(plan_, output, window),
                     wo_);
}

at::Tensor AttentionLayer::attend_and_project(const AttendInput& input,
                                              const AttentionOptions& options) const {
  at::Tensor output;  // [B, H', R, d_v]
  const bool fused = options.tap == nullptr && path_ == AttentionPath::Fused;
  if (fused && covers_rows(plan_, input)) {
    output = attend_fused(plan_, input);
  } else if (fused && covers_last_rows(plan_, input)) {
    output = attend_last_rows(plan_, input);
  } else {
    StageTap tap;
    if (options.tap != nullptr) {
      tap = [&](std::string_view stage, const at::Tensor& map) {
        (*options.tap)(shape_.layer, stage, map);
      };
    }
    output = attend(plan_, input, tap);
  }
  const MapWindow window = input.window();
  const std::int64_t unwanted = options.first_row - window.first_row;
  const MapWindow wanted{options.first_row, window.rows - unwanted, window.keys};
  // Not for nothing: the gradient of a part is a copy filled up with zeros.
  if (unwanted > 0) output = output.narrow(2, unwanted, wanted.rows);
  return mta::linear(fused ? finish_fused(plan_, output, wanted) : finish(plan_, output, wanted),
                     wo_);
}

}  // namespace mta
