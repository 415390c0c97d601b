// Whole runs on a GPU: the same course as on the CPU, nothing lost when the host runs ahead.
#include "lib/core/error.h"
#include "lib/run/train.h"
#include "lib/train/device.h"
#include "lib/train/json_lines.h"
#include "tests/support/scratch_folder.h"
#include "tests/support/tiny_experiment.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
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

}  // namespace
}  // namespace mta
