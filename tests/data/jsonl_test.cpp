// Samples as lines of JSON: what is written is read again, and errors name file and line.
#include "lib/data/jsonl.h"

#include "lib/text/hash.h"
#include "tests/support/scratch_folder.h"
#include "tests/support/task_of.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

namespace mta {
namespace {

using check::task_of;

class JsonlFiles : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& text) const {
    std::filesystem::path file = scratch_.path() / "samples.jsonl";
    std::ofstream(file) << text;
    return file;
  }

  /// The message for a file with this content, without the folder.
  std::string refusal(const std::string& text) const {
    try {
      read_samples(write(text), *task_of("block_finding", {}));
      return "(accepted)";
    } catch (const UserError& error) {
      const std::string message = error.what(), folder = scratch_.path().string() + "/";
      EXPECT_TRUE(message.starts_with(folder)) << message;
      return message.substr(folder.size());
    }
  }

  check::ScratchFolder scratch_;
};

TEST(Jsonl, SamplesSurviveWritingAndReading) {
  const auto task = task_of("block_finding", {});
  std::stringstream stream;
  for (std::uint64_t i = 0; i < 20; ++i) stream << to_jsonl(task->sample(1, Split::Test, i));
  SampleReader reader(stream, "stream");
  Sample read;
  for (std::uint64_t i = 0; i < 20; ++i) {
    const Sample made = task->sample(1, Split::Test, i);
    ASSERT_TRUE(reader.next(read));
    EXPECT_EQ(read.src, made.src);
    EXPECT_EQ(read.tgt, made.tgt);
    EXPECT_EQ(read.facts, made.facts);
    EXPECT_EQ(read.context, hash_text(made.src));
  }
  EXPECT_EQ(reader.place(), "stream:20");
  EXPECT_FALSE(reader.next(read));
}

TEST(Jsonl, KeysStandInOrder) {
  Sample sample;
  sample.src = "ab#a";
  sample.tgt = "ab";
  sample.facts = {{"z", 1}, {"a", {2, 3}}};
  EXPECT_EQ(to_jsonl(sample), "{\"src\":\"ab#a\",\"tgt\":\"ab\",\"z\":1,\"a\":[2,3]}\n");
}

TEST(Jsonl, FilesOfTheReferenceLoad) {
  // tests/golden/data/README.md says where they come from.
  for (const auto& [file, settings, blocks] :
       {std::tuple{"tests/golden/data/blocks_n5_l2.jsonl", std::vector<std::string>{}, 52},
        std::tuple{"tests/golden/data/blocks_n8_l2.jsonl",
                   std::vector<std::string>{"block_length=8", "truncation=reference"}, 35}}) {
    SCOPED_TRACE(file);
    const auto task = task_of("block_finding", settings);
    const auto samples = read_samples(file, *task);
    ASSERT_EQ(samples.size(), 50u);
    const Sample ours = task->sample(1, Split::Test, 0);
    for (const Sample& sample : samples) {
      EXPECT_EQ(sample.src.size(), ours.src.size());
      EXPECT_EQ(sample.src.find('#'), ours.src.find('#'));
      EXPECT_EQ(std::count(sample.src.begin(), sample.src.end(), '.') + 1, blocks);
      EXPECT_TRUE(sample.slices.empty()) << "the reference writes no block_position";
      const Encoded encoded = task->encode(sample);
      EXPECT_EQ(encoded.tokens.size(), 321u);
      EXPECT_EQ(task->decode(encoded.tokens), "<bos>" + sample.src + sample.tgt + "<eos>");
      const Json line = Json::parse(to_jsonl(sample));
      EXPECT_EQ(line, Json({{"src", sample.src}, {"tgt", sample.tgt}}));
    }
  }
}

TEST_F(JsonlFiles, SlicesComeFromFacts) {
  const auto file = write("{\"src\": \"ab#a\", \"tgt\": \"ab\", \"block_position\": 17}\n");
  const auto samples = read_samples(file, *task_of("block_finding", {}));
  EXPECT_EQ(samples.at(0).slices, (Slices{{"block_position", "17"}}));
}

TEST_F(JsonlFiles, ErrorsNameTheLine) {
  const std::string good = "{\"src\": \"ab#a\", \"tgt\": \"ab\"}\n";
  EXPECT_EQ(refusal(good + "\n" + good + "{\"src\": \"ab#a\"}\n"), "samples.jsonl:4: no \"tgt\"");
  EXPECT_EQ(refusal("{\"src\": 3, \"tgt\": \"ab\"}"),
            "samples.jsonl:1: \"src\" must be a string, but is 3");
  EXPECT_EQ(refusal(good + "[1]\n"), "samples.jsonl:2: must be an object, but is [1]");
  EXPECT_EQ(refusal(good + "{\"src\": \"ab#a\", \"tgt\": \"aB\"}\n"),
            "samples.jsonl:2: tgt character 2: 'B' has no token (known: "
            "abcdefghijklmnopqrstuvwxyz.#_)");
  EXPECT_TRUE(refusal(good + good + "{\"src\": \"ab").starts_with("samples.jsonl:3: "));
  EXPECT_TRUE(
      refusal("{\"src\": \"a\", \"src\": \"b\", \"tgt\": \"c\"}").starts_with("samples.jsonl:1: "));
  EXPECT_EQ(refusal("\n\n"), "samples.jsonl: holds no samples");
}

TEST_F(JsonlFiles, AFileThatIsNotThereIsNamed) {
  const auto file = scratch_.path() / "none.jsonl";
  try {
    read_samples(file, *task_of("block_finding", {}));
    FAIL() << "accepted";
  } catch (const UserError& error) {
    EXPECT_EQ(error.what(), file.string() + ": cannot be read");
  }
}

}  // namespace
}  // namespace mta
