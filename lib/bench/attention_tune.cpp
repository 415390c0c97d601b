// Searches for each case and direction, with the device as the timer.
#include "lib/bench/attention_tune.h"

#include "lib/bench/attention_subject.h"
#include "lib/bench/launch_search.h"
#include "lib/bench/provenance.h"
#include "lib/bench/repeated.h"
#include "lib/core/error.h"
#include "lib/kernels/support.h"
#include "lib/ops/cuda/attention.h"
#include "lib/train/device.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <memory>
#include <utility>

namespace mta {
namespace {

using kernels::Direction;
using kernels::LaunchPlan;

constexpr Direction kDirections[] = {Direction::Forward, Direction::Backward};

Json to_json(const LaunchPlan& l) {
  return {{"chunk_rows", l.chunk_rows},
          {"score_keys", l.score_keys},
          {"convolution_keys", l.convolution_keys},
          {"mixing_keys", l.mixing_keys},
          {"mixing_rows", l.mixing_rows}};
}

/// Times plans of one call by replayed graphs.
class DeviceTimer {
 public:
  DeviceTimer(ops::AttentionCall call, at::Tensor d_out, Direction direction, std::size_t turns)
      : call_(std::move(call)), d_out_(std::move(d_out)), direction_(direction), turns_(turns) {}

  std::vector<TurnTimes> operator()(const std::vector<LaunchPlan>& plans) const {
    const at::NoGradGuard no_grad;
    const c10::Device device = call_.q.device();
    const at::Tensor rows = ops::cuda::forward(call_).rows;
    synchronize(device);  // the graphs run on a stream of their own
    std::vector<std::unique_ptr<Repeated>> repeated;
    std::vector<Candidate> candidates;
    for (const LaunchPlan& plan : plans) {
      repeated.push_back(std::make_unique<Repeated>(device, [&, plan] { run(plan, rows); }));
      candidates.push_back({"", {}, [again = repeated.back().get()] { return again->ms(); }});
    }
    std::vector<TurnTimes> times = time_in_turns(candidates, {.turns = turns_});
    repeated.clear();
    release_unused_memory(device);
    return times;
  }

 private:
  void run(const LaunchPlan& plan, const at::Tensor& rows) const {
    if (direction_ == Direction::Forward) {
      ops::cuda::forward(call_, plan);
    } else {
      ops::cuda::backward(call_, rows, /*out=*/{}, d_out_, plan);
    }
  }

