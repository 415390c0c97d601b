// Stories: a reader that only knows the sentences comes to the same answer, from the facts needed.
#include "tasks/split.h"
#include "tests/support/task_of.h"

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <regex>
#include <set>

namespace mta {
namespace {

using check::refusal;
using check::task_of;
using Settings = std::vector<std::string>;

/// Follows everybody and everything through a text.
class Reader {
 public:
  void read(const std::string& text) {
    static const std::regex fact("([A-Z][a-z]+) (went to|took|dropped) the (\\S+)\\.");
    for (std::sregex_iterator it(text.begin(), text.end(), fact), end; it != end; ++it) {
      const std::string who = (*it)[1], verb = (*it)[2], what = (*it)[3];
      if (verb == "went to") {
        at_[who] = what;
        for (const auto& [thing, holder] : holder_) {
          if (holder == who) note(thing, what);
        }
      } else if (verb == "took") {
        EXPECT_FALSE(holder_.contains(what)) << who << " takes the " << what << " from somebody";
        EXPECT_TRUE(at_.contains(who));
        EXPECT_TRUE(!trail_.contains(what) || trail_[what].back() == at_[who]);
        holder_[what] = who;
        note(what, at_[who]);
      } else {
        EXPECT_EQ(holder_[what], who);
        holder_.erase(what);
      }
    }
  }

  std::string answer(const std::string& question) {
    std::smatch match;
    static const std::regex before("Where was the (\\S+) before the (\\S+)\\?");
    static const std::regex thing("Where is the (\\S+)\\?"), person("Where is (\\S+)\\?");
    if (std::regex_match(question, match, before)) {
      const auto& trail = trail_[match[1]];
      EXPECT_EQ(std::count(trail.begin(), trail.end(), match[2].str()), 1) << "ambiguous";
      const auto found = std::find(trail.begin(), trail.end(), match[2].str());
      return found == trail.end() || found == trail.begin() ? "?" : *(found - 1);
    }
    if (std::regex_match(question, match, thing)) {
      return trail_.contains(match[1]) ? trail_[match[1]].back() : "?";
    }
    return std::regex_match(question, match, person) ? at_[match[1]] : "?";
  }

 private:
  void note(const std::string& thing, const std::string& room) {
    if (trail_[thing].empty() || trail_[thing].back() != room) trail_[thing].push_back(room);
  }

