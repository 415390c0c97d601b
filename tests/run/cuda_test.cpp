// Whole runs on a GPU: the same course as on the CPU, nothing lost when the host runs ahead.
#include "lib/core/error.h"
#include "lib/nn/safetensors.h"
#include "lib/run/train.h"
#include "lib/train/device.h"
#include "lib/train/json_lines.h"
#include "tests/support/scratch_folder.h"
#include "tests/support/tiny_experiment.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <gtest/gtest.h>

#include <cmath>
#include <csignal>
#include <filesystem>
#include <map>
#include <ostream>
#include <streambuf>
#include <string>
#include <utility>
#include <vector>

namespace mta {
namespace {

class CudaRun : public ::testing::Test {
 protected:
  void SetUp() override {
    if (devices().size() < 2) GTEST_SKIP() << "no CUDA device";
  }

  RunReport train(const std::string& name, const std::string& device,
                  const std::vector<std::string>& settings, bool resume = false) {
    return run_training(check::tiny_experiment(settings),
                        {.directory = scratch_.path() / name, .resume = resume, .device = device})
        .report;
  }

  std::vector<Json> metrics(const std::string& name) {
    return read_json_lines(scratch_.path() / name / "metrics.jsonl");
  }

  check::ScratchFolder scratch_;
};

TEST_F(CudaRun, TakesTheSameCourseAsOnTheCpu) {
  const std::vector<std::string> settings = {"/train/steps=20", "/train/accumulate=2",
                                             "/train/clip=0.5", "/evaluate/every=null"};
  train("cpu", "cpu", settings);
  train("gpu", "cuda:0", settings);
  const std::vector<Json> cpu = metrics("cpu"), gpu = metrics("gpu");
  ASSERT_EQ(gpu.size(), 4U);
  for (std::size_t i = 0; i < gpu.size(); ++i) {
    SCOPED_TRACE(gpu[i].dump());
    EXPECT_EQ(gpu[i].at("step"), cpu[i].at("step"));
    const double loss = cpu[i].at("loss").get<double>();
    EXPECT_NEAR(gpu[i].at("loss").get<double>(), loss, 1e-3 * loss);
    const double norm = cpu[i].at("grad_norm").get<double>();
    EXPECT_NEAR(gpu[i].at("grad_norm").get<double>(), norm, 1e-2 * norm);
  }
}

TEST_F(CudaRun, FindsBlocksInBothPrecisions) {
  for (const char* precision : {"fp32", "bf16"}) {
    const RunReport report =
        train(precision, "auto", {std::string("/train/precision=") + precision});
    EXPECT_LT(*report.final_scores->evaluations[0].scores.err_seq, 0.05) << precision;
    EXPECT_EQ(report.provenance.device, "cuda:0");
    EXPECT_TRUE(report.provenance.driver.has_value());
    EXPECT_GT(*report.timing.peak_memory_bytes, 0);
    EXPECT_GT(*report.timing.ms_per_step, 0);
  }
}

TEST_F(CudaRun, NamesTheFirstBadStepAlthoughItLooksLater) {
  try {
    train("nan", "cuda:0", {"/train/steps=50", "/train/log_every=50", "/train/lr=1e38"});
    FAIL() << "trained on";
  } catch (const NumericError& error) {
    EXPECT_EQ(std::string(error.what()).rfind("step 2: ", 0), 0U) << error.what();
  }
}

TEST_F(CudaRun, GoesOnFromACheckpoint) {
  const std::vector<std::string> settings = {"/train/steps=100", "/evaluate/every=50",
                                             "/train/checkpoint_every=30",
                                             "/model/attention_dropout=0.1"};
  train("whole", "cuda:0", settings);
  // As if killed after the last checkpoint but before its report.
  std::filesystem::remove(scratch_.path() / "whole" / "report.json");
  const RunReport report = train("whole", "cuda:0", settings, true);
  EXPECT_EQ(report.status, RunStatus::Done);
  EXPECT_EQ(report.steps, 100);
  EXPECT_EQ(metrics("whole").size(), 20U);
}

/// All that a run leaves except times.
struct Course {
  std::vector<std::string> lines;
  std::map<std::string, at::Tensor> tensors;
};

Course course_of(const std::filesystem::path& folder) {
  Course course;
  for (const char* file : {"metrics.jsonl", "evaluations.jsonl"}) {
    for (Json line : read_json_lines(folder / file)) {
      for (const char* time : {"tokens_per_s", "ms_per_step", "elapsed_s"}) line.erase(time);
      course.lines.push_back(line.dump());
    }
  }
  for (const char* file : {"model.safetensors", "optimizer.safetensors"}) {
    course.tensors.merge(read_safetensors(folder / "checkpoint" / file).tensors);
  }
  return course;
}

void expect_same_bits(const Course& found, const Course& wanted) {
  EXPECT_EQ(found.lines, wanted.lines);
  ASSERT_EQ(found.tensors.size(), wanted.tensors.size());
  for (const auto& [name, tensor] : wanted.tensors) {
    EXPECT_TRUE(at::equal(found.tensors.at(name), tensor)) << name;
  }
}

const std::vector<std::string> kBits = {"/model/layers=2",
                                        "/train/steps=60",
                                        "/train/checkpoint_every=25",
                                        "/evaluate/every=20",
                                        "/evaluate/modes=[\"correct\", \"reference\"]",
                                        "/model/attention_dropout=0.1",
                                        "/train/deterministic=true"};

std::vector<std::string> with(std::vector<std::string> settings,
                              const std::vector<std::string>& more) {
  settings.insert(settings.end(), more.begin(), more.end());
  return settings;
}

TEST_F(CudaRun, ReplayedUpdatesHaveTheBitsOfPlainOnes) {
  for (const char* variant : {"standard", "kq_before_only", "multi_token"}) {
    // Without parts of a batch to add up, bf16 gradients stay bf16.
    for (const auto& [precision, parts] :
         {std::pair("fp32", "2"), std::pair("bf16", "2"), std::pair("bf16", "1")}) {
      SCOPED_TRACE(std::string(variant) + " in " + precision + ", " + parts + " parts");
      const std::vector<std::string> settings =
          with(kBits, {std::string("/attention={\"variant\": \"") + variant + "\"}",
                       std::string("/train/precision=") + precision,
                       std::string("/train/accumulate=") + parts});
      const std::string name = std::string(variant) + precision + parts;
      const RunReport replayed = train(name + "on", "cuda:0", with(settings, {"/train/graph=on"}));
      const RunReport plain = train(name + "off", "cuda:0", with(settings, {"/train/graph=off"}));
      EXPECT_TRUE(replayed.timing.step->captured);
      EXPECT_EQ(replayed.timing.step->replayed, 57);
      EXPECT_EQ(replayed.timing.step->plain, 3);
      EXPECT_EQ(replayed.timing.step->reason, "");
      EXPECT_FALSE(plain.timing.step->captured);
      EXPECT_EQ(plain.timing.step->reason, "/train/graph is \"off\"");
      expect_same_bits(course_of(scratch_.path() / (name + "on")),
                       course_of(scratch_.path() / (name + "off")));
    }
  }
}

TEST_F(CudaRun, RecomputedLayersHaveTheBitsOfKeptOnesInAGraphToo) {
  for (const char* variant : {"standard", "kq_before_only", "multi_token"}) {
    for (const auto& [precision, parts] : {std::pair("fp32", "2"), std::pair("bf16", "1")}) {
      SCOPED_TRACE(std::string(variant) + " in " + precision);
      const bool flash = std::string(variant) == "standard";  // draws no mask again
      const std::vector<std::string> settings =
          with(kBits, {std::string("/attention={\"variant\": \"") + variant + "\"}",
                       std::string("/model/attention_dropout=") + (flash ? "0" : "0.1"),
                       std::string("/train/precision=") + precision,
                       std::string("/train/accumulate=") + parts});
      const std::string name = std::string(variant) + precision;
      train(name + "kept", "cuda:0", settings);
      for (const char* graph : {"on", "off"}) {
        const RunReport report = train(
            name + graph, "cuda:0",
            with(settings, {"/train/recompute_layers=2", std::string("/train/graph=") + graph}));
        EXPECT_EQ(report.timing.step->captured, std::string(graph) == "on");
        expect_same_bits(course_of(scratch_.path() / (name + graph)),
                         course_of(scratch_.path() / (name + "kept")));
      }
    }
  }
}

TEST_F(CudaRun, RecomputationTakesLessMemory) {
  const auto peak = [&](const std::string& name, const std::string& layers) {
    const at::Device device = resolve_device("cuda:0");
    at::empty({1}, at::TensorOptions(device));  // before its first tensor it knows no device
    at::getDeviceAllocator(device.type())->resetPeakStats(device.index());
    return *train(name, "cuda:0",
                  {"/model/layers=4", "/train/steps=6", "/train/batch=512", "/evaluate/every=null",
                   "/train/recompute_layers=" + layers})
                .timing.peak_memory_bytes;
  };
  const std::int64_t again = peak("again", "4"), kept = peak("kept", "0");
  EXPECT_LT(again, kept);
}

TEST_F(CudaRun, DropoutThatCannotBeDrawnAgainIsRefused) {
  try {
    train("flash", "cuda:0",
          with(kBits, {"/attention={\"variant\": \"standard\"}", "/train/precision=bf16",
                       "/train/recompute_layers=1"}));
    FAIL() << "accepted";
  } catch (const UserError& error) {
    EXPECT_EQ(std::string(error.what())
                  .rfind("/train/recompute_layers: 1 has layer 0, where flash attention's", 0),
              0U)
        << error.what();
  }
}

/// Interrupts the run when it reports its first evaluation.
class InterruptingLog final : public std::streambuf {
 protected:
  std::streamsize xsputn(const char* text, std::streamsize size) override {
    seen_.append(text, static_cast<std::size_t>(size));
    if (!done_ && seen_.find("20/60") != std::string::npos) {
      done_ = true;
      std::raise(SIGINT);
    }
    return size;
  }
  int overflow(int letter) override {
    const auto text = static_cast<char>(letter);
    xsputn(&text, 1);
    return letter;
  }

