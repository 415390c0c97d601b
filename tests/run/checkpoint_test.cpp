// Checkpoints: there and back, damaged, on a full disk, and as Python reads them.
#include "lib/train/checkpoint.h"

#include "lib/core/error.h"
#include "lib/core/files.h"
#include "lib/run/model.h"
#include "tests/support/scratch_folder.h"
#include "tests/support/tiny_experiment.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstdlib>
#include <fstream>

namespace mta {
namespace {

/// A model with an optimiser that has made one step.
struct Trained {
  explicit Trained(std::int64_t weights_seed = 1)
      : experiment(check::tiny_experiment({"/seeds/weights=" + std::to_string(weights_seed)})),
        model(make_model(experiment, at::kCPU)),
        optimiser(model->parameters(), experiment.train) {
    for (const at::Tensor& p : model->parameters().tensors()) p.mutable_grad() = p.detach().clone();
    optimiser.step(1e-2);
  }

  Experiment experiment;
  std::unique_ptr<LanguageModel> model;
  AdamW optimiser;
};

TrainState state_at(std::int64_t step) {
  return {.step = step,
          .stop_reason = std::nullopt,
          .train_s = 1.5,
          .wall_s = 2.5,
          .seeds = {.weights = 1, .data = 2, .train = 3},
          .config_hash = "0123"};
}

TEST(Checkpoint, ComesBackAsItWas) {
  const check::ScratchFolder scratch;
  const auto folder = scratch.path() / "checkpoint";
  const Trained saved(1);
  save_checkpoint(folder, saved.model->parameters(), saved.optimiser, state_at(7));

  Trained loaded(2);
  const auto state = load_checkpoint(folder, loaded.model->parameters(), loaded.optimiser, "0123");
  ASSERT_TRUE(state.has_value());
  EXPECT_EQ(state->step, 7);
  EXPECT_EQ(state->train_s, 1.5);
  EXPECT_EQ(state->seeds.train, 3);
  for (const auto& [name, tensor] : saved.model->parameters().named()) {
    EXPECT_TRUE(at::equal(tensor, loaded.model->parameters().at(name))) << name;
  }
  const auto moments = loaded.optimiser.state();
  for (const auto& [name, tensor] : saved.optimiser.state()) {
    EXPECT_TRUE(at::equal(tensor, moments.at(name))) << name;
  }
}

TEST(Checkpoint, NothingIsThereBeforeTheFirst) {
  const check::ScratchFolder scratch;
  Trained t;
  EXPECT_FALSE(
      load_checkpoint(scratch.path() / "checkpoint", t.model->parameters(), t.optimiser, "0123"));
}

TEST(Checkpoint, AFullDiskLeavesTheOldOne) {
  const check::ScratchFolder scratch;
  const auto folder = scratch.path() / "checkpoint";
  const Trained t;
  save_checkpoint(folder, t.model->parameters(), t.optimiser, state_at(7));
  const std::string model_before = read_file(folder / "model.safetensors");

  // A limit on the size of files makes write(2) fail as a full disk does.
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{.rlim_cur = model_before.size() / 2, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  std::string message;
  try {
    save_checkpoint(folder, t.model->parameters(), t.optimiser, state_at(8));
  } catch (const std::runtime_error& error) {
    message = error.what();
  }
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);

  EXPECT_NE(message.find("model.safetensors: cannot be written"), std::string::npos) << message;
  EXPECT_EQ(read_state(folder / "state.json").step, 7);
  EXPECT_EQ(read_file(folder / "model.safetensors"), model_before);
  EXPECT_FALSE(std::filesystem::exists(scratch.path() / "checkpoint.new"));
}

TEST(Checkpoint, ACrashInTheMiddleOfReplacingIsMended) {
  const check::ScratchFolder scratch;
  const auto folder = scratch.path() / "checkpoint";
  Trained t;
  save_checkpoint(folder, t.model->parameters(), t.optimiser, state_at(7));
  std::filesystem::rename(folder, scratch.path() / "checkpoint.old");
  std::filesystem::create_directory(scratch.path() / "checkpoint.new");
  std::ofstream(scratch.path() / "checkpoint.new" / "model.safetensors") << "cut";
  const auto state = load_checkpoint(folder, t.model->parameters(), t.optimiser, "0123");
  ASSERT_TRUE(state.has_value());
  EXPECT_EQ(state->step, 7);
  save_checkpoint(folder, t.model->parameters(), t.optimiser, state_at(8));
  EXPECT_EQ(read_state(folder / "state.json").step, 8);
}

TEST(Checkpoint, RefusesAnotherExperimentAndADamagedFile) {
  const check::ScratchFolder scratch;
  const auto folder = scratch.path() / "checkpoint";
  Trained t;
  save_checkpoint(folder, t.model->parameters(), t.optimiser, state_at(7));
  EXPECT_THROW(load_checkpoint(folder, t.model->parameters(), t.optimiser, "other"), UserError);
  std::ofstream(folder / "state.json") << "{}";
  EXPECT_THROW(load_checkpoint(folder, t.model->parameters(), t.optimiser, "0123"), UserError);
}

TEST(Checkpoint, NamesTheTensorThatDoesNotFit) {
  const check::ScratchFolder scratch;
  const auto folder = scratch.path() / "checkpoint";
  const Trained t;
  save_checkpoint(folder, t.model->parameters(), t.optimiser, state_at(7));
  const Experiment wider = check::tiny_experiment({"/model/ffn_hidden=96"});
  const auto model = make_model(wider, at::kCPU);
  try {
    load_parameters(folder / "model.safetensors", model->parameters());
    FAIL() << "accepted";
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("[64, 32], but must have [96, 32]"), std::string::npos)
        << error.what();
  }
}

TEST(Checkpoint, PythonReadsIt) {
  const char* check_python =
      "PYTHONPATH=.deps/python python3 -c 'import numpy, safetensors' >/dev/null 2>&1";
  if (std::system(check_python) != 0) GTEST_SKIP() << "no python3 with numpy and safetensors";
  const check::ScratchFolder scratch;
  const auto folder = scratch.path() / "checkpoint";
  const Trained t;
  save_checkpoint(folder, t.model->parameters(), t.optimiser, state_at(7));
  std::ofstream(scratch.path() / "read.py") << R"(import sys
from safetensors.numpy import load_file
model = load_file(sys.argv[1] + "/model.safetensors")
optimiser = load_file(sys.argv[1] + "/optimizer.safetensors")
assert float(optimiser.pop("step")) == 1
assert len(optimiser) == 2 * len(model)
for name, tensor in model.items():
    assert optimiser["exp_avg." + name].shape == tensor.shape
    assert optimiser["exp_avg_sq." + name].min() >= 0
    print(name, float(tensor.astype("float64").sum()))
)";
  const auto output = scratch.path() / "sums.txt";
  const std::string command = "PYTHONPATH=.deps/python python3 " +
                              (scratch.path() / "read.py").string() + " " + folder.string() +
                              " > " + output.string();
  ASSERT_EQ(std::system(command.c_str()), 0);
  std::ifstream sums(output);
  std::string name;
  std::size_t seen = 0;
  for (double sum = 0; sums >> name >> sum; ++seen) {
    const at::Tensor tensor = t.model->parameters().at(name).detach().to(at::kDouble);
    EXPECT_NEAR(tensor.sum().item<double>(), sum, 1e-9) << name;
  }
  EXPECT_EQ(seen, t.model->parameters().named().size());
}

}  // namespace
}  // namespace mta
