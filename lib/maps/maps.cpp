// From a run and a choice to an archive.
#include "lib/maps/maps.h"

#include "lib/core/description.h"
#include "lib/core/error.h"
#include "lib/data/evaluation_set.h"
#include "lib/maps/archive.h"
#include "lib/maps/learned.h"
#include "lib/maps/roles.h"
#include "lib/maps/shares.h"
#include "lib/maps/walk.h"
#include "lib/run/trained.h"
#include "tasks/registry.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <memory>

namespace mta::maps {
namespace {

template <class Value>
bool is_chosen(const std::vector<Value>& chosen, const Value& value) {
  return chosen.empty() || std::find(chosen.begin(), chosen.end(), value) != chosen.end();
}

/// Ascending, each once; all of 0 .. count-1 for none. Throws UserError for others.
std::vector<std::int64_t> chosen_indices(std::vector<std::int64_t> chosen, std::int64_t count,
                                         const std::string& flag) {
  if (chosen.empty()) {
    for (std::int64_t i = 0; i < count; ++i) chosen.push_back(i);
  }
  std::sort(chosen.begin(), chosen.end());
  chosen.erase(std::unique(chosen.begin(), chosen.end()), chosen.end());
  for (const std::int64_t index : {chosen.front(), chosen.back()}) {
    if (index < 0 || index >= count) {
      throw UserError(fmt::format("{} {}", flag, index),
                      fmt::format("must be from 0 to {}", count - 1));
    }
  }
  return chosen;
}

at::ScalarType compute_type(const Experiment& experiment) {
  switch (experiment.train.precision) {
    case Precision::Double:
      return at::kDouble;
    case Precision::Bf16:
      return at::kBFloat16;
    case Precision::Fp32:
      break;
  }
  return at::kFloat;
}

Json to_json(const LabelledSample& sample) {
  Json tokens = Json::array(), spans = Json::array();
  for (const TokenLabel& label : sample.labels) {
    tokens.push_back({{"text", label.text}, {"role", label.role}});
  }
  for (const Span& span : sample.spans) {
    spans.push_back(
        {{"name", span.name}, {"role", span.role}, {"begin", span.begin}, {"end", span.end}});
  }
  return {{"index", sample.index}, {"src", sample.src}, {"tgt", sample.tgt},
          {"tokens", tokens},      {"spans", spans},    {"answer_rows", sample.answer_rows}};
}

/// The windows of one sample's maps of one layer, filled row chunk by row chunk.
class WindowBuffer {
 public:
  WindowBuffer(const IndexRange& rows, const IndexRange& columns,
               const std::vector<std::int64_t>& heads)
      : rows_(rows), columns_(columns), heads_(heads) {}

  /// The heads that this map has: a stage may leave fewer.
  std::vector<std::int64_t> heads_of(const at::Tensor& map) const {
    std::vector<std::int64_t> heads;
    std::copy_if(heads_.begin(), heads_.end(), std::back_inserter(heads),
                 [&map](std::int64_t head) { return head < map.size(0); });
    return heads;
  }

  /// The whole window, [heads, rows, columns], once its last row is there; else an undefined
  /// tensor.
  at::Tensor add(const MapRows& part) {
    const std::vector<std::int64_t> heads = heads_of(part.map);
    if (heads.empty()) return {};
    at::Tensor& window = windows_[std::string(part.stage)];
    if (!window.defined()) {
      window = at::zeros({std::int64_t(heads.size()), rows_.size(), columns_.size()}, at::kFloat);
    }
    // Columns that no row of this part can see stay 0.
    const std::int64_t seen = std::min(columns_.end, part.map.size(2)) - columns_.begin;
    if (seen > 0) {
      window.narrow(1, part.first_row - rows_.begin, part.map.size(1))
          .narrow(2, 0, seen)
          .copy_(part.map.index_select(0, at::tensor(heads)).narrow(2, columns_.begin, seen));
    }
    if (part.first_row + part.map.size(1) < rows_.end) return {};
    at::Tensor whole = window;
    windows_.erase(std::string(part.stage));
    return whole;
  }

 private:
  IndexRange rows_, columns_;
  std::vector<std::int64_t> heads_;
  std::map<std::string, at::Tensor> windows_;  // by stage
};

/// One run's part of the archive.
class RunMaps {
 public:
  RunMaps(const MapsOptions& options, std::filesystem::path directory, std::string folder,
          MapArchive& archive)
      : options_(options),
        trained_(load_trained(directory, options.device)),
        directory_(std::move(directory)),
        folder_(std::move(folder)),
        archive_(archive) {
    const ModelConfig& model = trained_.experiment.model;
    layers_ = chosen_indices(options.layers, model.layers, "--layers");
    heads_ = chosen_indices(options.heads, model.heads, "--heads");
  }

  const Experiment& experiment() const { return trained_.experiment; }
  std::string table() const { return shares_.to_text(); }

