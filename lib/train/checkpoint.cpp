// Writing a checkpoint folder and reading it.
#include "lib/train/checkpoint.h"

#include "lib/core/document.h"
#include "lib/core/error.h"
#include "lib/core/files.h"
#include "lib/core/vocabulary.h"
#include "lib/nn/safetensors.h"
#include "lib/train/scores.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

namespace mta {
namespace {

constexpr const char* kModelFile = "model.safetensors";
constexpr const char* kOptimiserFile = "optimizer.safetensors";
constexpr const char* kStateFile = "state.json";
constexpr const char* kVocabularySchema = "mta.vocabulary/1";
constexpr const char* kStateSchema = "mta.state/1";

std::string state_text(const TrainState& state) {
  const Json json = {
      {"schema", kStateSchema},
      {"step", state.step},
      {"stop_reason", or_null(state.stop_reason)},
      {"train_s", state.train_s},
      {"wall_s", state.wall_s},
      {"random",
       {{"about", "weights, batches and dropout are functions of (seed, step): no other state"},
        {"seeds",
         {{"weights", state.seeds.weights},
          {"data", state.seeds.data},
          {"train", state.seeds.train}}},
        {"next_batch", state.step}}},
      {"config_hash", state.config_hash}};
  constexpr int kIndent = 2;
  return json.dump(kIndent) + '\n';
}

std::string vocabulary_text(const std::vector<std::string>& vocabulary) {
  return Json({{"schema", kVocabularySchema}, {"tokens", vocabulary}}).dump() + '\n';
}

}  // namespace

void check_vocabulary(const std::filesystem::path& vocabulary_file,
                      const std::vector<std::string>& vocabulary) {
  const std::string file = vocabulary_file.string();
  const Json json = parse_json(read_file(vocabulary_file), file);
  std::vector<std::string> learnt;
  try {
    json.at("tokens").get_to(learnt);
  } catch (const Json::exception& error) {
    throw UserError(file, fmt::format("is not a vocabulary: {}", error.what()));
  }
  const std::string difference =
      difference_of(learnt, vocabulary, "to the trained model", "to this program");
  if (difference.empty()) return;
  throw UserError(file, "is not the task's vocabulary: " + difference,
                  "use the version of the program that the run's report names");
}

TrainState read_state(const std::filesystem::path& state_file) {
  const Json json = parse_json(read_file(state_file), state_file.string());
  try {
    TrainState state;
    json.at("step").get_to(state.step);
    state.stop_reason = optional_from_json<std::string>(json.at("stop_reason"));
    json.at("train_s").get_to(state.train_s);
    json.at("wall_s").get_to(state.wall_s);
    const Json& seeds = json.at("random").at("seeds");
    seeds.at("weights").get_to(state.seeds.weights);
    seeds.at("data").get_to(state.seeds.data);
    seeds.at("train").get_to(state.seeds.train);
    json.at("config_hash").get_to(state.config_hash);
    return state;
  } catch (const Json::exception& error) {
    throw UserError(state_file.string(),
                    fmt::format("is not a checkpoint's state: {}", error.what()));
  }
}

void save_checkpoint(const std::filesystem::path& folder, const Parameters& parameters,
                     const AdamW& optimiser, const TrainState& state) {
  std::filesystem::path fresh = folder;
  fresh += ".new";
  std::filesystem::remove_all(fresh);  // a save that was cut short
  std::filesystem::create_directory(fresh);
  try {
    const std::map<std::string, std::string> metadata = {{"step", std::to_string(state.step)},
                                                         {"config_hash", state.config_hash}};
    TensorFile model{.tensors = {}, .metadata = metadata};
    for (const auto& [name, tensor] : parameters.named()) model.tensors[name] = tensor.detach();
    write_safetensors(fresh / kModelFile, model);
    write_safetensors(fresh / kOptimiserFile, {.tensors = optimiser.state(), .metadata = metadata});
    write_file_atomically(fresh / kVocabularyFile, vocabulary_text(state.vocabulary));
    write_file_atomically(fresh / kStateFile, state_text(state));
    replace_folder(fresh, folder);
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove_all(fresh, ignored);
    throw;
  }
}

std::optional<TrainState> load_checkpoint(const std::filesystem::path& folder,
                                          Parameters& parameters, AdamW& optimiser,
                                          const std::string& config_hash) {
  restore_folder(folder);
  if (!std::filesystem::exists(folder)) return std::nullopt;
  const TrainState state = read_state(folder / kStateFile);
  if (state.config_hash != config_hash) {
    throw UserError(folder.string(),
                    fmt::format("was made with another experiment (hash {}, not {})",
                                state.config_hash, config_hash));
  }
  load_parameters(folder / kModelFile, parameters);
  const std::filesystem::path optimiser_file = folder / kOptimiserFile;
  const TensorFile file = read_safetensors(optimiser_file);
  try {
    optimiser.restore(file.tensors);
  } catch (const std::runtime_error& error) {
    throw UserError(optimiser_file.string(), error.what());
  }
  return state;
}

void load_parameters(const std::filesystem::path& model_file, Parameters& parameters) {
  const at::NoGradGuard no_grad;
  const TensorFile file = read_safetensors(model_file);
  std::vector<Problem> problems;
  for (const auto& [name, tensor] : parameters.named()) {
    const auto found = file.tensors.find(name);
    if (found == file.tensors.end()) {
      problems.push_back({model_file.string(), fmt::format("no tensor \"{}\"", name), {}});
    } else if (found->second.sizes() != tensor.sizes()) {
      problems.push_back({model_file.string(),
                          fmt::format("tensor \"{}\" has shape {}, but must have {}", name,
                                      c10::str(found->second.sizes()), c10::str(tensor.sizes())),
                          {}});
    } else {
      tensor.copy_(found->second);
    }
  }
  if (problems.empty() && file.tensors.size() != parameters.named().size()) {
    problems.push_back({model_file.string(),
                        fmt::format("has {} tensors, but the model {}", file.tensors.size(),
                                    parameters.named().size()),
                        {}});
  }
  if (!problems.empty()) throw UserError(std::move(problems));
}

}  // namespace mta
