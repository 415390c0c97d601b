// The candidates of a case, their times, memory and errors.
#include "lib/bench/attention_bench.h"

#include "lib/bench/attention_stages.h"
#include "lib/bench/attention_subject.h"
#include "lib/bench/attention_tune.h"
#include "lib/bench/device_profile.h"
#include "lib/bench/provenance.h"
#include "lib/bench/repeated.h"
#include "lib/bench/timing.h"
#include "lib/kernels/cost.h"
#include "lib/ops/launch_plans.h"
#include "lib/train/device.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/neg.h>
#include <ATen/ops/randn.h>
#include <c10/core/Allocator.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <memory>
#include <utility>
#ifdef MTA_WITH_CUDA
#include "lib/kernels/device.h"
#endif

namespace mta {
namespace {

using kernels::Direction;
using kernels::Pass;

constexpr std::size_t kWarmUp = 3;
constexpr double kSeconds = 1e-3;           // of a millisecond
constexpr std::int64_t kProfiled = 5;       // passes of each direction
constexpr std::int64_t kErrorTokens = 512;  // the error is measured on one sample this long at most

constexpr std::pair<AttentionRoute, const char*> kRoutes[] = {
    {AttentionRoute::Standard, "standard"},
    {AttentionRoute::Fused, "fused"},
    {AttentionRoute::Composed, "composed"}};

std::size_t workspace_bytes(const AttentionCase& one) {
  constexpr std::size_t kMebibyte = std::size_t{1} << 20;
  return static_cast<std::size_t>(one.attention.workspace_mib) * kMebibyte;
}

double median_ms(at::Device device, const std::function<void()>& work) {
  Repeated repeated(device, work);
  std::vector<double> ms;
  for (std::size_t i = 0; i < kWarmUp + 5; ++i) {
    const double once = repeated.ms();
    if (i >= kWarmUp) ms.push_back(once);
  }
  return spread_of(ms).median;
}

/// Large copies, by an elementwise kernel as the candidates are, and products of large square
/// matrices of random numbers.
DeviceRates measure_rates(at::Device device, at::ScalarType type) {
  const bool gpu = device.is_cuda();
  const std::int64_t count = gpu ? 1 << 28 : 1 << 24, n = gpu ? 8192 : 1024;
  const auto options = at::TensorOptions(device).dtype(at::kFloat);
  DeviceRates rates;
  {
    const at::Tensor from = at::randn({count}, options);
    at::Tensor to = at::empty_like(from);
    const double bytes = 2.0 * 4.0 * static_cast<double>(count);
    rates.bytes_per_s = bytes / (median_ms(device, [&] { at::neg_out(to, from); }) * kSeconds);
  }
  const at::Tensor a = at::randn({n, n}, options).to(type), b = at::randn({n, n}, options).to(type);
  const double operations =
      2.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n);
  rates.operations_per_s = operations / (median_ms(device, [&] { at::matmul(a, b); }) * kSeconds);
  release_unused_memory(device);
  return rates;
}

/// Whose launch plan a direction of a case takes; null: the kernels' own.
const ops::LaunchEntry* launch_entry(const AttentionCase& one, at::Device device,
                                     Direction direction) {
  return ops::find_launch(ops::installed_launch_plans(), describe_device(device).description,
                          problem_of(one), direction, workspace_bytes(one));
}

/// Of a block on a GPU, which decides what the kernels do in one.
int shared_bytes() {
#ifdef MTA_WITH_CUDA
  return kernels::current_device().shared_bytes;
#else
  return 0;
#endif
}

kernels::CostShape cost_of(const AttentionCase& one, AttentionRoute route, at::Device device,
                           Pass pass) {
  kernels::Problem problem = problem_of(one);
  if (route == AttentionRoute::Standard) {
    problem.conv_before = problem.conv_after = {};
    problem.mix_before = problem.mix_after = {};
  }
  const Direction direction = pass == Pass::Forward ? Direction::Forward : Direction::Backward;
  if (const ops::LaunchEntry* const entry = launch_entry(one, device, direction)) {
    problem.launch = entry->launch;
  }
  kernels::CostShape shape =
      kernels::cost_shape(problem, direction, workspace_bytes(one), shared_bytes());
  shape.head_dim = static_cast<int>(one.head_dim);  // the problem's is the next that is built
  return shape;
}

/// One route of one case: why it does not run, or what was measured.
struct Contender {
  AttentionRoute route;
  const char* name;
  std::string reason;  // empty: it runs
  std::optional<std::int64_t> peak_bytes = std::nullopt;
  std::unique_ptr<Repeated> forward = nullptr, both = nullptr;
};

void prepare(Contender& contender, const AttentionCase& one, const AttentionSubject& subject,
             at::Device device) {
  if (contender.route == AttentionRoute::Composed && !one.composed) {
    contender.reason = "left out by the case";
    return;
  }
  contender.reason = subject.unsupported(contender.route);
  if (!contender.reason.empty()) return;
  const auto forward = [&subject, route = contender.route] { subject.forward(route); };
  const auto both = [&subject, route = contender.route] { subject.forward_and_backward(route); };
  try {
    if (device.is_cuda()) contender.peak_bytes = peak_bytes_of(device, both);
    contender.forward = std::make_unique<Repeated>(device, forward);
    contender.both = std::make_unique<Repeated>(device, both);
  } catch (const c10::OutOfMemoryError&) {
    contender.reason = "does not fit into the device's memory";
    release_unused_memory(device);
  }
}

Json times_to_json(const TurnTimes& times, double operations, std::optional<double> map_bytes,
                   const DeviceRates& rates) {
  const double seconds = times.ms.median * kSeconds;
  return {
      {"ms", to_json(times.ms)},
      {"ratio_to_standard", to_json(times.ratio)},
      {"operations", operations},
      {"share_of_matrix_rate", operations / seconds / rates.operations_per_s},
      {"map_bytes", map_bytes ? Json(*map_bytes) : Json()},
      {"share_of_bandwidth", map_bytes ? Json(*map_bytes / seconds / rates.bytes_per_s) : Json()}};
}

/// Both measurements of every contender that runs, in turns.
std::vector<std::pair<TurnTimes, TurnTimes>> time_all(std::vector<Contender>& contenders,
                                                      std::size_t turns) {
  std::vector<Candidate> forward, both;
  for (Contender& contender : contenders) {
    if (!contender.reason.empty()) continue;
    forward.push_back({contender.name, {}, [&] { return contender.forward->ms(); }});
    both.push_back({contender.name, {}, [&] { return contender.both->ms(); }});
  }
  const TimingOptions options{.warm_up = kWarmUp, .turns = turns};
  const std::vector<TurnTimes> first = time_in_turns(forward, options),
                               second = time_in_turns(both, options);
  std::vector<std::pair<TurnTimes, TurnTimes>> all;
  for (std::size_t i = 0; i < first.size(); ++i) all.emplace_back(first[i], second[i]);
  return all;
}

/// Bytes are known for the chain of kernels only, which runs on a GPU, where memory is measured.
Json measured(const Contender& contender, const AttentionCase& one, at::Device device,
              const std::pair<TurnTimes, TurnTimes>& times, const DeviceRates& rates) {
  const bool chain = contender.route == AttentionRoute::Fused && contender.peak_bytes;
  const kernels::CostShape forward = cost_of(one, contender.route, device, Pass::Forward),
                           backward = cost_of(one, contender.route, device, Pass::Backward);
  const double operations = kernels::operations(forward, Pass::Forward);
  std::optional<double> bytes, all_bytes;
  if (chain) {
    bytes = kernels::map_bytes(forward, Pass::Forward);
    all_bytes = *bytes + kernels::map_bytes(backward, Pass::Backward);
  }
  return {{"path", contender.name},
          {"forward", times_to_json(times.first, operations, bytes, rates)},
          {"forward_backward",
           times_to_json(times.second, operations + kernels::operations(backward, Pass::Backward),
                         all_bytes, rates)},
          {"peak_memory_bytes", contender.peak_bytes ? Json(*contender.peak_bytes) : Json()}};
}

/// The card's, or "default".
std::string launch_plan(const AttentionCase& one, at::Device device, Direction direction) {
  const ops::LaunchEntry* const entry = launch_entry(one, device, direction);
  return entry == nullptr ? ops::kDefaultPlan : entry->card;
}

/// The kernels of some passes one after the other.
std::vector<KernelTime> profiled_passes(at::Device device, const std::function<void()>& work) {
  work();  // whatever is made at a first call
  return profile_kernels(device, [&] {
    for (std::int64_t i = 0; i < kProfiled; ++i) work();
  });
}

/// What the fused path's entry says beside what all paths' do: where its time goes on a GPU.
void add_stages(Json& path, const AttentionCase& one, const AttentionSubject& subject,
                at::Device device, const DeviceRates& rates) {
  path["profile"] = nullptr;
  if (!device.is_cuda()) return;
  const PassProfile forward = {
      profiled_passes(device, [&] { subject.forward(AttentionRoute::Fused); }),
      cost_of(one, AttentionRoute::Fused, device, Pass::Forward)};
  const PassProfile backward = {profiled_passes(device, subject.backward(AttentionRoute::Fused)),
                                cost_of(one, AttentionRoute::Fused, device, Pass::Backward)};
  path["profile"] = stages_json(forward, backward, kProfiled, rates);
  const double floor = floor_ms(forward.shape, Pass::Forward, rates);
  path["forward"]["floor_ms"] = floor;
  path["forward_backward"]["floor_ms"] = floor + floor_ms(backward.shape, Pass::Backward, rates);
  path["launch_plan"] = {{"forward", launch_plan(one, device, Direction::Forward)},
                         {"backward", launch_plan(one, device, Direction::Backward)}};
}

Json bench_case(const AttentionCase& one, at::Device device, std::size_t turns,
                const DeviceRates& rates) {
  const at::ScalarType type = device.is_cuda() ? at::kBFloat16 : at::kFloat;
  const AttentionSubject subject(one, device, type);
  AttentionCase smaller = one;
  smaller.batch = 1, smaller.tokens = std::min(one.tokens, kErrorTokens);
  const AttentionSubject small(smaller, device, type);

  std::vector<Contender> contenders;
  for (const auto& [route, name] : kRoutes) {
    contenders.push_back({.route = route, .name = name, .reason = {}});
    prepare(contenders.back(), one, subject, device);
  }
  const auto times = time_all(contenders, turns);

  Json paths = Json::array();
  std::size_t next = 0;
  for (const Contender& contender : contenders) {
    if (!contender.reason.empty()) {
      paths.push_back({{"path", contender.name},
                       {"reason", contender.reason},
                       {"forward", nullptr},
                       {"forward_backward", nullptr}});
      continue;
    }
    paths.push_back(measured(contender, one, device, times[next++], rates));
    paths.back()["error"] = small.errors(contender.route);
    if (contender.route == AttentionRoute::Fused) {
      add_stages(paths.back(), one, subject, device, rates);
    }
  }
  return {{"case", to_json(one)},
          {"precision", device.is_cuda() ? "bf16" : "fp32"},
          {"error_shape", {{"batch", smaller.batch}, {"tokens", smaller.tokens}}},
          {"paths", std::move(paths)}};
}

}  // namespace

