// Keys, ranges and cross-checks of "train", "evaluate" and "seeds".
#include "lib/train/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace mta {
namespace {

const std::vector<std::pair<Schedule, std::string>> kSchedules = {
    {Schedule::Constant, "constant"},
    {Schedule::Linear, "linear"},
    {Schedule::Cosine, "cosine"},
    {Schedule::WarmupStableDecay, "warmup_stable_decay"},
};

const std::vector<std::pair<Precision, std::string>> kPrecisions = {
    {Precision::Fp32, "fp32"},
    {Precision::Bf16, "bf16"},
    {Precision::Double, "double"},
};

const std::vector<std::pair<GraphUse, std::string>> kGraphUses = {
    {GraphUse::Auto, "auto"},
    {GraphUse::On, "on"},
    {GraphUse::Off, "off"},
};

Description describe_stop(StopConfig& config) {
  Description d;
  d.optional_real("seconds", config.seconds,
                  "end after this much training, evaluation not counted; seconds", {.above = 0});
  d.optional_real("err_seq", config.err_seq,
                  "end at the first evaluation with a lower err_seq, in the first of its modes; "
                  "fraction of samples",
                  {.max = 1, .above = 0});
  return d;
}

}  // namespace

const std::vector<std::string>& evaluation_modes() {
  static const std::vector<std::string> modes = {"correct", "reference"};
  return modes;
}

namespace {

/// How the machine computes it; none of it changes what is computed, but for rounding.
void describe_execution(TrainConfig& config, Description& d) {
  d.optional_integer("threads", config.threads,
                     "CPU threads of an operation; off means all cores. Another number gives other "
                     "rounding",
                     {.min = 1, .max = 1024});
  d.integer("data_threads", config.data_threads,
            "threads that make batches ahead; their number changes no batch",
            {.min = 1, .max = 256});
  d.integer(
      "recompute_layers", config.recompute_layers,
      "layers, from the first on, of which only the input is kept for the backward pass, which "
      "computes the rest again (activation checkpointing): less memory, up to a third more "
      "work, the same results; at most /model/layers",
      {.min = 0});
  d.choice("graph", config.graph, kGraphUses,
           "whether a GPU replays whole updates from a CUDA graph, with the same results. auto: "
           "where it can, and the report says where not and why; on: or fail; off: never");
  d.boolean(
      "deterministic", config.deterministic,
      "on a GPU, add everything up in a fixed order, so that a resumed run has the same bits; "
      "slower. The CPU always does");
}

}  // namespace

Description describe(TrainConfig& config) {
  Description d;
  d.integer("steps", config.steps, "updates of the parameters", {.min = 1});
  d.integer("batch", config.batch, "samples in one update", {.min = 1});
  d.integer("accumulate", config.accumulate,
            "parts in which a batch is computed one after the other: less memory, same update; "
            "divides batch",
            {.min = 1});
  d.real("lr", config.lr, "learning rate of AdamW at its highest", {.above = 0});
  d.reals("betas", config.betas, "AdamW's decay of the first and second moment",
          {.min = 0, .below = 1});
  d.real("eps", config.eps, "AdamW's epsilon, added to the root of the second moment",
         {.above = 0});
  d.real("weight_decay", config.weight_decay, "AdamW's decoupled weight decay, on all parameters",
         {.min = 0});
  d.optional_real("clip", config.clip, "largest global norm of the gradient", {.above = 0});
  d.choice(
      "schedule", config.schedule, kSchedules,
      "learning rate over the steps, after the warm-up: constant; linear or cosine down to "
      "final_lr_fraction; warmup_stable_decay: constant, then linear down over decay_fraction");
  d.integer("warmup", config.warmup, "steps of linear warm-up from 0", {.min = 0});
  d.real("decay_fraction", config.decay_fraction,
         "warmup_stable_decay: share of the steps in which the rate falls", {.max = 1, .above = 0});
  d.real("final_lr_fraction", config.final_lr_fraction,
         "where the rate falls to, as a fraction of lr", {.min = 0, .max = 1});
  d.object("stop", describe_stop(config.stop), "rules that end a run before steps");
  d.choice("precision", config.precision, kPrecisions,
           "type of the computation; parameters and optimiser state are double for double and "
           "fp32 otherwise");
  d.optional_integer("checkpoint_every", config.checkpoint_every,
                     "steps between checkpoints; the end always has one", {.min = 1});
  d.integer("log_every", config.log_every, "steps between lines of metrics.jsonl", {.min = 1});
  describe_execution(config, d);
  return d;
}

Description describe(EvaluateConfig& config) {
  Description d;
  d.optional_integer("every", config.every, "steps between evaluations; the end always has one",
                     {.min = 1});
  d.integer("samples", config.samples, "test samples", {.min = 1});
  d.names("modes", config.modes, evaluation_modes(),
          "how to evaluate; the first one decides what is best and when to stop. correct: no "
          "dropout, every sample. reference: dropout left on in standard attention, only full "
          "batches scored");
  d.integer("batch", config.batch, "samples in one batch of an evaluation", {.min = 1});
  d.integer("test_seed", config.test_seed,
            "seed of the test samples; independent of /seeds, so that runs are comparable",
            {.min = 0});
  d.reals("thresholds", config.thresholds,
          "err_seq values whose first undercutting step the report gives; fractions of samples",
          {.max = 1, .above = 0});
  d.boolean("greedy", config.greedy,
            "at the end, also score free generation (slow): the model goes on from its own tokens");
  d.field({.key = "task",
           .doc = "keys of /task with other values for the test samples, such as a greater length "
                  "than trained on; with a kind, a whole task",
           .read =
               [&config](const Json& value, const std::string& pointer, Problems& problems) {
                 if (expect_type(value.is_object(), "an object", value, pointer, problems)) {
                   config.task = value;
                 }
               },
           .write = [&config] { return config.task; },
           .schema = []() -> Json {
             return {{"type", "object"}};
           }});
  return d;
}

Description describe(SeedsConfig& config) {
  Description d;
  d.integer("weights", config.weights, "seed of the initial parameters", {.min = 0});
  d.integer("data", config.data, "seed of the training samples", {.min = 0});
  d.integer("train", config.train, "seed of dropout", {.min = 0});
  return d;
}

void validate(const TrainConfig& config, Problems& problems) {
  problems.require(config.betas.size() == 2, "/train/betas",
                   fmt::format("must be 2 numbers, but has {}", config.betas.size()));
  problems.require(config.batch % config.accumulate == 0, "/train/accumulate",
                   fmt::format("must divide /train/batch (accumulate {}, batch {})",
                               config.accumulate, config.batch));
  problems.require(config.warmup <= config.steps, "/train/warmup",
                   fmt::format("must be at most /train/steps (warmup {}, steps {})", config.warmup,
                               config.steps));
}

void validate(const EvaluateConfig& config, Problems& problems) {
  const std::set<std::string> distinct(config.modes.begin(), config.modes.end());
  problems.require(!config.modes.empty() && distinct.size() == config.modes.size(),
                   "/evaluate/modes", "must name at least one mode, and none twice");
  problems.require(!distinct.contains("reference") || config.samples >= config.batch,
                   "/evaluate/samples",
                   fmt::format("mode \"reference\" scores full batches only: must be at least "
                               "/evaluate/batch (samples {}, batch {})",
                               config.samples, config.batch));
}

}  // namespace mta
