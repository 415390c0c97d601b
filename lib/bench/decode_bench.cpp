// One decoder for each experiment, in turns.
#include "lib/bench/decode_bench.h"

#include "lib/bench/device_profile.h"
#include "lib/bench/provenance.h"
#include "lib/bench/repeated.h"
#include "lib/core/rng.h"
#include "lib/model/decode.h"
#include "lib/run/model.h"
#include "lib/train/device.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <memory>
#include <utility>

namespace mta {
namespace {

/// [B, T] int64 on `device`.
at::Tensor random_tokens(const DecodeBench& bench, std::int64_t vocabulary, at::Device device) {
  at::Tensor tokens = at::empty({bench.batch, bench.context}, at::kLong);
  Rng rng(/*seed=*/1, stream_of("bench/decode"), /*index=*/0);
  auto* const data = tokens.mutable_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < tokens.numel(); ++i) {
    data[i] = rng.below(static_cast<std::uint32_t>(vocabulary));
  }
  return tokens.to(device);
}

/// A model that has read the context.
class Subject {
 public:
  Subject(const Experiment& experiment, std::shared_ptr<const LanguageModel> model,
          const DecodeBench& bench, at::Device device, bool records)
      : device_(device),
        model_(std::move(model)),
        decoder_(*model_, bench.context + bench.tokens, records) {
    const std::int64_t vocabulary =
        experiment.model.vocabulary.value_or(experiment.task->vocabulary());
    first_ = most_likely(decoder_.next(random_tokens(bench, vocabulary, device)));
    start_ = decoder_.place();
    run(std::max<std::int64_t>(bench.tokens, 2));  // whatever is made at a first call, or recorded
  }

  /// From the context on, to the end on the device.
  void run(std::int64_t tokens) {
    const at::NoGradGuard no_grad;
    decoder_.return_to(start_);
    at::Tensor token = first_;
    for (std::int64_t i = 0; i < tokens; ++i) token = most_likely(decoder_.next(token));
    synchronize(device_);
  }

  /// Adds what the report says of it beside its times. On a GPU `tokens` further ones, of `ms`
  /// each, are profiled.
  void describe(Json& entry, std::int64_t tokens, double ms) {
    Json paths = Json::array();
    for (const LayerPath& layer : attention_paths(*model_)) {
      paths.push_back({{"path", layer.path}, {"reason", layer.reason}});
    }
    const DecodeUse& use = decoder_.use();
    entry["attention_path"] = std::move(paths);
    entry["use"] = {{"plain", use.plain}, {"replayed", use.replayed}, {"reason", use.reason}};
    add_profile(
        entry, device_, [&] { run(tokens); }, tokens, ms);
  }

 private:
  static at::Tensor most_likely(const at::Tensor& logits) { return logits.argmax(1, true); }

  at::Device device_;
  std::shared_ptr<const LanguageModel> model_;
  Decoder decoder_;
  at::Tensor first_;  // [B, 1], chosen after the context
  std::vector<KvCache> start_;
};

/// What is timed: an experiment, replayed or plain.
struct Case {
  std::string name;
  const Experiment* experiment;
  std::int64_t memory = 0;
  std::unique_ptr<Subject> subject = nullptr;
};

/// The cases of an experiment, which share a model. A recorded one comes first.
void add_cases(const Experiment& experiment, const DecodeBench& bench, at::Device device,
               std::vector<Case>& cases) {
  std::shared_ptr<const LanguageModel> model;
  const std::int64_t model_memory =
      peak_memory_of(device, [&] { model = make_model(experiment, device); });
  const auto add = [&](const std::string& name, bool records) {
    Case one{.name = name, .experiment = &experiment};
    one.memory = peak_memory_of(device, [&] {
      one.subject = std::make_unique<Subject>(experiment, model, bench, device, records);
    });
    if (!device.is_cpu()) one.memory += model_memory;  // the CPU's is the whole process's
    cases.push_back(std::move(one));
  };
  add(experiment.name, !device.is_cpu());
  if (!device.is_cpu()) add(experiment.name + " plain", false);
}

}  // namespace

Json bench_decode(const DecodeBench& bench) {
  const at::Device device = resolve_device(bench.device);
  if (bench.threads > 0) at::set_num_threads(static_cast<int>(bench.threads));
  Provenance provenance = bench_provenance(device, bench.command_line);
  const WorkStream stream(device);

  std::vector<Case> cases;
  for (const Experiment& experiment : bench.experiments) {
    add_cases(experiment, bench, device, cases);
  }
  std::vector<Candidate> candidates;
  for (const Case& one : cases) {
    candidates.push_back(
        {.name = one.name,
         .run = [subject = one.subject.get(), tokens = bench.tokens] { subject->run(tokens); }});
  }
  const std::vector<TurnTimes> timings = time_in_turns(candidates, bench.timing);

  Json entries = Json::array();
  for (std::size_t i = 0; i < timings.size(); ++i) {
    const Spread ms = scaled(timings[i].ms, 1 / static_cast<double>(bench.tokens));
    Json entry = {{"name", timings[i].name},
                  {"ms_per_token", to_json(ms)},
                  {"ratio_to_first", to_json(timings[i].ratio)},
                  {"tokens_per_s", 1000.0 * static_cast<double>(bench.batch) / ms.median},
                  {"peak_memory_bytes", cases[i].memory},
                  {"experiment", to_json(*cases[i].experiment)}};
    cases[i].subject->describe(entry, bench.tokens, ms.median);
    entries.push_back(std::move(entry));
  }
  provenance.ended = utc_now();
  return {{"schema", "mta.bench/1"},          {"kind", "decode"},
          {"context", bench.context},         {"batch", bench.batch},
          {"tokens_a_turn", bench.tokens},    {"turns", bench.timing.turns},
          {"warm_up", bench.timing.warm_up},  {"cases", std::move(entries)},
          {"provenance", to_json(provenance)}};
}

}  // namespace mta
