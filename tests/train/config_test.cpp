// Keys, defaults and checks of "train", "evaluate" and "seeds".
#include "lib/train/config.h"

#include "lib/core/error.h"

#include <gtest/gtest.h>

namespace mta {
namespace {

/// Every problem of `settings` ("steps=0") read as the part "train", one a line.
std::string problems_of_train(const std::vector<std::string>& settings) {
  const Document document = document_of(settings);
  Problems problems(document);
  TrainConfig config;
  describe(config).read(document.root, "/train", problems);
  validate(config, problems);
  try {
    problems.raise();
  } catch (const UserError& error) {
    std::string lines;
    for (const Problem& problem : error.problems()) lines += to_string(problem) + '\n';
    return lines;
  }
  return {};
}

std::string problems_of_evaluate(const std::vector<std::string>& settings) {
  const Document document = document_of(settings);
  Problems problems(document);
  EvaluateConfig config;
  describe(config).read(document.root, "/evaluate", problems);
  validate(config, problems);
  try {
    problems.raise();
  } catch (const UserError& error) {
    return to_string(error.problems().front());
  }
  return {};
}

TEST(TrainConfig, DefaultsAreValid) {
  EXPECT_EQ(problems_of_train({}), "");
  EXPECT_EQ(problems_of_evaluate({}), "");
}

TEST(TrainConfig, ReadsEveryKeyThatItWrites) {
  TrainConfig written;
  written.steps = 1200;
  written.lr = 4e-3;
  written.clip.reset();
  written.schedule = Schedule::WarmupStableDecay;
  written.stop.seconds = 60;
  written.precision = Precision::Bf16;
  written.checkpoint_every = 100;
  written.threads = 1;
  const Json json = describe(written).write();

  Document document{.root = json, .origins = {}};
  Problems problems(document);
  TrainConfig read;
  describe(read).read(json, "/train", problems);
  EXPECT_TRUE(problems.empty());
  EXPECT_EQ(describe(read).write(), json);
  EXPECT_EQ(json.at("schedule"), "warmup_stable_decay");
  EXPECT_EQ(json.at("clip"), nullptr);
  EXPECT_EQ(json.at("stop"), Json({{"seconds", 60.0}, {"err_seq", nullptr}}));
}

TEST(TrainConfig, NamesWhatIsWrong) {
  EXPECT_NE(problems_of_train({"betas=[0.9]"}).find("must be 2 numbers, but has 1"),
            std::string::npos);
  EXPECT_NE(problems_of_train({"batch=64", "accumulate=3"}).find("accumulate 3, batch 64"),
            std::string::npos);
  EXPECT_NE(problems_of_train({"steps=10", "warmup=11"}).find("warmup 11, steps 10"),
            std::string::npos);
  EXPECT_NE(problems_of_train({"schedule=tail"}).find("warmup_stable_decay"), std::string::npos);
  EXPECT_NE(problems_of_train({"betas=[0.9,1.0]"}), "");
  EXPECT_NE(problems_of_train({"lr=0"}), "");
  EXPECT_NE(problems_of_train({"stp=1"}).find("unknown key"), std::string::npos);
}

TEST(TrainConfig, ReportsAllProblemsAtOnce) {
  const std::string lines = problems_of_train({"steps=0", "lr=-1", "betas=[0.9]"});
  EXPECT_NE(lines.find("steps"), std::string::npos);
  EXPECT_NE(lines.find("lr"), std::string::npos);
  EXPECT_NE(lines.find("betas"), std::string::npos);
}

TEST(EvaluateConfig, NamesWhatIsWrong) {
  EXPECT_NE(problems_of_evaluate({R"(modes=["correct","correct"])"}), "");
  EXPECT_NE(problems_of_evaluate({"modes=[]"}), "");
  EXPECT_NE(problems_of_evaluate({R"(modes=["wrong"])"}).find("reference"), std::string::npos);
  EXPECT_NE(problems_of_evaluate({R"(modes=["reference"])", "samples=63"}).find("samples 63"),
            std::string::npos);
  EXPECT_EQ(problems_of_evaluate({R"(modes=["correct","reference"])", "samples=64"}), "");
}

TEST(Schema, DocumentsEveryKey) {
  TrainConfig train;
  EvaluateConfig evaluate;
  SeedsConfig seeds;
  for (const Description& d : {describe(train), describe(evaluate), describe(seeds)}) {
    for (const Description::Field& field : d.fields()) EXPECT_NE(field.doc, "") << field.key;
  }
}

}  // namespace
}  // namespace mta
