// Random tokens: the loss of a plain language model on a text in which there is nothing to learn.
//
//     17  ->  4 40 11 29        (vocabulary 50, length 4)
//
// Every token is predicted from those before it. The best loss is log(vocabulary), so this is for
// timing whole training steps of any vocabulary and length, not for learning.
#include "lib/core/error.h"
#include "lib/text/hash.h"
#include "tasks/registry.h"
#include "tasks/split.h"

#include <fmt/core.h>

#include <charconv>
#include <cmath>

namespace mta {
namespace {

class RandomTokens final : public Task {
 public:
  Description describe() override {
    Description d;
    d.integer("length", length_, "tokens that are read, and as many that are predicted",
              {.min = 1, .max = 1 << 20});
    d.integer("vocabulary", vocabulary_, "tokens to draw from, named 0, 1, 2, ...",
              {.min = 2, .max = 1 << 24});
    return d;
  }

  void prepare(const std::string& pointer, Problems& problems) override {
    if (!problems.concerns(pointer)) probe(*this, pointer, problems);
  }

  Sample sample(std::uint64_t seed, Split split, std::uint64_t index) const override {
    Rng rng = sample_rng(seed, split, index);
    const auto vocabulary = static_cast<std::uint32_t>(vocabulary_);
    Sample sample{.src = {}, .tgt = {}, .facts = {{"length", length_}}};
    sample.context = draw_for(split, [&] {
      sample.src = std::to_string(rng.below(vocabulary));
      sample.tgt.clear();
      for (std::int64_t i = 0; i < length_; ++i) {
        if (i > 0) sample.tgt += ' ';
        sample.tgt += std::to_string(rng.below(vocabulary));
      }
      return hash_text(sample.src + ' ' + sample.tgt);
    });
    return sample;
  }

  double log2_contexts() const override {
    return static_cast<double>(length_ + 1) * std::log2(static_cast<double>(vocabulary_));
  }

  std::int64_t vocabulary() const override { return vocabulary_; }
  std::int64_t max_tokens() const override { return length_ + 1; }

  Encoded encode(const Sample& sample) const override {
    Encoded encoded{.tokens = tokens_of(sample.src, "src"), .scored = {}};
    encoded.scored.assign(encoded.tokens.size(), 0);
    const std::vector<std::int32_t> answer = tokens_of(sample.tgt, "tgt");
    encoded.tokens.insert(encoded.tokens.end(), answer.begin(), answer.end());
    encoded.scored.resize(encoded.tokens.size(), 1);
    return encoded;
  }

  /// There is no token for the beginning of a text.
  std::vector<std::int32_t> encode_prompt(const std::string& text) const override {
    return tokens_of(text, "prompt");
  }

  std::string decode(std::span<const std::int32_t> tokens) const override {
    std::string text;
    for (const std::int32_t token : tokens) {
      if (!text.empty()) text += ' ';
      text += std::to_string(token);
    }
    return text;
  }

  /// Each token is predicted with the text before it given.
  bool answers_at_once() const override { return false; }
  std::int32_t end_token() const override { return -1; }  // no text ends

 private:
  /// Numbers with blanks between them; `key` names the text in messages.
  std::vector<std::int32_t> tokens_of(const std::string& text, const char* key) const {
    std::vector<std::int32_t> tokens;
    const char* const end = text.data() + text.size();
    for (const char* at = text.data();; ++at) {
      std::int32_t token = 0;
      const auto [stop, error] = std::from_chars(at, end, token);
      if (error != std::errc() || token < 0 || token >= vocabulary_ ||
          (stop != end && *stop != ' ')) {
        throw UserError(fmt::format("{} token {}", key, tokens.size() + 1),
                        fmt::format("must be a whole number from 0 to {}, with one blank to the "
                                    "next, in \"{}\"",
                                    vocabulary_ - 1, text.substr(0, kShown)));
      }
      tokens.push_back(token);
      if (stop == end) return tokens;
      at = stop;
    }
  }

  static constexpr std::size_t kShown = 40;  // characters of a text in a message

  std::int64_t length_ = 256;
  std::int64_t vocabulary_ = 32000;
};

}  // namespace

std::unique_ptr<Task> tasks::random_tokens() { return std::make_unique<RandomTokens>(); }

}  // namespace mta
