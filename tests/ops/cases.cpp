// Random calls of the fused attention: see cases.h.
#include "tests/ops/cases.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <sstream>

namespace mta::check {

std::string AttentionCase::name() const {
  std::ostringstream s;
  s << "B" << batch << " H" << heads << " rows " << first_row << "+" << rows << " of " << keys
    << " d" << head_dim << "/" << value_dim << " before " << query_span << "x" << key_span
    << " pad " << pad_left << (causality == ops::Causality::Exact ? " exact" : "") << " mix "
    << heads_before << " after " << query_span_after << "x" << key_span_after << " pad "
    << pad_left_after << " mix " << heads_after << " dropout " << dropout;
  return s.str();
}

ops::AttentionCall random_call(const AttentionCase& c, std::uint64_t seed, at::ScalarType dtype) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  const auto normal = [&](at::IntArrayRef sizes) {
    return at::randn(sizes, generator, at::kDouble).to(dtype);
  };
  constexpr double kSpread =
      0.5;  // of parameters: wide enough to be far from the identity, softmax not yet one-hot
  ops::AttentionCall call;
  call.q = normal({c.batch, c.rows, c.heads, c.head_dim}).transpose(1, 2);
  call.k = normal({c.batch, c.keys, c.heads, c.head_dim}).transpose(1, 2);
  call.v = normal({c.batch, c.keys, c.heads, c.value_dim}).transpose(1, 2);
  call.first_row = c.first_row;
  if (c.query_span * c.key_span > 1) {
    call.kq_before = {normal({c.heads, c.query_span, c.key_span}) * kSpread, c.pad_left,
                      c.causality};
  }
  if (c.query_span_after * c.key_span_after > 1) {
    call.kq_after = {normal({c.heads, c.query_span_after, c.key_span_after}) * kSpread,
                     c.pad_left_after};
  }
  if (c.heads_before > 1) {
    call.heads_before =
        normal({c.heads / c.heads_before, c.heads_before, c.heads_before}) * kSpread;
  }
  if (c.heads_after > 1) {
    call.heads_after = normal({c.heads / c.heads_after, c.heads_after, c.heads_after}) * kSpread;
  }
  call.dropout = {c.dropout, seed + 1, seed + 2};
  return call;
}

std::vector<std::pair<std::string, at::Tensor*>> differentiable(ops::AttentionCall& call) {
  std::vector<std::pair<std::string, at::Tensor*>> all = {
      {"q", &call.q}, {"k", &call.k}, {"v", &call.v}};
  if (call.kq_before) all.emplace_back("kq_before", &call.kq_before->kernel);
  if (call.kq_after) all.emplace_back("kq_after", &call.kq_after->kernel);
  if (call.heads_before.defined()) all.emplace_back("heads_before", &call.heads_before);
  if (call.heads_after.defined()) all.emplace_back("heads_after", &call.heads_after);
  return all;
}

ops::AttentionCall leaves(const ops::AttentionCall& call, at::ScalarType dtype) {
  ops::AttentionCall copy = call;
  for (auto& [name, tensor] : differentiable(copy)) {
    *tensor =
        tensor->detach().to(dtype, /*non_blocking=*/false, /*copy=*/true).requires_grad_(true);
  }
  return copy;
}

