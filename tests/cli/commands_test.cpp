// The commands as a user strings them together: train, kill, resume, eval, decode, table; generate;
// verify.
#include "lib/core/json.h"
#include "tests/cli/program.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <string>

namespace mta::check {
namespace {

constexpr const char* kExperiment = R"({
  "task": {"kind": "block_finding", "block_length": 2, "query_length": 1, "alphabet": 10, "length": 14},
  "model": {"dim": 32, "layers": 1, "heads": 4, "ffn_hidden": 64},
  "attention": {"variant": "kq_before_only", "kq_before": {"query": 2, "key": 3}},
  "train": {"steps": 120, "batch": 16, "lr": 8e-3, "log_every": 7, "checkpoint_every": 10, "threads": 1},
  "evaluate": {"every": 30, "samples": 64, "modes": ["correct", "reference"]}
})";

Outcome expect_done(const std::string& command, const WorkFolder& folder) {
  Outcome outcome = shell(command, folder.path());
  EXPECT_EQ(outcome.code, 0) << command << "\n" << outcome.err;
  return outcome;
}

/// The steps of a file of JSON lines.
std::vector<int> steps_in(const std::string& lines) {
  std::vector<int> steps;
  std::size_t start = 0;
  while (start < lines.size()) {
    const std::size_t end = lines.find('\n', start);
    steps.push_back(Json::parse(lines.substr(start, end - start))["step"].get<int>());
    start = end + 1;
  }
  return steps;
}

Json expect_report(const WorkFolder& folder) {
  Json report = Json::parse(folder.read("run/report.json"));
  EXPECT_EQ(report["schema"], "mta.report/1");
  EXPECT_EQ(report["status"], "done");
  EXPECT_EQ(report["attention_path"][0], "fused");
  EXPECT_EQ(report["final"]["correct"]["scored"], 64);
  EXPECT_NE(
      report["provenance"]["command_line"].get<std::string>().find("mta train e.json --out run"),
      std::string::npos);
  return report;
}

/// The same samples again give the report's figures.
void expect_evaluation(const WorkFolder& folder, const Json& report) {
  const Json eval = Json::parse(expect_done("mta eval run --json --by block_position", folder).out);
  EXPECT_EQ(eval["err_seq"], report["final"]["correct"]["err_seq"]);
  std::int64_t counted = 0;
  for (const auto& [unused, slice] : eval["slices"]["block_position"].items()) {
    counted += slice["count"].get<std::int64_t>();
    EXPECT_LE(slice["interval"][0], slice["accuracy"]);
    EXPECT_GE(slice["interval"][1], slice["accuracy"]);
  }
  EXPECT_EQ(counted, 64);
  EXPECT_NE(expect_done("mta eval run --mode reference", folder).out.find("mode reference"),
            std::string::npos);
}

/// Samples from a file, scored and decoded.
void expect_samples_scored_and_decoded(const WorkFolder& folder) {
  expect_done(
      "mta generate block_finding --set block_length=2 --set query_length=1 --set alphabet=10 "
      "--set length=14 --split test --seed 5 --count 20 --out samples.jsonl",
      folder);
  const Json given =
      Json::parse(expect_done("mta eval run --data samples.jsonl --json", folder).out);
  EXPECT_EQ(given["scored"], 20);
  const Json greedy = Json::parse(
      expect_done("mta eval run --data samples.jsonl --decode greedy --json", folder).out);
  EXPECT_EQ(greedy["scored"], 20);
  const std::string samples = folder.read("samples.jsonl");
  const Json sample = Json::parse(samples.substr(0, samples.find('\n')));
  const Outcome decoded =
      expect_done("mta decode run --prompt '" + sample["src"].get<std::string>() + "'", folder);
  EXPECT_GE(decoded.out.size(), 2u);
}

TEST(Commands, TrainEvalDecodeTable) {
  const WorkFolder folder;
  folder.write("e.json", kExperiment);
  const Outcome train = expect_done("mta train e.json --out run --progress plain", folder);
  EXPECT_EQ(train.out, "run/report.json\n");
  EXPECT_NE(train.err.find("120/120"), std::string::npos) << "no progress in:\n" << train.err;

  expect_evaluation(folder, expect_report(folder));
  expect_samples_scored_and_decoded(folder);
  EXPECT_NE(expect_done("mta table run", folder).out.find("kq_before_only"), std::string::npos);
  EXPECT_NE(expect_done("mta train e.json --out run --resume", folder).err.find("complete"),
            std::string::npos);
}