  std::map<std::string, std::string> at_, holder_;
  std::map<std::string, std::vector<std::string>> trail_;
};

std::string solved(const std::string& text, const std::string& question) {
  Reader reader;
  reader.read(text);
  return reader.answer(question);
}

void expect_properties(const Task& task, const Sample& sample, std::size_t needed) {
  SCOPED_TRACE(sample.src);
  const std::size_t line = sample.src.find('\n');
  const std::string text = sample.src.substr(0, line), question = sample.src.substr(line + 1);
  EXPECT_EQ(solved(text, question), sample.tgt);
  ASSERT_EQ(sample.facts["needed"].size(), needed);
  std::size_t last = 0;
  for (const Json& fact : sample.facts["needed"]) {
    const auto start = fact["start"].get<std::size_t>(), end = fact["end"].get<std::size_t>();
    EXPECT_GE(start, last);
    last = end;
    EXPECT_EQ(sample.src[end - 1], '.');
    EXPECT_TRUE(start == 0 || sample.src.substr(start - 2, 2) == ". ");
  }
  // fact.
  const Encoded encoded = task.encode(sample);
  if (task.vocabulary() > 300) {  // words: none of them is spelled
    static const std::regex word("[A-Za-z]+|[.?\n]");
    EXPECT_EQ(static_cast<std::size_t>(std::distance(
                  std::sregex_iterator(sample.src.begin(), sample.src.end(), word), {})) +
                  3,
              encoded.tokens.size());
  }
  EXPECT_EQ(sample.facts["length"], encoded.tokens.size());
  EXPECT_LE(static_cast<std::int64_t>(encoded.tokens.size()), task.max_tokens());
  EXPECT_EQ(task.decode(task.encode_prompt(sample.src)), "<bos>" + sample.src);
}

TEST(Story, AnswersFollowFromTheText) {
  for (const std::size_t needed : {1u, 2u, 3u}) {
    for (const Settings& settings :
         {Settings{}, Settings{"haystack=sentences", "length=512"},
          Settings{"haystack=noise", "length=3000", "tokenizer=characters", "facts=30"}}) {
      Settings all = settings;
      all.push_back("facts_needed=" + std::to_string(needed));
      const auto task = task_of("story", all);
      for (std::uint64_t i = 0; i < 2000; ++i) {
        const Split split = i % 8 == 0 ? Split::Test : Split::Train;
        const Sample sample = task->sample(1, split, i);
        expect_properties(*task, sample, needed);
        EXPECT_EQ(split_of(sample.context), split);
        if (HasFailure()) return;
      }
    }
  }
}

TEST(Story, TheFactsNeededTellTheAnswerAlone) {
  for (const std::size_t needed : {1u, 2u}) {
    const auto task = task_of("story", {"facts_needed=" + std::to_string(needed), "facts=20"});
    for (std::uint64_t i = 0; i < 500; ++i) {
      const Sample sample = task->sample(3, Split::Train, i);
      const Json& last = sample.facts["needed"].back();
      const auto start = last["start"].get<std::size_t>();
      const std::string fact = sample.src.substr(start, last["end"].get<std::size_t>() - start);
      EXPECT_TRUE(fact.ends_with("went to the " + sample.tgt + ".")) << fact << sample.src;
    }
  }
}

TEST(Story, FactsStandWhereTheyAreAskedFor) {
  const auto task = task_of(
      "story", {"haystack=sentences", "length=2000", "from=0.4", "to=0.6", "facts_needed=3"});
  double least = 1, most = 0;
  for (std::uint64_t i = 0; i < 500; ++i) {
    const Sample sample = task->sample(1, Split::Train, i);
    for (const Json& fact : sample.facts["needed"]) {
      least = std::min(least, fact["depth"].get<double>());
      most = std::max(most, fact["depth"].get<double>());
    }
  }
  EXPECT_NEAR(least, 0.4, 0.01);
  EXPECT_NEAR(most, 0.6, 0.01);
}

TEST(Story, SameSeedSameBytes) {
  // Stored: FNV-1a (32 bit) of 300 samples of seed 42, made by this test when the task was written.
  std::string bytes;
  for (const std::string needed : {"1", "2", "3"}) {
    const auto task =
        task_of("story", {"facts_needed=" + needed, "haystack=sentences", "length=400"});
    for (std::uint64_t i = 0; i < 100; ++i) {
      const Sample sample = task->sample(42, Split::Train, i);
      bytes += sample.src + '|' + sample.tgt + sample.facts.dump() + '\n';
    }
  }
  EXPECT_EQ(stream_of(bytes), 0x437b033fu) << std::hex << stream_of(bytes);
}

TEST(Story, ImpossibleParametersAreRefused) {
  EXPECT_EQ(refusal("story", {"facts=3", "facts_needed=3"}),
            "--set /task/facts=3: must be at least 4 where 3 are needed, but is 3");
  EXPECT_NE(refusal("story", {"length=50"}).find("a long story of 12 facts"), std::string::npos);
  EXPECT_NE(refusal("story", {"rooms=1"}), "");
  EXPECT_NE(refusal("story", {"from=0.7", "to=0.5"}), "");
  EXPECT_NE(refusal("story", {"rooms=2", "facts=100", "facts_needed=3", "objects=1", "actors=1",
                              "length=2000"}),
            "")
      << "two rooms in turn: every room comes again";
}

}  // namespace
}  // namespace mta
