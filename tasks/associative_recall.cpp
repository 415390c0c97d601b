// Multi-query associative recall (MQAR): pairs of key and value, then keys again, each to be
// followed by its value.
//
//     k3 v9 k1 v2  |  k1 v2 x x k3 v9        scored are the values after the bar
//
// After Arora et al., "Zoology" (arXiv 2312.04927), section 4 and appendix: keys and values from
// two halves of the alphabet, distances to the second mention after a power law. As there, the
// model does not read the value after a query but noise in its place: with values to be read, the
// later queries of a sample could be answered by leaving out what was answered before.
#include "lib/text/hash.h"
#include "lib/text/words.h"
#include "tasks/registry.h"
#include "tasks/split.h"
#include "tasks/text_task.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace mta {
namespace {

enum class Noise { Filler, Random };
const std::vector<std::pair<Noise, std::string>> kNoises = {{Noise::Filler, "filler"},
                                                            {Noise::Random, "random"}};

enum class Answers { Hidden, Shown };
const std::vector<std::pair<Answers, std::string>> kAnswers = {{Answers::Hidden, "hidden"},
                                                               {Answers::Shown, "shown"}};

struct Config {
  std::int64_t pairs = 8;
  std::int64_t length = 64;
  std::int64_t alphabet = 64;
  double gap_power = 0.01;
  Noise noise = Noise::Filler;
  Answers answers = Answers::Hidden;
};

class AssociativeRecall final : public TextTask {
 public:
  Description describe() override;
  void prepare(const std::string& pointer, Problems& problems) override;
  Sample sample(std::uint64_t seed, Split split, std::uint64_t index) const override;
  Slices slices(const Json& facts) const override;
  double log2_contexts() const override;
  std::int64_t max_tokens() const override { return config_.length + 2; }
  Encoded encode(const Sample& sample) const override;
  bool answers_at_once() const override { return false; }

 private:
  using Words = std::vector<std::uint32_t>;

  std::uint32_t keys() const { return static_cast<std::uint32_t>(config_.alphabet / 2); }
  std::uint32_t filler() const { return 2 * keys(); }
  Words draw_pairs(Rng& rng) const;
  Words draw_queries(const Words& pairs, Rng& rng) const;
  std::vector<std::size_t> draw_slots(Rng& rng) const;
  std::uint32_t draw_noise(const std::vector<bool>& keys_in_use, Rng& rng) const;
  std::string text_of(const Words& words) const;

