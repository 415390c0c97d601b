// Induction: the text ends as it read once before; go on as it went on there.
//
//     fbdacgehda  ->  c        (prefix 2: "da" stands before "c")
//
// Olsson et al., "In-context Learning and Induction Heads" (arXiv 2209.11895). With a prefix of
// several letters, of which each alone may stand anywhere, attention has to match several tokens
// at once.
#include "lib/text/characters.h"
#include "lib/text/hash.h"
#include "tasks/block_context.h"
#include "tasks/registry.h"
#include "tasks/split.h"
#include "tasks/text_task.h"

#include <fmt/core.h>

#include <cmath>

namespace mta {
namespace {

struct Config {
  std::int64_t length = 64;
  std::int64_t prefix = 2;
  std::int64_t answer = 1;
  std::int64_t alphabet = 16;
};

class Induction final : public TextTask {
 public:
  Description describe() override {
    Description d;
    d.integer("length", config_.length, "letters before the prefix returns",
              {.min = 2, .max = 1 << 20});
    d.integer("prefix", config_.prefix, "letters that return at the end; once before in the text",
              {.min = 1, .max = 1 << 10});
    d.integer("answer", config_.answer, "letters to go on with", {.min = 1, .max = 1 << 10});
    d.integer("alphabet", config_.alphabet, "the first so many of a-z, A-Z, 0-9",
              {.min = 2, .max = static_cast<double>(kLetters.size())});
    return d;
  }

  void prepare(const std::string& pointer, Problems& problems) override {
    const Config& c = config_;
    problems.require(c.prefix + c.answer <= c.length, pointer + "/length",
                     fmt::format("must be at least prefix + answer = {} + {}, but is {}", c.prefix,
                                 c.answer, c.length));
    if (problems.concerns(pointer)) return;
    use(std::make_shared<CharacterTokenizer>(
        std::string(kLetters.substr(0, static_cast<std::size_t>(c.alphabet)))));
    probe(*this, pointer, problems);
  }

  Sample sample(std::uint64_t seed, Split split, std::uint64_t index) const override {
    Rng rng = sample_rng(seed, split, index);
    Sample sample;
    std::size_t place = 0;
    sample.context = draw_for(split, [&] {
      place = rng.below(
          static_cast<std::uint32_t>(1 + config_.length - config_.prefix - config_.answer));
      sample.src = draw_text(place, rng);
      return hash_text(sample.src);
    });
    const auto prefix = static_cast<std::size_t>(config_.prefix);
    sample.tgt = sample.src.substr(place + prefix, static_cast<std::size_t>(config_.answer));
    const auto gap = static_cast<std::uint64_t>(config_.length) - place;
    sample.facts = {{"gap", gap}, {"length", config_.length}};
    sample.slices = slices(sample.facts);
    return sample;
  }

  Slices slices(const Json& facts) const override { return slices_of(facts, {"gap", "length"}); }

  double log2_contexts() const override {
    // Every letter outside the prefix has at least alphabet - 1 choices.
    return static_cast<double>(config_.length - config_.prefix) *
           std::log2(static_cast<double>(config_.alphabet - 1));
  }

  std::int64_t max_tokens() const override {
    return config_.length + config_.prefix + config_.answer + 2;
  }

 private:
  /// The prefix at `place` and at the end, and nowhere else.
  std::string draw_text(std::size_t place, Rng& rng) const {
    constexpr int kTries = 1000;
    const auto alphabet = static_cast<std::uint32_t>(config_.alphabet);
    for (int i = 0; i < kTries; ++i) {
      std::string prefix;
      for (std::int64_t k = 0; k < config_.prefix; ++k) prefix += kLetters[rng.below(alphabet)];
      std::string text = draw_letters(place, prefix, rng) + prefix;
      if (text.find(prefix) == place &&
          text.find(prefix, place + 1) == static_cast<std::size_t>(config_.length)) {
        return text;
      }
    }
    throw UserError(
        "",
        fmt::format("no text of {} letters found that holds its prefix only once", config_.length),
        "raise alphabet or prefix");
  }

  /// Left to right; a letter that would complete the prefix where it must not stand is drawn again.
  std::string draw_letters(std::size_t place, const std::string& prefix, Rng& rng) const {
    const auto alphabet = static_cast<std::uint32_t>(config_.alphabet);
    std::string text;
    while (text.size() < static_cast<std::size_t>(config_.length)) {
      if (text.size() == place) {
        text += prefix;
        continue;
      }
      text += kLetters[rng.below(alphabet)];
      if (text.ends_with(prefix)) text.pop_back();
    }
    return text;
  }

  Config config_;
};

}  // namespace

std::unique_ptr<Task> tasks::induction() { return std::make_unique<Induction>(); }

}  // namespace mta
