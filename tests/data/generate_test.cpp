// Data sets: different contexts, the same bytes for the same request, and an end where there is
// one.
#include "lib/data/generate.h"

#include "lib/core/rng.h"
#include "lib/data/jsonl.h"
#include "tests/support/task_of.h"

#include <gtest/gtest.h>

#include <set>
#include <sstream>

namespace mta {
namespace {

using check::task_of;

std::string generated(const Task& task, const GenerateRequest& request) {
  std::ostringstream stream;
  generate(task, request, stream);
  return stream.str();
}

std::set<std::string> contexts_of(const std::string& jsonl) {
  std::istringstream stream(jsonl);
  SampleReader reader(stream, "samples");
  std::set<std::string> contexts;
  for (Sample sample; reader.next(sample);) {
    EXPECT_TRUE(contexts.insert(sample.src.substr(0, sample.src.find('#'))).second);
  }
  return contexts;
}

TEST(Generate, ContextsDifferEvenInATinyTask) {
  // Four letters in four blocks of one: 24 orders, about 21 of them in the training split.
  const auto task =
      task_of("block_finding", {"alphabet=4", "block_length=1", "query_length=1", "length=10"});
  const std::string train = generated(*task, {.split = Split::Train, .count = 20, .seed = 1});
  const auto trained = contexts_of(train);
  EXPECT_EQ(trained.size(), 20u);
  for (const std::string& context :
       contexts_of(generated(*task, {.split = Split::Test, .count = 1, .seed = 9}))) {
    EXPECT_FALSE(trained.contains(context));
  }
  try {
    generated(*task, {.split = Split::Train, .count = 25, .seed = 1});
    FAIL() << "there are 24 contexts";
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("different contexts found"), std::string::npos);
  }
}

TEST(Generate, SameRequestSameBytes) {
  const auto task = task_of("block_finding", {});
  const std::string bytes = generated(*task, {.split = Split::Test, .count = 1000, .seed = 42});
  // FNV-1a (32 bit) of the 1,000 lines, made by this test when generation was written.
  EXPECT_EQ(stream_of(bytes), 0xdaf4dfdfu) << std::hex << stream_of(bytes);
  EXPECT_NE(bytes, generated(*task, {.split = Split::Test, .count = 1000, .seed = 43}));
  EXPECT_TRUE(bytes.starts_with(generated(*task, {.split = Split::Test, .count = 10, .seed = 42})));
}

TEST(Generate, AStreamThatFailsIsAnError) {
  std::ostringstream stream;
  stream.setstate(std::ios::badbit);
  EXPECT_THROW(generate(*task_of("block_finding", {}), {.count = 1}, stream), std::runtime_error);
}

}  // namespace
}  // namespace mta
