// Needles: every property of the records, with a solver that reads the text only.
#include "lib/core/files.h"
#include "tasks/split.h"
#include "tests/support/scratch_folder.h"
#include "tests/support/task_of.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <map>
#include <regex>
#include <set>
#include <sstream>

namespace mta {
namespace {

using check::refusal;
using check::task_of;
using Settings = std::vector<std::string>;

/// Key -> values, in the order of the text, read from the sentences; for both forms of needle:
/// "The special magic Oslo number is: 1." and "One of the special magic uuids for big-box is: 2."
std::map<std::string, std::vector<std::string>> read_needles(const std::string& text) {
  const std::string start = "special magic ", middle = " is: ";
  std::map<std::string, std::vector<std::string>> found;
  for (std::size_t at = text.find(start); at != std::string::npos; at = text.find(start, at)) {
    at += start.size();
    const std::size_t is = text.find(middle, at);
    const std::size_t stop = text.find('.', is);
    std::string key = text.substr(at, is - at);
    const bool ruler = key.starts_with("numbers for ") || key.starts_with("uuids for ");
    key = ruler ? key.substr(key.rfind(' ') + 1) : key.substr(0, key.find(" number"));
    found[key].push_back(text.substr(is + middle.size(), stop - is - middle.size()));
  }
  return found;
}

/// The answer that the text gives to its own question.
std::string solve(const std::string& src) {
  const std::size_t line = src.find('\n');
  const std::string question = src.substr(line + 1);
  auto needles = read_needles(src.substr(0, line));
  std::string names = question.substr(question.find(" for ") + 5);
  names = names.substr(0, names.find(" mentioned"));
  names = names.substr(0, names.find('?'));
  std::string answer;
  std::istringstream words(names);  // "A, B, and C", "A and B"
  for (std::string name; words >> name;) {
    if (name == "and") continue;
    if (name.back() == ',') name.pop_back();
    for (const std::string& value : needles[name]) answer += (answer.empty() ? "" : ", ") + value;
  }
  return answer;
}

std::size_t occurrences(const std::string& text, const std::string& word) {
  std::size_t count = 0;
  for (std::size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) {
    ++count;
  }
  return count;
}

/// The text without the needles and a space beside each.
std::string haystack_of(const Sample& sample) {
  std::string hay = sample.src.substr(0, sample.src.find('\n'));
  const Json& needles = sample.facts["needles"];
  for (auto needle = needles.rbegin(); needle != needles.rend(); ++needle) {
    const auto start = (*needle)["start"].get<std::size_t>();
    const std::size_t from = start > 0 ? start - 1 : 0;
    hay.erase(from, (*needle)["end"].get<std::size_t>() - start + 1);
  }
  return hay;
}

/// Recorded depths are the shares of haystack before the needles; where `asked_for` lists depths,
/// each needle stands within half a sentence of one of them.
void expect_depths(const Sample& sample, const std::vector<double>& asked_for) {
  const std::string hay = haystack_of(sample);
  const auto size = static_cast<double>(hay.size());
  std::size_t longest = 0, begin = 0;
  while (begin < hay.size()) {
    const std::size_t end = std::min(hay.find(". ", begin), hay.size() - 1) + 1;
    longest = std::max(longest, end - begin);
    begin = end + 1;
  }
  double before_all = 0;
  for (const Json& needle : sample.facts["needles"]) {
    const auto start = needle["start"].get<double>(), end = needle["end"].get<double>();
    const auto depth = needle["depth"].get<double>();
    EXPECT_NEAR(depth, (start - before_all) / size, 2 / size);
    before_all += end - start + 1;
    double nearest = asked_for.empty() ? 0 : 1;
    for (const double wanted : asked_for) nearest = std::min(nearest, std::abs(wanted - depth));
    EXPECT_LE(nearest * size, static_cast<double>(longest) / 2 + 1);
  }
}

void expect_properties(const Task& task, const Sample& sample, bool one_key,
                       const std::vector<double>& depths = {}) {
  SCOPED_TRACE(sample.src);
  EXPECT_EQ(solve(sample.src), sample.tgt);
  std::set<std::string> keys, values;
  std::size_t last_end = 0, asked = 0;
  for (const Json& needle : sample.facts["needles"]) {
    const auto key = needle["key"].get<std::string>(), value = needle["value"].get<std::string>();
    const auto start = needle["start"].get<std::size_t>(), end = needle["end"].get<std::size_t>();
    const std::string sentence = sample.src.substr(start, end - start);
    EXPECT_TRUE(sentence.ends_with(" is: " + value + ".")) << sentence;
    EXPECT_NE(sentence.find(key), std::string::npos) << sentence;
    EXPECT_TRUE(start == 0 || sample.src[start - 1] == ' ');
    EXPECT_GE(start, last_end) << "needles stand in the order of the text";
    last_end = end;
    EXPECT_TRUE(keys.insert(key).second || one_key) << key;
    EXPECT_TRUE(values.insert(value).second) << value;
    EXPECT_EQ(occurrences(sample.src, value), 1u) << value;
    const std::size_t mentions = one_key ? 5 : needle["asked"].get<bool>() ? 2 : 1;
    EXPECT_EQ(occurrences(sample.src, key), mentions) << key;
    asked += needle["asked"].get<bool>() ? 1u : 0u;
  }
  expect_depths(sample, depths);
  std::string joined;
  for (const Json& answer : sample.facts["answers"]) {
    joined += (joined.empty() ? "" : ", ") + answer.get<std::string>();
  }
  EXPECT_EQ(joined, sample.tgt);
  EXPECT_EQ(sample.facts["answers"].size(), asked);
  const Encoded encoded = task.encode(sample);
  EXPECT_EQ(sample.facts["length"], encoded.tokens.size());
  EXPECT_EQ(task.decode(task.encode_prompt(sample.src)), "<bos>" + sample.src);
  EXPECT_LE(static_cast<std::int64_t>(encoded.tokens.size()), task.max_tokens());
}

const std::vector<std::string> kPresets = {"multi_needle",    "niah_single_1",   "niah_single_2",
                                           "niah_single_3",   "niah_multikey_1", "niah_multikey_2",
                                           "niah_multikey_3", "niah_multivalue", "niah_multiquery"};

/// round(linspace(0, 100, 40)) percent.
std::vector<double> grid_depths() {
  std::vector<double> depths;
  for (int k = 0; k < 40; ++k) depths.push_back(std::round(100.0 * k / 39) / 100);
  return depths;
}

struct Size {
  std::string length, tokenizer;
  std::uint64_t samples;
};

/// Properties of many samples, and that no two of them are the same.
void expect_properties_of_all(const std::string& preset, const Size& size) {
  SCOPED_TRACE(preset + " " + size.length + " " + size.tokenizer);
  const auto task = task_of(
      "needle", {"preset=" + preset, "length=" + size.length, "tokenizer=" + size.tokenizer});
  const std::set<std::string> spread = {"multi_needle", "niah_single_1", "niah_multikey_2",
                                        "niah_multikey_3"};
  const std::vector<double> depths =
      spread.contains(preset) ? std::vector<double>{} : grid_depths();
  std::set<std::string> contexts[2];
  for (std::uint64_t i = 0; i < size.samples; ++i) {
    const Split split = i % 8 == 0 ? Split::Test : Split::Train;
    const Sample sample = task->sample(1, split, i);
    expect_properties(*task, sample, preset == "niah_multivalue", depths);
    EXPECT_EQ(sample.facts["preset"], preset);
    EXPECT_EQ(sample.facts["index"], i);
    EXPECT_EQ(split_of(sample.context), split);
    EXPECT_TRUE(contexts[split == Split::Test].insert(sample.src).second);
    if (testing::Test::HasFailure()) return;
  }
  for (const std::string& src : contexts[1]) EXPECT_FALSE(contexts[0].contains(src));
}

TEST(Needle, EveryPresetAtThreeLengths) {
  for (const std::string& preset : kPresets) {
    for (const char* length : {"260", "512", "1024"}) {
      expect_properties_of_all(preset, {length, "words", 2000});
    }
  }
}

TEST(Needle, EveryPresetWithEveryTokenizer) {
  for (const std::string& preset : kPresets) {
    expect_properties_of_all(preset, {"1500", "characters", 500});
    expect_properties_of_all(preset, {"1200", "bytes", 500});
  }
}

TEST(Needle, OfAHundredAndTwentyEightThousandTokens) {
  const auto start = std::chrono::steady_clock::now();
  for (const std::string& preset : kPresets) {
    expect_properties_of_all(preset, {"131072", "words", 2});
  }
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  EXPECT_LT(taken.count(), 60) << "a second, on an idle machine";
}

TEST(Needle, ManyNeedlesManyAsked) {
  for (const Settings& settings :
       {Settings{"needles=6", "asked=6", "length=256"},
        Settings{"needles=6", "asked=2", "length=400"},
        Settings{"needles=2", "haystack=noise", "length=100"}, Settings{"needles=2", "length=64"},
        Settings{"needles=3", "haystack=needles", "length=300"},
        Settings{"needles=40", "asked=3", "length=2000", "depths=grid"}}) {
    const auto task = task_of("needle", settings);
    for (std::uint64_t i = 0; i < 500; ++i) {
      expect_properties(*task, task->sample(2, Split::Train, i), false);
      if (HasFailure()) return;
    }
  }
}

TEST(Needle, PresetsAreRulers) {
  // Haystack, key, value, needles and those asked for: scripts/synthetic.yaml of RULER.
  const std::string word = "[a-z]+-[a-z]+", number = "[1-9][0-9]{6}",
                    uuid = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}";
  struct Preset {
    std::string name, haystack, key, value;
    std::size_t needles, asked;
  };
  for (const Preset& p :
       {Preset{"niah_single_1", "The grass is green. The sky", word, number, 1, 1},
        {"niah_single_2", "", word, number, 1, 1},
        {"niah_single_3", "", word, uuid, 1, 1},
        {"niah_multikey_1", "", word, number, 4, 1},
        {"niah_multikey_2", "One of the special magic", word, number, 1, 1},
        {"niah_multikey_3", "One of the special magic", uuid, uuid, 1, 1},
        {"niah_multivalue", "", word, number, 4, 4},
        {"niah_multiquery", "", word, number, 4, 4}}) {
    const Sample sample =
        task_of("needle", {"preset=" + p.name, "length=1024"})->sample(1, Split::Test, 0);
    SCOPED_TRACE(sample.src);
    EXPECT_EQ(sample.facts["needles"].size(), p.needles);
    EXPECT_EQ(sample.facts["answers"].size(), p.asked);
    EXPECT_NE(sample.src.find(p.haystack), std::string::npos);
    const std::string kind = p.value == uuid ? "uuid" : "number";
    const Json& needle = sample.facts["needles"][0];
    const auto start = needle["start"].get<std::size_t>(), end = needle["end"].get<std::size_t>();
    EXPECT_TRUE(std::regex_match(sample.src.substr(start, end - start),
                                 std::regex("One of the special magic " + kind + "s for " + p.key +
                                            " is: " + p.value + "\\.")));
    const std::string keys =
        p.name == "niah_multiquery" ? word + ", " + word + ", " + word + ", and " + word : p.key;
    const std::string question = (p.asked > 1 ? "What are all the special magic " + kind + "s"
                                              : "What is the special magic " + kind) +
                                 " for " + keys + " mentioned in the provided text\\?";
    EXPECT_TRUE(
        std::regex_match(sample.src.substr(sample.src.find('\n') + 1), std::regex(question)))
        << question;
  }
}

TEST(Needle, EachAnswerIsAPart) {
  const auto task = task_of("needle", {"asked=3", "length=200"});
  const Sample sample = task->sample(1, Split::Train, 0);
  const Encoded encoded = task->encode(sample);
  ASSERT_EQ(sample.part_slices.size(), 3u);
  for (std::size_t p = 0; p < 3; ++p) {
    std::vector<std::int32_t> tokens;
    for (std::size_t t = 0; t < encoded.tokens.size(); ++t) {
      if (encoded.scored[t] == p + 2) tokens.push_back(encoded.tokens[t]);
    }
    EXPECT_EQ(task->decode(tokens), sample.facts["answers"][p].get<std::string>());
  }
  EXPECT_EQ(encoded.scored.back(), 1) << "EOS is scored, but belongs to no answer";
  EXPECT_EQ(std::count(encoded.scored.begin(), encoded.scored.end(), 1), 3) << "and two commas";
}

TEST(Needle, LengthIsUsedUp) {
  for (const std::string tokenizer : {"words", "characters"}) {
    const auto task = task_of("needle", {"length=2048", "tokenizer=" + tokenizer});
    for (std::uint64_t i = 0; i < 100; ++i) {
      const auto length = task->sample(1, Split::Train, i).facts["length"].get<int>();
      EXPECT_LE(length, 2048);
      EXPECT_GT(length, 2048 - (tokenizer == "words" ? 11 : 75)) << "room for another sentence";
    }
  }
}

TEST(Needle, DepthsAreThoseAskedFor) {
  const auto task =
      task_of("needle", {"needles=3", "depths=[0.5,0,1]", "length=1000", "tokenizer=characters"});
  for (std::uint64_t i = 0; i < 500; ++i) {
    const Sample sample = task->sample(1, Split::Train, i);
    std::vector<double> depths;
    for (const Json& needle : sample.facts["needles"]) depths.push_back(needle["depth"]);
    ASSERT_EQ(depths.size(), 3u);
    EXPECT_EQ(depths[0], 0);
    EXPECT_NEAR(depths[1], 0.5, 37.0 / 800) << "half of the longest sentence";
    EXPECT_EQ(depths[2], 1);
    EXPECT_TRUE(sample.facts["needles"][1]["asked"]) << "the first depth is the asked needle's";
    EXPECT_EQ(Json(sample.slices),
              Json::parse(R"([["needles", "3"], ["asked", "1"], ["length", "1024"]])"));
    EXPECT_EQ(Json(sample.part_slices),
              Json::parse(R"([[["answers", "each"], ["depth", "0.5"]]])"));
  }
}

TEST(Needle, UniformDepthsAreUniform) {
  const auto uniform = task_of("needle", {"needles=1", "length=2000"});
  double sum = 0, squares = 0;
  constexpr int kSamples = 2000;
  for (std::uint64_t i = 0; i < kSamples; ++i) {
    const double depth = uniform->sample(1, Split::Train, i).facts["needles"][0]["depth"];
    sum += depth;
    squares += depth * depth;
  }
  EXPECT_NEAR(sum / kSamples, 1.0 / 2, 6 * 0.289 / std::sqrt(kSamples));
  EXPECT_NEAR(squares / kSamples, 1.0 / 3, 6 * 0.298 / std::sqrt(kSamples));
}

TEST(Needle, TextFilesAreHaystacks) {
  const check::ScratchFolder scratch;
  const auto file = scratch.path() / "essay.txt";
  std::string essay;
  for (int i = 0; i < 200; ++i) {
    essay += "Sentence " + std::to_string(i) + " speaks of Paris\nand of 1234567890. Does it? ";
  }
  write_file_atomically(file, essay);
  const Settings settings = {"haystack=file", "haystack_file=" + file.string(), "length=600"};
  for (const std::string preset : {"multi_needle", "niah_multikey_1"}) {
    Settings with_preset = settings;
    with_preset.push_back("preset=" + preset);
    const auto task = task_of("needle", with_preset);
    for (std::uint64_t i = 0; i < 200; ++i) {
      const Sample sample = task->sample(1, Split::Train, i);
      expect_properties(*task, sample, false);
      for (const Json& needle : sample.facts["needles"])
        EXPECT_NE(needle["key"].get<std::string>(), "Paris");
    }
  }
  write_file_atomically(file, "Caf\xc3\xa9.");
  EXPECT_NE(refusal("needle", settings).find("essay.txt: character 4: byte 0xc3 has no token"),
            std::string::npos);
  EXPECT_NE(refusal("needle", {"haystack=file", "haystack_file=nowhere.txt"}).find("nowhere.txt"),
            std::string::npos);
}

TEST(Needle, SameSeedSameBytes) {
  // Stored: FNV-1a (32 bit) of 50 samples of seed 42 for each preset, made when the task was
  // written.
  const std::vector<std::uint32_t> stored = {0x57a33823, 0x23f12f16, 0x56158882,
                                             0x1f397df9, 0xa11989bd, 0x041ac684,
                                             0x80850727, 0x33ace78e, 0xb1dc4fd2};
  for (std::size_t p = 0; p < kPresets.size(); ++p) {
    const auto task = task_of("needle", {"preset=" + kPresets[p], "length=500"});
    std::string bytes;
    for (std::uint64_t i = 0; i < 50; ++i) {
      const Sample sample = task->sample(42, Split::Test, i);
      bytes += sample.src + '|' + sample.tgt + sample.facts.dump() + '\n';
    }
    EXPECT_EQ(stream_of(bytes), stored[p]) << kPresets[p] << std::hex << " 0x" << stream_of(bytes);
  }
}

TEST(Needle, ImpossibleParametersAreRefused) {
  const auto refused = [](const Settings& settings) { return refusal("needle", settings); };
  EXPECT_EQ(refused({"length=89"}),
            "--set /task/length=89: must be at least 90 = 60 (4 x 15 of needles) + 7 (answer) + 11 "
            "(one sentence of haystack) + 12 (question, begin, end), but is 89");
  EXPECT_EQ(refused({"length=90"}), "");
  EXPECT_EQ(refused({"needles=2", "asked=3"}),
            "--set /task/asked=3: must be at most needles (asked 3, needles 2)");
  EXPECT_NE(refused({"needles=200", "length=8000"}).find("needs up to 200 different keys"),
            std::string::npos);
  EXPECT_NE(refused({"preset=niah_single_1", "needles=2"}), "");
  EXPECT_NE(refused({"preset=niah_single_1", "haystack=sentences"}), "");
  EXPECT_NE(refused({"haystack_file=x.txt"}), "");
  EXPECT_NE(refused({"haystack=file"}), "");
  EXPECT_NE(refused({"depths=[0.5,1.5]"}), "");
  EXPECT_NE(refused({"depths=[0.5]"}).find("1 depths, 4 needles"), std::string::npos);
  EXPECT_NE(refused({"preset=niah_multikey_2", "length=4000000"}).find("different keys"),
            std::string::npos);
}

}  // namespace
}  // namespace mta