  Config config_;
  std::vector<std::string> words_;               // k0 ..., v0 ..., x: as their tokens are numbered
  std::vector<std::uint64_t> slot_weights_sum_;  // weights of the first i + 1 slots, together
};

Description AssociativeRecall::describe() {
  Description d;
  d.integer("pairs", config_.pairs, "pairs of key and value, each asked for once",
            {.min = 1, .max = 1 << 20});
  d.integer("length", config_.length, "tokens of pairs, queries and noise together",
            {.min = 4, .max = 1 << 22});
  d.integer("alphabet", config_.alphabet, "words: one half are keys, the other half values",
            {.min = 4, .max = 1 << 20});
  d.real("gap_power", config_.gap_power,
         "a of the power law x^(a - 1) of the distance x between pairs and a query; 1 is uniform",
         {.max = 10, .above = 0});
  d.choice("noise", config_.noise, kNoises,
           "between queries: one filler word, or random words other than the keys in use");
  d.choice("answers", config_.answers, kAnswers,
           "hidden: the model reads noise where it has to answer; shown: it reads the right value "
           "afterwards, as in plain text");
  return d;
}

void AssociativeRecall::prepare(const std::string& pointer, Problems& problems) {
  const Config& c = config_;
  problems.require(c.alphabet % 2 == 0, pointer + "/alphabet",
                   fmt::format("must be even, but is {}", c.alphabet));
  problems.require(c.length % 2 == 0, pointer + "/length",
                   fmt::format("must be even, but is {}", c.length));
  problems.require(
      c.pairs <= c.alphabet / 2, pointer + "/pairs",
      fmt::format("must be at most alphabet / 2, as keys differ (pairs {}, alphabet {})", c.pairs,
                  c.alphabet));
  problems.require(c.length >= 4 * c.pairs, pointer + "/length",
                   fmt::format("must be at least 4 x pairs = {}: two tokens for each pair and two "
                               "for each query, but is {}",
                               4 * c.pairs, c.length));
  if (problems.concerns(pointer)) return;
  words_.clear();
  for (std::uint32_t i = 0; i < keys(); ++i) words_.push_back(fmt::format("k{}", i));
  for (std::uint32_t i = 0; i < keys(); ++i) words_.push_back(fmt::format("v{}", i));
  words_.push_back("x");
  use(std::make_shared<WordTokenizer>(
      WordVocabulary{.words = words_, .punctuation = "", .pieces = ""}));

  constexpr double kUnit = 0x1p40;  // whole numbers: sums are exact, the same on every machine
  std::uint64_t sum = 0;
  slot_weights_sum_.clear();
  for (std::int64_t x = 1; x <= c.length / 2 - c.pairs; ++x) {
    const double weight = std::pow(static_cast<double>(x), c.gap_power - 1);
    const double most = std::max(1.0, std::pow(static_cast<double>(c.length), c.gap_power - 1));
    sum += std::max<std::uint64_t>(1, static_cast<std::uint64_t>(weight / most * kUnit));
    slot_weights_sum_.push_back(sum);
  }
}

Sample AssociativeRecall::sample(std::uint64_t seed, Split split, std::uint64_t index) const {
  Rng rng = sample_rng(seed, split, index);
  Sample sample;
  Words pairs;
  sample.context = draw_for(split, [&] {
    pairs = draw_pairs(rng);
    sample.src = text_of(pairs);
    return hash_text(sample.src);
  });
  sample.tgt = text_of(draw_queries(pairs, rng));
  sample.facts = {{"pairs", config_.pairs}, {"length", config_.length}};
  sample.slices = slices(sample.facts);
  return sample;
}

/// Distinct keys and distinct values, in turn.
AssociativeRecall::Words AssociativeRecall::draw_pairs(Rng& rng) const {
  Words key_deck(keys()), value_deck(keys());
  std::iota(key_deck.begin(), key_deck.end(), 0u);
  std::iota(value_deck.begin(), value_deck.end(), keys());
  Words pairs;
  for (std::uint32_t i = 0; i < config_.pairs; ++i) {
    for (Words* deck : {&key_deck, &value_deck}) {
      std::swap((*deck)[i], (*deck)[i + rng.below(keys() - i)]);
      pairs.push_back((*deck)[i]);
    }
  }
  return pairs;
}

AssociativeRecall::Words AssociativeRecall::draw_queries(const Words& pairs, Rng& rng) const {
  Words words(static_cast<std::size_t>(config_.length) - pairs.size());
  std::vector<bool> in_use(filler() + 1);
  for (std::size_t i = 0; i < pairs.size(); i += 2) in_use[pairs[i]] = true;
  for (std::uint32_t& word : words) word = draw_noise(in_use, rng);
  const std::vector<std::size_t> slots = draw_slots(rng);
  for (std::size_t i = 0; i < slots.size(); ++i) {
    words[2 * slots[i]] = pairs[2 * i];
    words[2 * slots[i] + 1] = pairs[2 * i + 1];
  }
  return words;
}

/// The filler, or a word that is no key of this sample, so that a key after the pairs is always a
/// query.
std::uint32_t AssociativeRecall::draw_noise(const std::vector<bool>& keys_in_use, Rng& rng) const {
  if (config_.noise == Noise::Filler) return filler();
  for (;;) {
    const std::uint32_t word = rng.below(2 * keys());
    if (!keys_in_use[word]) return word;
  }
}

/// Different slots, one a pair, drawn one after another with the weights of the power law.
std::vector<std::size_t> AssociativeRecall::draw_slots(Rng& rng) const {
  std::vector<std::size_t> slots;
  std::vector<bool> taken(slot_weights_sum_.size());
  while (static_cast<std::int64_t>(slots.size()) < config_.pairs) {
    const double at = rng.uniform() * static_cast<double>(slot_weights_sum_.back());
    const auto found = std::upper_bound(slot_weights_sum_.begin(), slot_weights_sum_.end() - 1,
                                        static_cast<std::uint64_t>(at));
    const auto slot = static_cast<std::size_t>(found - slot_weights_sum_.begin());
    if (taken[slot]) continue;
    taken[slot] = true;
    slots.push_back(slot);
  }
  return slots;
}

std::string AssociativeRecall::text_of(const Words& words) const {
  std::string text;
  for (const std::uint32_t word : words) {
    if (!text.empty()) text += ' ';
    text += words_[word];
  }
  return text;
}

Slices AssociativeRecall::slices(const Json& facts) const {
  return slices_of(facts, {"pairs", "length"});
}

/// Scored are the values that follow a key of the pairs, nothing else, and not the end. Noise in
/// place of an answer depends on the sample's text alone.
Encoded AssociativeRecall::encode(const Sample& sample) const {
  Encoded encoded = TextTask::encode(sample);
  if (config_.answers == Answers::Hidden) encoded.shown = encoded.tokens;
  Rng rng(hash_text(sample.src), stream_of("tasks/associative_recall/shown"), 0);
  std::vector<bool> asked(static_cast<std::size_t>(vocabulary()));
  bool after_query = false;
  for (std::size_t t = 1; t < encoded.tokens.size(); ++t) {
    const auto token = static_cast<std::size_t>(encoded.tokens[t]);
    if (encoded.scored[t] == 0) {
      asked[token] = asked[token] || token < keys();
    } else {
      encoded.scored[t] = after_query ? 1 : 0;
      if (after_query && config_.answers == Answers::Hidden) {
        encoded.shown[t] = static_cast<std::int32_t>(draw_noise(asked, rng));
      }
      after_query = !after_query && asked[token];
    }
  }
  return encoded;
}

/// Keys and values of the pairs, each an ordered choice.
double AssociativeRecall::log2_contexts() const {
  double bits = 0;
  for (std::int64_t i = 0; i < config_.pairs; ++i) {
    const std::int64_t left = config_.alphabet / 2 - i;
    bits += 2 * std::log2(static_cast<double>(left));
  }
  return bits;
}

}  // namespace

std::unique_ptr<Task> tasks::associative_recall() { return std::make_unique<AssociativeRecall>(); }

}  // namespace mta
