// What the program says to wrong requests: one clear line each, on stderr, with the right exit
// code.
#include "tests/cli/program.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <string>
#include <utility>
#include <vector>

namespace mta::check {
namespace {

constexpr const char* kTiny = R"({
  "task": {"kind": "block_finding", "block_length": 2, "query_length": 1, "alphabet": 10, "length": 14},
  "model": {"dim": 32, "layers": 1, "heads": 4, "ffn_hidden": 64, "attention_dropout": 0},
  "attention": {"variant": "kq_before_only", "kq_before": {"query": 2, "key": 3}},
  "train": {"steps": 20, "batch": 8, "lr": 8e-3, "log_every": 5},
  "evaluate": {"every": 10, "samples": 32}
})";

/// Every line of `text` starts with "mta: error: " or is an indented hint.
bool only_error_lines(const std::string& text) {
  std::size_t start = 0;
  while (start < text.size()) {
    const std::size_t end = text.find('\n', start);
    const std::string line = text.substr(start, end - start);
    if (!line.starts_with("mta: error: ") && !line.starts_with("  hint: ")) return false;
    start = end == std::string::npos ? text.size() : end + 1;
  }
  return !text.empty();
}

void expect_refused(const std::string& command, const std::string& part, const WorkFolder& folder) {
  SCOPED_TRACE(command);
  const Outcome outcome = shell(command, folder.path());
  EXPECT_EQ(outcome.code, 2) << outcome.err;
  EXPECT_EQ(outcome.out, "");
  EXPECT_TRUE(only_error_lines(outcome.err)) << outcome.err;
  EXPECT_NE(outcome.err.find(part), std::string::npos) << "expected \"" << part << "\" in:\n"
                                                       << outcome.err;
}

/// Of the processes that have ended: a busy machine does not change it.
double cpu_seconds_of_children() {
  rusage usage{};
  getrusage(RUSAGE_CHILDREN, &usage);
  constexpr double kMicro = 1e-6;
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         kMicro * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

TEST(Messages, WrongCommandLinesAreRefusedWithTheNearestName) {
  const WorkFolder folder;
  expect_refused("mta", "subcommand is required", folder);
  expect_refused("mta trian x", "unknown command \"trian\"; did you mean \"train\"?", folder);
  expect_refused("mta train", "experiment is required", folder);
  expect_refused("mta list --jsn", "--jsn", folder);
  expect_refused("mta list kernel", "did you mean \"kernels\"?", folder);
  expect_refused("mta generate block_findin --count 1", "did you mean \"block_finding\"?", folder);
  expect_refused("mta generate block_finding --count 1 --split tran", "did you mean \"train\"?",
                 folder);
}

TEST(Messages, AllProblemsOfAnExperimentAreReportedAtOnceAndNothingIsWritten) {
  const WorkFolder folder;
  folder.write("e.json", kTiny);
  folder.write("bad.json", R"({
    "extends": "e.json", "trian": {},
    "model": {"heads": 3}, "attention": {"variant": "multi_tokn"}, "train": {"lrr": 1, "steps": 0}})");
  const Outcome outcome =
      shell("mta train bad.json --out run --set /train/batch=-1", folder.path());
  EXPECT_EQ(outcome.code, 2);
  for (const char* line : {
           "mta: error: bad.json: /trian: unknown key \"trian\"; did you mean \"train\"?",
           "mta: error: bad.json: /attention/variant: unknown",
           "did you mean \"multi_token\"?",
           "mta: error: bad.json: /train/lrr: unknown key \"lrr\"; did you mean \"lr\"?",
           "mta: error: bad.json: /train/steps: must be at least 1, but is 0",
           "mta: error: --set /train/batch=-1: must be at least 1, but is -1",
       }) {
    EXPECT_NE(outcome.err.find(line), std::string::npos) << "missing: " << line << "\nin:\n"
                                                         << outcome.err;
  }
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "run"));
}

TEST(Messages, ImpossibleTasksAreRefusedWithTheArithmetic) {
  const WorkFolder folder;
  expect_refused("mta generate block_finding --count 1 --set block_length=26", "26!/0! = 4.03",
                 folder);
  expect_refused("mta generate block_finding --count 1 --set query_length=6 --set block_length=5",
                 "query_length", folder);
  expect_refused("mta generate block_finding --count 1 --set length=5", "length", folder);
}

TEST(Messages, WhatCannotBeIsRefusedWithinASecond) {
  const WorkFolder folder;
  const double before = cpu_seconds_of_children();
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"block_finding --set alphabet=5 --set block_length=4", "120 blocks of 4 letters out of 5"},
      {"needle --set length=80", "must be at least 90 = 60 (4 x 15 of needles) + 7 (answer)"},
      {"needle --set preset=niah_multikey_2 --set length=4000000", "different keys, but there are"},
      {"needle --set needles=500 --set length=100000", "needs up to 500 different keys"},
      {"associative_recall --set pairs=20 --set length=64", "at least 4 x pairs = 80"},
      {"selective_copying --set letters=9 --set length=8", "(letters 9, length 8)"},
      {"induction --set length=4 --set prefix=3 --set answer=2", "prefix + answer = 3 + 2"},
      {"story --set length=50", "a long story of 12 facts"},
  };
  for (const auto& [arguments, part] : cases) {
    expect_refused(std::string("mta generate --count 1 ") + arguments, part, folder);
  }
  EXPECT_LT(cpu_seconds_of_children() - before, 1.0 * static_cast<double>(cases.size()));
}

TEST(Messages, FormatsOfSamplesAreKnown) {
  const WorkFolder folder;
  expect_refused("mta generate needle --count 1 --format rulr", "did you mean \"ruler\"?", folder);
  expect_refused("mta generate story --count 1 --format ruler", "is for the task \"needle\"",
                 folder);
  const Outcome ruler = shell("mta generate needle --set length=120 --count 2 --format ruler");
  EXPECT_EQ(ruler.code, 0);
  EXPECT_TRUE(ruler.out.starts_with("{\"index\":0,\"input\":\"")) << ruler.out;
}

TEST(Messages, MissingFilesAndRunsAreNamed) {
  const WorkFolder folder;
  expect_refused("mta train none.json --out run", "none.json: cannot be read: No such file",
                 folder);
  expect_refused("mta eval none", "none", folder);
  expect_refused("mta decode none --prompt a", "none", folder);
  expect_refused("mta verify none.safetensors", "none.safetensors", folder);
}

TEST(Messages, AnUnknownDeviceIsRefused) {
  const WorkFolder folder;
  folder.write("e.json", kTiny);
  expect_refused("mta train e.json --out run --device gpu", "--device", folder);
}

TEST(Messages, AFullDiskIsAFailureNotASuccess) {
  const Outcome outcome = shell("mta list > /dev/full");
  EXPECT_EQ(outcome.code, 1);
  EXPECT_NE(outcome.err.find("cannot be written"), std::string::npos) << outcome.err;
}

TEST(Messages, HelpAndVersionAreResults) {
  const Outcome help = shell("mta --help");
  EXPECT_EQ(help.code, 0);
  for (const char* command : {"list", "schema", "generate", "train", "eval", "verify", "decode"}) {
    EXPECT_NE(help.out.find(command), std::string::npos) << command;
  }
  EXPECT_EQ(shell("mta --version").code, 0);
}

}  // namespace
}  // namespace mta::check