  /// Writes everything; returns what maps.json says.
  Json write(const std::vector<Sample>& samples) {
    for (std::size_t i = 0; i < samples.size(); ++i) {
      add_sample(label_sample(*experiment().test_task,
                              mta::to_json(*experiment().test_task).at("kind"), samples[i],
                              options_.samples[i]));
    }
    for (const std::string& stage : options_.stages) {
      if (std::find(stages_.begin(), stages_.end(), stage) == stages_.end()) {
        throw UserError("--stages", directory_.string() + " has " +
                                        unknown_name_message("no stage", stage, stages_));
      }
    }
    Json json = {{"schema", "mta.maps/1"},    {"run", directory_.string()},
                 {"name", experiment().name}, {"step", trained_.step},
                 {"path", "composed"},        {"layers", layers_},
                 {"heads", heads_},           {"stages", shown_stages()},
                 {"samples", samples_},       {"maps", maps_}};
    json["learned"] = write_learned(trained_.model->parameters(), layers_, folder_, archive_);
    json["shares"] = shares_.to_json();
    archive_.write_json(folder_ + "maps.json", json);
    return json;
  }

 private:
  std::vector<std::string> shown_stages() const {
    std::vector<std::string> shown;
    std::copy_if(stages_.begin(), stages_.end(), std::back_inserter(shown),
                 [this](const std::string& stage) { return is_chosen(options_.stages, stage); });
    return shown;
  }

  void add_sample(const LabelledSample& sample) {
    const auto T = std::int64_t(sample.tokens.size());
    const IndexRange rows = options_.rows.in(T, "--rows");
    const IndexRange columns = options_.columns.in(T, "--columns");
    samples_.push_back(to_json(sample));
    samples_.back()["rows"] = {rows.begin, rows.end};
    samples_.back()["columns"] = {columns.begin, columns.end};
    // How many stages there are is known only later; the first sample tells for the others.
    const auto stages = double(std::max<std::size_t>(shown_stages().size(), 1));
    archive_.require_room(double(rows.size()) * double(columns.size()) * double(heads_.size()) *
                          double(layers_.size()) * stages);
    shares_.begin_sample(sample);
    WindowBuffer buffer(rows, columns, heads_);
    walk_maps(*trained_.model, experiment().model, compute_type(experiment()),
              {.tokens = sample.tokens, .layers = layers_, .rows = rows}, [&](const MapRows& part) {
                const std::string stage(part.stage);
                if (std::find(stages_.begin(), stages_.end(), stage) == stages_.end()) {
                  stages_.push_back(stage);
                }
                shares_.add(part);
                if (!is_chosen(options_.stages, stage)) return;
                const at::Tensor whole = buffer.add(part);
                if (!whole.defined()) return;
                archive_.require_room(double(whole.numel()));
                add_map(sample.index, part, buffer.heads_of(part.map), whole);
              });
  }

  void add_map(std::int64_t sample, const MapRows& part, const std::vector<std::int64_t>& heads,
               const at::Tensor& window) {
    const std::string file =
        fmt::format("{}sample_{}/layer_{}/{}.npy", folder_, sample, part.layer, part.stage);
    Json entry = {
        {"sample", sample}, {"layer", part.layer}, {"stage", part.stage}, {"heads", heads}};
    entry.update(archive_.write_map(file, window));
    maps_.push_back(std::move(entry));
  }

  const MapsOptions& options_;
  const TrainedModel trained_;
  const std::filesystem::path directory_;
  const std::string folder_;  // inside the archive: "" or "compare/"
  MapArchive& archive_;
  std::vector<std::int64_t> layers_, heads_;
  std::vector<std::string> stages_;  // as they were seen
  Json samples_ = Json::array(), maps_ = Json::array();
  TargetShares shares_;
};

/// The chosen samples of the data set that the run is tested on, or of the given file.
std::vector<Sample> chosen_samples(const MapsOptions& options, const Experiment& experiment) {
  const std::int64_t most = *std::max_element(options.samples.begin(), options.samples.end());
  const auto set = options.data
                       ? EvaluationSet(experiment.test_task, *options.data)
                       : EvaluationSet(experiment.test_task,
                                       std::uint64_t(experiment.evaluate.test_seed), most + 1);
  const auto count = std::int64_t(set.samples().size());
  std::vector<Sample> samples;
  for (const std::int64_t index : options.samples) {
    if (index < 0 || index >= count) {
      throw UserError(fmt::format("--samples {}", index),
                      fmt::format("must be from 0 to {}", count - 1));
    }
    samples.push_back(set.samples()[std::size_t(index)]);
  }
  return samples;
}

}  // namespace

MapsResult write_maps(const MapsOptions& options) {
  if (options.samples.empty()) throw UserError("--samples", "must name at least one sample");
  MapArchive archive(options.out);
  std::vector<std::unique_ptr<RunMaps>> runs;
  runs.push_back(std::make_unique<RunMaps>(options, options.run, "", archive));
  if (options.compare) {
    runs.push_back(std::make_unique<RunMaps>(options, *options.compare, "compare/", archive));
  }
  const std::vector<Sample> samples = chosen_samples(options, runs.front()->experiment());
  MapsResult result;
  for (const auto& run : runs) {
    result.runs.push_back(run->write(samples));
    result.tables.push_back(run->table());
  }
  archive.finish({{"runs", result.runs}});
  return result;
}

}  // namespace mta::maps
