// Times the fused CPU attention beside PyTorch's and beside the composed form, forward and
// backward:
//   ninja -C build attention_bench && build/tests/ops/attention_bench [repeats]
// All candidates of a shape take turns in one process, so that a busy machine hits them alike; the
// median and the quartiles of the repeats are printed. One thread is timed in its own CPU time, two
// in wall time.
#include "lib/ops/attention_cpu.h"
#include "tests/ops/cases.h"
#include "tests/ops/composed.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>

namespace {

using mta::check::AttentionCase;
using mta::ops::AttentionCall;

constexpr double kMilliseconds = 1e3;

double seconds(int threads) {
  if (threads > 1) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct Candidate {
  const char* name;
  AttentionCall call;
  std::function<at::Tensor(const AttentionCall&)> attend;
  std::vector<double> forward, total;
};

/// One forward and backward pass.
void measure(Candidate& candidate, int threads) {
  AttentionCall call = candidate.call;
  for (auto& [name, tensor] : mta::check::differentiable(call))
    tensor->mutable_grad() = at::Tensor();
  const double start = seconds(threads);
  const at::Tensor out = candidate.attend(call);
  const double middle = seconds(threads);
  out.backward(at::ones_like(out));
  candidate.forward.push_back(middle - start);
  candidate.total.push_back(seconds(threads) - start);
}

double quantile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1))] *
         kMilliseconds;
}

AttentionCall call_of(AttentionCase shape) {
  return mta::check::leaves(mta::check::random_call(shape, 1, at::kFloat), at::kFloat);
}

std::vector<Candidate> candidates(AttentionCase standard, AttentionCase kernel) {
  const auto with = [&](auto change) {
    AttentionCase c = standard;
    change(c);
    return call_of(c);
  };
  const auto before = [&](AttentionCase& c) {
    c.query_span = kernel.query_span, c.key_span = kernel.key_span;
    c.pad_left = (kernel.key_span - 1) / 2;
  };
  const auto mixing = [](AttentionCase& c) { c.heads_before = c.heads_after = c.heads; };
  const auto full = [&](AttentionCase& c) {
    before(c);
    mixing(c);
    c.query_span_after = c.query_span, c.key_span_after = c.key_span, c.pad_left_after = c.pad_left;
  };
  const auto last_rows = [&](AttentionCase& c) {
    before(c);
    c.rows = 8, c.first_row = c.keys - c.rows;
  };
  const auto sdpa = [](const AttentionCall& c) {
    return at::scaled_dot_product_attention(c.q, c.k, c.v, {}, 0.0, /*is_causal=*/true);
  };
  const auto fused = mta::ops::attention;
  const auto composed = mta::check::composed;
  return {{"standard, PyTorch", call_of(standard), sdpa, {}, {}},
          {"standard", call_of(standard), fused, {}, {}},
          {"kq before", with(before), fused, {}, {}},
          {"kq before, composed", with(before), composed, {}, {}},
          {"mixing", with(mixing), fused, {}, {}},
          {"full", with(full), fused, {}, {}},
          {"full, composed", with(full), composed, {}, {}},
          {"dropout 0.1", with([](AttentionCase& c) { c.dropout = 0.1; }), fused, {}, {}},
          {"kq before, 8 rows", with(last_rows), fused, {}, {}}};
}

void report(const char* shape, std::vector<Candidate> all, int threads, int repeats) {
  constexpr int kWarmUp = 2;
  at::set_num_threads(threads);
  for (int i = 0; i < repeats + kWarmUp; ++i) {
    for (Candidate& c : all) {
      measure(c, threads);
      if (i < kWarmUp) c.forward.clear(), c.total.clear();
    }
  }
  const double standard = quantile(all[1].total, 0.5);
  for (const Candidate& c : all) {
    std::printf(
        "%d thread%s  %-26s %-20s forward %8.3f  with backward %8.3f ms (%.3f to %.3f)  %6.2f x "
        "standard\n",
        threads, threads > 1 ? "s" : " ", shape, c.name, quantile(c.forward, 0.5),
        quantile(c.total, 0.5), quantile(c.total, 0.25), quantile(c.total, 0.75),
        quantile(c.total, 0.5) / standard);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int repeats = argc > 1 ? std::atoi(argv[1]) : 9;
  for (const int threads : {1, 2}) {
    const AttentionCase demo{
        .batch = 64, .heads = 4, .rows = 30, .keys = 30, .head_dim = 16, .value_dim = 16};
    report("B64 T30 H4 d16, 3x5", candidates(demo, {.query_span = 3, .key_span = 5}), threads,
           repeats);
    const AttentionCase toy{
        .batch = 16, .heads = 2, .rows = 320, .keys = 320, .head_dim = 128, .value_dim = 128};
    report("B16 T320 H2 d128, 2x9", candidates(toy, {.query_span = 2, .key_span = 9}), threads,
           repeats);
  }
}
