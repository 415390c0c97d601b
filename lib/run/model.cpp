// Building and scoring a model as an experiment says.
#include "lib/run/model.h"

#include "lib/core/rng.h"

#include <algorithm>

namespace mta {
namespace {

/// "layers.3.attention.kq_before.kernel" -> "attention.kq_before"; "layers.3.attention.wq.weight"
/// -> "attention"; "layers.3.w1.weight" -> "feed_forward".
std::string part_of(std::string name) {
  const std::string layers = "layers.", attention = "attention.";
  if (name.rfind(layers, 0) == 0) name = name.substr(name.find('.', layers.size()) + 1);
  if (name.rfind(attention, 0) != 0) return name.substr(0, name.find('.'));
  const std::string stage =
      name.substr(attention.size(), name.find('.', attention.size()) - attention.size());
  const bool projection = stage == "wq" || stage == "wk" || stage == "wv" || stage == "wo";
  return projection ? "attention" : attention + stage;
}

}  // namespace

std::unique_ptr<LanguageModel> make_model(const Experiment& experiment, at::Device device) {
  const Precision precision = experiment.train.precision;
  const at::ScalarType master = precision == Precision::Double ? at::kDouble : at::kFloat;
  return std::make_unique<LanguageModel>(
      experiment.model, experiment.attention,
      experiment.model.vocabulary.value_or(experiment.task->vocabulary()),
      ModelOptions{.seed = static_cast<std::uint64_t>(experiment.seeds.weights),
                   .device = device,
                   .master = master,
                   .compute = precision == Precision::Bf16 ? at::kBFloat16 : master});
}

ParameterCounts parameter_counts(const Parameters& parameters) {
  ParameterCounts counts{.total = parameters.count(), .by_part = {}};
  for (const auto& [name, tensor] : parameters.named()) {
    const std::string part = part_of(name);
    const auto known = std::find_if(counts.by_part.begin(), counts.by_part.end(),
                                    [&](const auto& entry) { return entry.first == part; });
    if (known == counts.by_part.end()) {
      counts.by_part.emplace_back(part, tensor.numel());
    } else {
      known->second += tensor.numel();
    }
  }
  return counts;
}

std::vector<LayerPath> attention_paths(const LanguageModel& model) {
  std::vector<LayerPath> paths;
  for (const Block& block : model.blocks()) {
    const bool fused = block.attention().path() == AttentionPath::Fused;
    paths.push_back({fused ? "fused" : "composed", block.attention().path_reason()});
  }
  return paths;
}

Scores score(const Experiment& experiment, const LanguageModel& model, const Evaluator& evaluator,
             const std::string& mode, std::int64_t step) {
  if (mode == "greedy") return evaluator.greedy(model, *experiment.test_task);
  const bool reference = mode == "reference";
  return evaluator.teacher_forced(
      model, {.dropout = reference ? experiment.model.attention_dropout : 0,
              .seed = static_cast<std::uint64_t>(experiment.evaluate.test_seed),
              .step = static_cast<std::uint64_t>(step),
              .full_batches_only = reference});
}

}  // namespace mta