 private:
  std::string seen_;
  bool done_ = false;
};

TEST_F(CudaRun, AResumedRunHasTheBitsOfAWholeOne) {
  for (const char* precision : {"fp32", "bf16"}) {
    SCOPED_TRACE(precision);
    const std::vector<std::string> settings =
        with(kBits, {std::string("/train/precision=") + precision});
    const std::string name = precision;
    train(name + "whole", "cuda:0", settings);
    const std::filesystem::path folder = scratch_.path() / (name + "part");
    InterruptingLog interrupt;
    std::ostream log(&interrupt);
    const RunReport part =
        run_training(
            check::tiny_experiment(settings),
            {.directory = folder, .device = "cuda:0", .progress = ProgressKind::Plain, .log = &log})
            .report;
    ASSERT_EQ(part.status, RunStatus::Stopped);
    EXPECT_GT(part.steps, 20);
    EXPECT_LT(part.steps, 60);
    EXPECT_EQ(train(name + "part", "cuda:0", settings, true).status, RunStatus::Done);
    expect_same_bits(course_of(folder), course_of(scratch_.path() / (name + "whole")));
  }
}

/// Mean distance between the losses of two runs, step by step.
double distance(const std::vector<Json>& a, const std::vector<Json>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    sum += std::abs(a[i].at("loss").get<double>() - b.at(i).at("loss").get<double>());
  }
  return sum / static_cast<double>(a.size());
}

TEST_F(CudaRun, FusedAndComposedLossesAgreeWithinRounding) {
  const std::pair<const char*, const char*> variants[] = {
      {"kq_before_only", "0.1"}, {"multi_token", "0.1"}, {"standard", "0"}};
  for (const auto& [variant, dropout] : variants) {
    SCOPED_TRACE(variant);
    const auto losses = [&, v = std::string(variant), d = std::string(dropout)](
                            const std::string& precision, const std::string& path) {
      const std::string name = v + precision + path;
      const RunReport report =
          train(name, "cuda:0",
                {"/model/layers=2", "/train/steps=200", "/train/log_every=1", "/train/lr=1e-3",
                 "/evaluate/every=null", "/model/attention_dropout=" + d,
                 "/attention={\"variant\": \"" + v + "\", \"path\": \"" + path + "\"}",
                 "/train/precision=" + precision});
      EXPECT_EQ(report.attention_path[0].path, path);
      return metrics(name);
    };
    const std::vector<Json> exact = losses("fp32", "composed");
    const std::vector<Json> composed = losses("bf16", "composed"), fused = losses("bf16", "fused");
    ASSERT_EQ(exact.size(), 200U);
    EXPECT_LE(distance(fused, exact), 2 * distance(composed, exact) + 1e-3);
    EXPECT_GT(distance(fused, exact), 0);
  }
}

}  // namespace
}  // namespace mta