TEST(Commands, AKilledRunGoesOnToTheSameBytes) {
  const WorkFolder folder;
  folder.write("e.json", kExperiment);
  expect_done("mta train e.json --out whole --progress none", folder);
  // kill -9 three times, at moments that differ from machine to machine.
  const std::string interrupted =
      "for pause in 0.5 0.8 1.1; do mta train e.json --out cut --resume --progress none & "
      "sleep $pause; kill -9 $(pgrep -P $$ -x mta) 2>/dev/null; wait; done 2>/dev/null; "
      "mta train e.json --out cut --resume --progress none";
  const Outcome outcome = shell(interrupted, folder.path());
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(folder.read("cut/checkpoint/model.safetensors"),
            folder.read("whole/checkpoint/model.safetensors"));
  EXPECT_EQ(steps_in(folder.read("cut/metrics.jsonl")),
            steps_in(folder.read("whole/metrics.jsonl")));
  EXPECT_EQ(folder.read("cut/evaluations.jsonl"), folder.read("whole/evaluations.jsonl"));
}

TEST(Commands, SamplesOfTheReferenceGeneratorAreScored) {
  const WorkFolder folder;
  folder.write("e.json", kExperiment);
  expect_done(
      "mta train e.json --out run --progress none --set /task/block_length=5 --set "
      "/task/query_length=2 --set /task/alphabet=26 --set /task/length=319 --set "
      "/train/steps=2 --set /evaluate/batch=8 --set /evaluate/samples=8",
      folder);
  const std::string data = std::filesystem::absolute("tests/golden/data").string();
  const Outcome files = shell("ls " + data + "/*n5*.jsonl | head -1");
  ASSERT_EQ(files.code, 0);
  const std::string file = files.out.substr(0, files.out.find('\n'));
  const Json scores = Json::parse(expect_done("mta eval run --json --data " + file, folder).out);
  EXPECT_GT(scores["scored"].get<int>(), 10);
  EXPECT_GT(scores["err_seq"].get<double>(), 0.5) << "two steps cannot have taught anything";
}

TEST(Commands, GenerateIsTheSameEverywhereAndKeepsTheSplitsApart) {
  const WorkFolder folder;
  const Outcome a = expect_done("mta generate block_finding --count 50 --seed 3", folder);
  EXPECT_EQ(a.out, expect_done("mta generate block_finding --count 50 --seed 3", folder).out);
  EXPECT_NE(a.out,
            expect_done("mta generate block_finding --count 50 --seed 3 --split test", folder).out);
  EXPECT_EQ(std::count(a.out.begin(), a.out.end(), '\n'), 50);
}

/// Swaps the first and the last value of a tensor in a safetensors file.
void spoil(const std::filesystem::path& from, const std::filesystem::path& to,
           const std::string& tensor) {
  std::ifstream in(from, std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(in)), {});
  std::uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof header);
  const Json entry = Json::parse(bytes.substr(sizeof header, header))[tensor];
  const auto begin = sizeof header + header + entry["data_offsets"][0].get<std::size_t>();
  const auto end = sizeof header + header + entry["data_offsets"][1].get<std::size_t>();
  std::swap_ranges(bytes.begin() + static_cast<std::ptrdiff_t>(begin),
                   bytes.begin() + static_cast<std::ptrdiff_t>(begin + sizeof(float)),
                   bytes.begin() + static_cast<std::ptrdiff_t>(end - sizeof(float)));
  std::ofstream(to, std::ios::binary) << bytes;
}

