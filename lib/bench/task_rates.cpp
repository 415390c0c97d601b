// How fast a task makes training batches, in one thread.
#include "lib/bench/task_rates.h"

#include "lib/core/batch.h"

#include <ctime>
#include <vector>

namespace mta {
namespace {

/// Seconds that this thread has worked: other programs on the machine do not count.
double cpu_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  constexpr double kNano = 1e-9;
  return static_cast<double>(time.tv_sec) + kNano * static_cast<double>(time.tv_nsec);
}

double since(double start) { return cpu_seconds() - start; }

/// Counts what is made in a time, from sample `next` on.
struct Rates {
  double samples = 0, tokens = 0;  // a second
};
Rates make_batches(const Task& task, double seconds, std::uint64_t& next) {
  constexpr std::uint64_t kBatch = 16;
  const std::uint64_t first = next;
  std::size_t tokens = 0;
  const double start = cpu_seconds();
  do {
    std::vector<Sample> samples;
    for (std::uint64_t i = 0; i < kBatch; ++i) {
      samples.push_back(task.sample(1, Split::Train, next++));
    }
    tokens += make_batch(task, samples).inputs.size();
  } while (since(start) < seconds);
  const double taken = since(start);
  return {static_cast<double>(next - first) / taken, static_cast<double>(tokens) / taken};
}

double text_bytes_per_s(const Task& task, double seconds, std::uint64_t& next) {
  std::size_t bytes = 0;
  const double start = cpu_seconds();
  do {
    const Sample sample = task.sample(1, Split::Train, next++);
    bytes += sample.src.size() + sample.tgt.size();
  } while (since(start) < seconds);
  return static_cast<double>(bytes) / since(start);
}

}  // namespace

TaskRates task_rates(const Task& task, const TaskRateOptions& options) {
  const double start = cpu_seconds();
  const double each = options.seconds / static_cast<double>(options.repeats + 2);
  TaskRates rates;
  std::uint64_t next = 0;
  make_batches(task, each, next);  // warm up
  std::vector<double> samples, tokens;
  for (std::size_t i = 0; i < options.repeats; ++i) {
    const Rates made = make_batches(task, each, next);
    samples.push_back(made.samples);
    tokens.push_back(made.tokens);
  }
  rates.text_bytes_per_s = text_bytes_per_s(task, each, next);
  rates.samples_per_s = spread_of(samples);
  rates.tokens_per_s = spread_of(tokens);
  rates.samples = static_cast<std::int64_t>(next);
  rates.seconds = since(start);
  return rates;
}

Json to_json(const TaskRates& rates) {
  return {{"samples_per_s", to_json(rates.samples_per_s)},
          {"tokens_per_s", to_json(rates.tokens_per_s)},
          {"text_bytes_per_s", rates.text_bytes_per_s},
          {"samples", rates.samples},
          {"seconds", rates.seconds}};
}

}  // namespace mta
