// Checks of the model part of an experiment.
#include "lib/model/config.h"

#include "lib/core/document.h"

#include <gtest/gtest.h>

namespace mta {
namespace {

/// True when exactly `pointer` is found wrong, with a task of 32 tokens.
bool refused_at(const ModelConfig& config, const std::string& pointer) {
  Document document;
  Problems problems(document);
  validate(config, /*task_vocabulary=*/32, problems);
  return problems.concerns(pointer);
}

TEST(ModelConfig, DefaultsAreThePapersToyModel) {
  EXPECT_FALSE(refused_at({}, "/model"));
  EXPECT_EQ(ModelConfig{}.hidden(), 768);
}

TEST(ModelConfig, HeadsMustDivideTheWidthIntoEvenSizes) {
  ModelConfig config;
  config.heads = 3;
  EXPECT_TRUE(refused_at(config, "/model/heads"));
  config.heads = 256;  // head size 1
  EXPECT_TRUE(refused_at(config, "/model/heads"));
}

TEST(ModelConfig, VocabularyMustHoldTheTasks) {
  ModelConfig config;
  config.vocabulary = 31;
  EXPECT_TRUE(refused_at(config, "/model/vocabulary"));
  config.vocabulary = 32;
  EXPECT_FALSE(refused_at(config, "/model/vocabulary"));
}

TEST(ModelConfig, SurvivesWriting) {
  ModelConfig config, back;
  config.dim = 48;
  config.ffn_hidden = 100;
  config.tied_embeddings = false;
  Document document;
  Problems problems(document);
  describe(back).read(describe(config).write(), "/model", problems);
  EXPECT_TRUE(problems.empty());
  EXPECT_EQ(describe(back).write(), describe(config).write());
}

}  // namespace
}  // namespace mta