TEST(Commands, VerifyPassesGoldenVectorsAndFailsSpoiltOnes) {
  const WorkFolder folder;
  const std::filesystem::path golden = std::filesystem::absolute("tests/golden");
  for (const char* path : {"composed", "fused"}) {
    const Outcome good = expect_done("mta verify --path " + std::string(path) + " " +
                                         (golden / "full_mta.safetensors").string() + " " +
                                         (golden / "kq_pre_2x9.safetensors").string(),
                                     folder);
    EXPECT_NE(good.out.find("2 of 2 files pass"), std::string::npos) << good.out;
  }
  for (const char* tensor : {"param.mta_kernel", "param.wpsm.weight", "param.head_kernel"}) {
    spoil(golden / "full_mta.safetensors", folder.path() / "bad.safetensors", tensor);
    const Outcome bad = shell("mta verify bad.safetensors", folder.path());
    EXPECT_EQ(bad.code, 3) << tensor << "\n" << bad.out;
    EXPECT_NE(bad.out.find("FAIL"), std::string::npos);
  }
}

TEST(Commands, BenchAttentionReadsCasesAndReports) {
  const WorkFolder folder;
  folder.write("cases.json", R"([{"name": "tiny", "batch": 1, "heads": 2, "tokens": 30,
    "head_dim": 8, "attention": {"kq_before": {"query": 2, "key": 3}}}])");
  const std::string command = "mta bench attention --device cpu --turns 2 --case ";
  const Outcome table = expect_done(command + "cases.json --out report.json", folder);
  for (const char* path : {"standard", "fused", "composed"}) {
    EXPECT_NE(table.out.find(path), std::string::npos) << table.out;
  }
  const Json report = Json::parse(folder.read("report.json"));
  EXPECT_EQ(report["schema"], "mta.bench/1");
  EXPECT_EQ(report["cases"][0]["case"]["name"], "tiny");

  const Outcome unknown = shell(command + "full_mtb", folder.path());
  EXPECT_EQ(unknown.code, 2);
  EXPECT_NE(
      unknown.err.find("--case full_mtb: unknown case \"full_mtb\"; did you mean \"full_mta\"?"),
      std::string::npos)
      << unknown.err;
  EXPECT_EQ(shell("mta bench attention --set /train/steps=1", folder.path()).code, 2);
}

TEST(Commands, BenchAttentionTunesOnAGpuOnlyAndRefusesOtherFiles) {
  const WorkFolder folder;
  const auto expect_refusal = [&](const std::string& arguments, const std::string& message) {
    const Outcome outcome = shell("mta bench " + arguments, folder.path());
    EXPECT_EQ(outcome.code, 2) << arguments;
    EXPECT_EQ(outcome.err, "mta: error: " + message + "\n");
  };
  expect_refusal("attention --tune --device cpu --out plans.json",
                 "--tune: needs a GPU, and the device is \"cpu\": launch plans are those of the "
                 "CUDA kernels");
  expect_refusal("attention --tune --device cpu",
                 "--tune: needs --out FILE: the table that it writes");
  expect_refusal("tasks --tune --out plans.json", "--tune: is for mta bench attention");
  folder.write("plans.json", "{\"schema\": \"mta.launch_plans/1\", \"plans\": [");
  EXPECT_EQ(shell("mta bench attention --tune --device cpu --out plans.json", folder.path())
                .err.rfind("mta: error: plans.json: parse error at line 1", 0),
            0u);
}

TEST(Commands, BenchCardIsOfAGpuAndOfWhatIsBuiltIn) {
  const WorkFolder folder;
  folder.write("e.json", kExperiment);
  const auto expect_refusal = [&](const std::string& arguments, const std::string& message) {
    const Outcome outcome = shell("mta bench card --out card.json " + arguments, folder.path());
    EXPECT_EQ(outcome.code, 2) << arguments;
    EXPECT_EQ(outcome.err.substr(0, outcome.err.find('\n')), "mta: error: " + message);
  };
  expect_refusal("--device cpu", "mta bench card: measures a GPU, and the device is the CPU");
  expect_refusal("--case e.json",
                 "--case: mta bench card measures what is built in, so that cards compare");
  expect_refusal("--set /train/steps=1",
                 "--set: mta bench card measures what is built in, so that cards compare");
  expect_refusal("--context 5", "--context 5: is for mta bench decode, not for mta bench card");
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "card.json"));
}

}  // namespace
}  // namespace mta::check
