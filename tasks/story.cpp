// Stories: who went where with what, and a question that needs one, two or three of the facts.
//
//     Anna went to the attic. Anna took the scarf. Anna went to the porch. Where is the scarf?  ->
//     porch
//
// After tasks 1 to 3 of bAbI (Weston et al., arXiv 1502.05698), with a generator and words of our
// own; facts may be spread over a haystack of other sentences, as in BABILong (arXiv 2406.10149).
#include "lib/text/hash.h"
#include "tasks/haystack.h"
#include "tasks/registry.h"
#include "tasks/split.h"
#include "tasks/story_world.h"
#include "tasks/text_task.h"
#include "tasks/text_words.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

namespace mta {
namespace {

enum class Filler { None, Sentences, Noise };
const std::vector<std::pair<Filler, std::string>> kFillers = {
    {Filler::None, "none"}, {Filler::Sentences, "sentences"}, {Filler::Noise, "noise"}};

struct Config {
  std::int64_t facts_needed = 1;
  std::int64_t facts = 12;
  std::int64_t actors = 4, objects = 4, rooms = 6;
  Filler haystack = Filler::None;
  std::int64_t length = 256;
  double from = 0, to = 1;
  TextTokens tokenizer = TextTokens::Words;
};

class StoryTask final : public TextTask {
 public:
  Description describe() override;
  void prepare(const std::string& pointer, Problems& problems) override;
  Sample sample(std::uint64_t seed, Split split, std::uint64_t index) const override;
  Slices slices(const Json& facts) const override;
  double log2_contexts() const override;
  std::int64_t max_tokens() const override { return config_.length; }

 private:
  Story draw_story(Rng& rng) const;
  std::int64_t tokens_of(const Story& story) const;
  std::int64_t most_tokens() const;
  Haystack draw_haystack(std::int64_t budget, Rng& rng) const;
  std::vector<std::size_t> draw_places(const Haystack& haystack, Rng& rng) const;
  std::string assemble(const Story& story, const Haystack& haystack, Rng& rng, Json& needed) const;