bool fits_a_cpu(const AttentionCase& one) {
  constexpr double kLogits = 1e7;  // about a second, composed, forward and backward
  return one.logits() <= kLogits;
}

Json bench_attention(const AttentionBench& bench) {
  const at::Device device = resolve_device(bench.device);
  if (bench.threads > 0) at::set_num_threads(static_cast<int>(bench.threads));
  Provenance provenance = bench_provenance(device, bench.command_line);
  const DeviceRates rates = measure_rates(device, device.is_cuda() ? at::kBFloat16 : at::kFloat);
  Json cases = Json::array();
  for (const AttentionCase& one : bench.cases) {
    cases.push_back(bench_case(one, device, bench.turns, rates));
    release_unused_memory(device);
  }
  provenance.ended = utc_now();
  return {{"schema", "mta.bench/1"},
          {"kind", "attention"},
          {"turns", bench.turns},
          {"warm_up", kWarmUp},
          {"method", device.is_cuda() ? "replayed CUDA graphs behind a fill of L2, timed by events"
                                      : "steady clock"},
          {"device_rates",
           {{"copy_bytes_per_s", rates.bytes_per_s},
            {"matrix_operations_per_s", rates.operations_per_s}}},
          {"cases", std::move(cases)},
          {"provenance", to_json(provenance)}};
}

}  // namespace mta