namespace {

using ops::Causality;

constexpr AttentionCase kSmall[] = {
    {},
    {.heads = 1, .rows = 1, .keys = 1},
    {.rows = 2,
     .keys = 2,
     .query_span = 3,
     .key_span = 5,
     .pad_left = 2,
     .query_span_after = 4,
     .key_span_after = 3},
    {.rows = 6, .keys = 6, .query_span = 3, .key_span = 5, .pad_left = 2},
    {.rows = 6, .keys = 6, .query_span = 1, .key_span = 4, .pad_left = 1},
    {.rows = 6, .keys = 6, .query_span = 3, .key_span = 1},
    {.rows = 7, .keys = 7, .query_span_after = 2, .key_span_after = 3, .pad_left_after = 2},
    {.heads = 3, .rows = 4, .keys = 4, .heads_before = 3},
    {.heads = 3, .rows = 4, .keys = 4, .heads_after = 3},
    {.heads = 6, .rows = 4, .keys = 4, .head_dim = 2, .heads_before = 2, .heads_after = 3},
    {.rows = 3,
     .keys = 9,
     .first_row = 5,
     .head_dim = 2,
     .value_dim = 5,
     .query_span = 2,
     .key_span = 4,
     .pad_left = 3,
     .query_span_after = 3,
     .key_span_after = 2,
     .heads_before = 2,
     .heads_after = 2},
    {.rows = 5, .keys = 5, .dropout = 0.3},
    {.rows = 5,
     .keys = 5,
     .query_span = 2,
     .key_span = 2,
     .query_span_after = 2,
     .key_span_after = 2,
     .heads_before = 2,
     .heads_after = 2,
     .dropout = 0.5},
};

constexpr AttentionCase kLarge[] = {
    // More kernel rows than are summed at once.
    {.heads = 1,
     .rows = 70,
     .keys = 70,
     .query_span = 8,
     .key_span = 3,
     .pad_left = 1,
     .query_span_after = 7,
     .key_span_after = 2},
    {.heads = 1, .rows = 257, .keys = 257, .head_dim = 16, .value_dim = 16},
    {.heads = 4,
     .rows = 30,
     .keys = 30,
     .head_dim = 16,
     .value_dim = 16,
     .query_span = 3,
     .key_span = 5,
     .pad_left = 2,
     .query_span_after = 3,
     .key_span_after = 5,
     .pad_left_after = 2,
     .heads_before = 4,
     .heads_after = 4},
    {.heads = 2,
     .rows = 113,
     .keys = 113,
     .head_dim = 40,
     .value_dim = 24,
     .query_span = 6,
     .key_span = 11,
     .pad_left = 5,
     .query_span_after = 6,
     .key_span_after = 11,
     .pad_left_after = 10},
    {.batch = 1,
     .heads = 6,
     .rows = 257,
     .keys = 257,
     .head_dim = 5,
     .value_dim = 33,
     .query_span = 2,
     .key_span = 9,
     .pad_left = 4,
     .query_span_after = 6,
     .key_span_after = 3,
     .pad_left_after = 0,
     .heads_before = 3,
     .heads_after = 2,
     .causality = Causality::Exact},
    {.batch = 3,
     .heads = 2,
     .rows = 100,
     .keys = 257,
     .first_row = 150,
     .head_dim = 16,
     .value_dim = 16,
     .query_span = 7,
     .key_span = 6,
     .pad_left = 0,
     .causality = Causality::Exact,
     .dropout = 0.1},
    {.heads = 5,
     .rows = 7,
     .keys = 320,
     .first_row = 313,
     .head_dim = 8,
     .value_dim = 8,
     .query_span = 2,
     .key_span = 9,
     .pad_left = 8,
     .heads_after = 5,
     .dropout = 0.1},
    {.batch = 1,
     .heads = 16,
     .rows = 150,
     .keys = 150,
     .head_dim = 4,
     .value_dim = 4,
     .query_span = 6,
     .key_span = 11,
     .pad_left = 5,
     .query_span_after = 6,
     .key_span_after = 11,
     .pad_left_after = 5,
     .heads_before = 16,
     .heads_after = 16},
};

}  // namespace

std::vector<AttentionCase> small_cases() {
  std::vector<AttentionCase> cases(std::begin(kSmall), std::end(kSmall));
  for (const Causality causality : {Causality::Double, Causality::Exact}) {
    for (const std::int64_t pad : {0, 1, 3}) {
      cases.push_back({.heads = 4,
                       .rows = 6,
                       .keys = 6,
                       .query_span = 3,
                       .key_span = 4,
                       .pad_left = pad,
                       .query_span_after = 2,
                       .key_span_after = 4,
                       .pad_left_after = pad,
                       .heads_before = 4,
                       .heads_after = 2,
                       .causality = causality});
      cases.push_back({.heads = 1,
                       .rows = 4,
                       .keys = 8,
                       .first_row = 3,
                       .query_span = 4,
                       .key_span = 4,
                       .pad_left = pad,
                       .causality = causality});
    }
  }
  return cases;
}

std::vector<AttentionCase> large_cases() { return {std::begin(kLarge), std::end(kLarge)}; }

}  // namespace mta::check