  Config config_;
  std::optional<TokenCounter> counter_;
};

Description StoryTask::describe() {
  Description d;
  d.integer("facts_needed", config_.facts_needed,
            "1: where is somebody; 2: where is a thing that was carried; 3: where was it before",
            {.min = 1, .max = 3});
  d.integer("facts", config_.facts, "facts in the story", {.min = 1, .max = 1000});
  const auto count = [&d](const char* key, std::int64_t& value, const char* what,
                          std::size_t most) {
    d.integer(key, value, what, {.min = 1, .max = static_cast<double>(most)});
  };
  count("actors", config_.actors, "people in the story", actors().size());
  count("objects", config_.objects, "things that they carry", objects().size());
  count("rooms", config_.rooms, "rooms that they go to", rooms().size());
  d.choice("haystack", config_.haystack, kFillers, "sentences that the facts are spread over");
  d.integer("length", config_.length,
            "largest number of tokens, answer included; a haystack fills "
            "it up",
            {.min = 1, .max = 1 << 22});
  d.real("from", config_.from, "the facts stand after this fraction of the haystack",
         {.min = 0, .max = 1});
  d.real("to", config_.to, "and before this one", {.min = 0, .max = 1});
  d.choice("tokenizer", config_.tokenizer, kTextTokens, "what a token is");
  return d;
}

void StoryTask::prepare(const std::string& pointer, Problems& problems) {
  const Config& c = config_;
  // A walk; a walk, a taking and a walk; the same and one more walk.
  const std::int64_t fewest[] = {1, 3, 4};
  const std::int64_t least = fewest[c.facts_needed - 1];
  problems.require(c.facts >= least, pointer + "/facts",
                   fmt::format("must be at least {} where {} are needed, but is {}", least,
                               c.facts_needed, c.facts));
  problems.require(c.rooms >= 2, pointer + "/rooms", "must be at least 2, but is 1");
  problems.require(c.from <= c.to, pointer + "/from",
                   fmt::format("must be at most to (from {}, to {})", c.from, c.to));
  const std::shared_ptr<const Tokenizer> tokenizer = text_tokenizer(c.tokenizer);
  use(tokenizer);
  counter_.emplace(tokenizer, c.tokenizer == TextTokens::Words ? TokenCounter::Unit::Words
                                                               : TokenCounter::Unit::Characters);
  const std::int64_t sentence = c.haystack == Filler::None ? 0 : longest_drawn_sentence(*counter_);
  problems.require(
      c.length >= most_tokens() + sentence, pointer + "/length",
      fmt::format("must be at least {} = {} (a long story of {} facts, question and "
                  "answer) + {} (one sentence of haystack), but is {}",
                  most_tokens() + sentence, most_tokens(), c.facts, sentence, c.length));
  if (!problems.concerns(pointer)) probe(*this, pointer, problems);
}

/// BOS, EOS, a new line, the longest sentences, the longest question and answer.
std::int64_t StoryTask::most_tokens() const {
  constexpr std::int64_t kBeginEndNewLine = 3;
  return kBeginEndNewLine + config_.facts * counter_->tokens("Gustav dropped the pillowcase.") +
         counter_->tokens("Where was the pillowcase before the bathroom?") +
         counter_->tokens("bathroom");
}

std::int64_t StoryTask::tokens_of(const Story& story) const {
  constexpr std::int64_t kBeginEndNewLine = 3;
  std::int64_t tokens =
      kBeginEndNewLine + counter_->tokens(story.question) + counter_->tokens(story.answer);
  for (const std::string& sentence : story.sentences) tokens += counter_->tokens(sentence);
  return tokens;
}

Sample StoryTask::sample(std::uint64_t seed, Split split, std::uint64_t index) const {
  Rng rng = sample_rng(seed, split, index);
  Story story;
  Sample sample;
  sample.context = draw_for(split, [&] {
    story = draw_story(rng);
    std::string identity;
    for (const std::string& sentence : story.sentences) identity += sentence + ' ';
    return hash_text(identity);
  });
  const std::int64_t tokens = tokens_of(story);
  const Haystack haystack = draw_haystack(config_.length - tokens, rng);
  Json needed = Json::array();
  sample.src = assemble(story, haystack, rng, needed) + '\n' + story.question;
  sample.tgt = story.answer;
  sample.facts = {{"facts_needed", config_.facts_needed},
                  {"length", counter_->whole(sample.src, sample.tgt, tokens + haystack.tokens)}};
  sample.facts["needed"] = std::move(needed);
  sample.slices = slices(sample.facts);
  return sample;
}

Story StoryTask::draw_story(Rng& rng) const {
  return mta::draw_story({.facts_needed = static_cast<int>(config_.facts_needed),
                          .facts = static_cast<std::size_t>(config_.facts),
                          .actors = static_cast<std::uint32_t>(config_.actors),
                          .objects = static_cast<std::uint32_t>(config_.objects),
                          .rooms = static_cast<std::uint32_t>(config_.rooms)},
                         rng);
}

Haystack StoryTask::draw_haystack(std::int64_t budget, Rng& rng) const {
  Haystack haystack;
  if (config_.haystack == Filler::None) return haystack;
  const auto source =
      config_.haystack == Filler::Noise ? noise(*counter_) : drawn_sentences(rng, *counter_);
  haystack.fill(*source, budget);
  return haystack;
}

/// The boundaries of the haystack at which the facts stand, in order.
std::vector<std::size_t> StoryTask::draw_places(const Haystack& haystack, Rng& rng) const {
  std::vector<std::size_t> places(static_cast<std::size_t>(config_.facts));
  if (haystack.begins.empty()) return places;
  const std::size_t first = haystack.nearest_boundary(config_.from);
  const std::size_t last = haystack.nearest_boundary(config_.to);
  for (std::size_t& place : places) {
    place = first + rng.below(static_cast<std::uint32_t>(last - first + 1));
  }
  std::sort(places.begin(), places.end());
  return places;
}

std::string StoryTask::assemble(const Story& story, const Haystack& haystack, Rng& rng,
                                Json& needed) const {
  const std::vector<std::size_t> places = draw_places(haystack, rng);
  SpreadText spread =
      spread_over(haystack, {story.sentences.begin(), story.sentences.end()}, places);
  for (const std::size_t i : story.needed) {
    const double hay = static_cast<double>(haystack.text.size());
    const auto before = static_cast<double>(haystack.before(places[i]));
    needed.push_back({{"depth", hay > 0 ? before / hay : 0},
                      {"start", spread.begins[i]},
                      {"end", spread.ends[i]}});
  }
  return std::move(spread.text);
}

/// Facts needed, length to the next power of two, and the depth of the first fact needed to a
/// tenth.
Slices StoryTask::slices(const Json& facts) const {
  Slices slices = slices_of(facts, {"facts_needed"});
  add_rounded_length(facts, slices);
  const auto needed = facts.find("needed");
  if (needed != facts.end() && needed->is_array() && !needed->empty()) {
    slices.emplace_back("depth", fmt::format("{:.1f}", needed->front().value("depth", 0.0)));
  }
  return slices;
}

/// All facts but three may be walks, each to one of (rooms - 1).
double StoryTask::log2_contexts() const {
  const auto walks = static_cast<double>(std::max<std::int64_t>(1, config_.facts - 3));
  return walks * std::log2(static_cast<double>(config_.rooms - 1));
}

}  // namespace

std::unique_ptr<Task> tasks::story() { return std::make_unique<StoryTask>(); }

}  // namespace mta
