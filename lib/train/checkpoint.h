// A run's state on disk: parameters, optimiser, and where training stands.
#pragma once

#include "lib/nn/parameters.h"
#include "lib/train/config.h"
#include "lib/train/optimiser.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace mta {

/// checkpoint/state.json. There is no generator state: weights, batches and dropout are functions
/// of the seeds and the step.
struct TrainState {
  std::int64_t step = 0;                   // updates made
  std::optional<std::string> stop_reason;  // why training is over; nothing while it may go on
  double train_s = 0, wall_s = 0;          // of all processes that worked on the run
  SeedsConfig seeds;
  std::string config_hash;                   // of the resolved experiment
  std::vector<std::string> vocabulary = {};  // what each token reads; in a file of its own
};

/// Writes model.safetensors, optimizer.safetensors ("exp_avg.<parameter>",
/// "exp_avg_sq.<parameter>", "step"), vocabulary.json and state.json beside `folder`, then puts
/// them in its place: whatever happens, a whole checkpoint is left. Throws std::runtime_error with
/// the reason of the system.
void save_checkpoint(const std::filesystem::path& folder, const Parameters& parameters,
                     const AdamW& optimiser, const TrainState& state);

/// Reads it back; nothing when there is none. Throws UserError when it is damaged or made with
/// another experiment than `config_hash`. The vocabulary is not read: see check_vocabulary().
std::optional<TrainState> load_checkpoint(const std::filesystem::path& folder,
                                          Parameters& parameters, AdamW& optimiser,
                                          const std::string& config_hash);

/// The parameters alone. Throws UserError naming the file and the tensor that is missing, too many
/// or of another shape.
void load_parameters(const std::filesystem::path& model_file, Parameters& parameters);

/// In the checkpoint's folder.
inline constexpr const char* kVocabularyFile = "vocabulary.json";

/// Throws UserError naming the first token that the model learnt as something else than it is now.
void check_vocabulary(const std::filesystem::path& vocabulary_file,
                      const std::vector<std::string>& vocabulary);

TrainState read_state(const std::filesystem::path& state_file);

}  // namespace mta