  ops::AttentionCall call_;
  at::Tensor d_out_;
  Direction direction_;
  std::size_t turns_;
};

Json measured_json(const AttentionCase& one, const LaunchSearch& search,
                   const Provenance& provenance) {
  Json timings = Json::array();  // of the defaults and of what took their place
  for (const LaunchTime& time : search.times) {
    const Json launch = to_json(time.launch);
    if (launch != to_json(search.by_default) && launch != to_json(search.best)) continue;
    timings.push_back({{"launch", launch}, {"ms", to_json(time.ms)}});
  }
  return {{"case", one.name},
          {"batch", one.batch},
          {"heads", one.heads},
          {"tokens", one.tokens},
          {"workspace_mib", one.attention.workspace_mib},
          {"date", provenance.started},
          {"driver", provenance.driver.value_or("")},
          {"commit", provenance.commit},
          {"dirty", provenance.dirty},
          {"command", provenance.command_line},
          {"rows_by_default", search.rows},
          {"gain", search.gain},
          {"timings", std::move(timings)}};
}

/// The kernels' head size that a call of this one takes.
int built_head_dim(int head_dim) {
  for (const int built : kernels::kHeadDims) {
    if (head_dim <= built) return built;
  }
  return head_dim;
}

/// A class that was tuned already keeps its entry.
std::string taken_by(const std::vector<TunedCase>& tuned, const ops::LaunchClass& shape) {
  for (const TunedCase& other : tuned) {
    if (other.reason.empty() && other.entry.shape == shape) return other.name;
  }
  return "";
}

TunedCase tune_direction(const AttentionCase& one, const AttentionSubject& subject,
                         Direction direction, const AttentionTune& tune,
                         const std::vector<TunedCase>& before) {
  constexpr std::size_t kMebibyte = std::size_t{1} << 20;
  const kernels::Problem problem = problem_of(one);
  const std::size_t budget = static_cast<std::size_t>(one.attention.workspace_mib) * kMebibyte;
  const int rows = kernels::workspace_plan(problem, direction, budget).rows;
  TunedCase tuned{.name = one.name, .reason = {}, .entry = {}};
  if (direction == Direction::Forward && kernels::forward_in_one_pass(problem)) {
    tuned.reason = "the forward is one kernel: nothing to choose";
    return tuned;
  }
  if (direction == Direction::Backward && kernels::backward_in_one_pass(problem)) {
    tuned.reason = "the backward is one kernel and two sums: nothing to choose";
    return tuned;
  }
  tuned.entry.shape = ops::launch_class(problem, direction, rows);
  if (const std::string other = taken_by(before, tuned.entry.shape); !other.empty()) {
    tuned.reason = "of the class of " + other;
    return tuned;
  }
  const ops::AttentionCall call = subject.fused();
  const Provenance provenance = bench_provenance(call.q.device(), tune.command_line);
  const LaunchSearch search =
      search_launch(problem, direction, budget,
                    DeviceTimer(call, subject.output_gradient(), direction, tune.turns));
  tuned.entry.card = provenance.device_description;
  tuned.entry.launch = search.best;
  tuned.entry.measured = measured_json(one, search, provenance);
  tuned.gain = search.gain;
  return tuned;
}

}  // namespace

kernels::Problem problem_of(const AttentionCase& one) {
  static constexpr float kThere[1] = {};
  const auto number = [](std::int64_t value) { return static_cast<int>(value); };
  kernels::Problem p{.batch = number(one.batch),
                     .heads = number(one.heads),
                     .tokens = number(one.tokens),
                     .head_dim = built_head_dim(number(one.head_dim)),
                     .scale = 1};
  const auto convolution = [&](const std::optional<KqConvolutionConfig>& kq) {
    if (!kq) return kernels::Convolution{};
    const int pads[] = {number(kq->key - 1) / 2, number(kq->key - 1), 0};
    return kernels::Convolution{.kernel = kThere,
                                .query_span = number(kq->query),
                                .key_span = number(kq->key),
                                .pad_left = pads[static_cast<std::size_t>(kq->pad)]};
  };
  const auto mixing = [&](const std::optional<HeadMixingConfig>& mix) {
    if (!mix) return kernels::Mixing{};
    return kernels::Mixing{.weight = kThere, .group = number(mix->group.value_or(one.heads))};
  };
  p.conv_before = convolution(one.attention.kq_before);
  p.conv_after = convolution(one.attention.kq_after);
  p.mix_before = mixing(one.attention.heads_before);
  p.mix_after = mixing(one.attention.heads_after);
  const bool exact = one.attention.causality == Causality::Exact;
  p.causality = exact ? kernels::Causality::Exact : kernels::Causality::Double;
  return p;
}

std::vector<TunedCase> tune_attention(const AttentionTune& tune) {
  const at::Device device = resolve_device(tune.device);
  if (!device.is_cuda()) {
    throw UserError("--tune", "needs a GPU, and the device is \"" + device.str() +
                                  "\": launch plans are those of the CUDA kernels");
  }
  std::vector<TunedCase> tuned;
  for (const AttentionCase& one : tune.cases) {
    const AttentionSubject subject(one, device, at::kBFloat16);
    const std::string reason = one.attention.differential
                                   ? "differential attention has no plan of its own"
                                   : subject.unsupported(AttentionRoute::Fused);
    for (const Direction direction : kDirections) {
      TunedCase result{.name = one.name, .reason = reason, .entry = {}};
      result.entry.shape.direction = direction;
      if (reason.empty()) result = tune_direction(one, subject, direction, tune, tuned);
      tuned.push_back(std::move(result));
    }
    release_unused_memory(device);
  }
  return tuned;
}

std::vector<ops::LaunchEntry> merged(std::vector<ops::LaunchEntry> table,
                                     const std::vector<TunedCase>& tuned) {
  for (const TunedCase& one : tuned) {
    if (!one.reason.empty()) continue;
    const auto same = [&](const ops::LaunchEntry& entry) {
      return entry.card == one.entry.card && entry.shape == one.entry.shape;
    };
    const auto old = std::find_if(table.begin(), table.end(), same);
    if (one.gain < kLeastGain) {
      if (old != table.end()) table.erase(old);
    } else if (old == table.end()) {
      table.push_back(one.entry);
    } else {
      *old = one.entry;
    }
  }
  return table;
}

}  // namespace mta
