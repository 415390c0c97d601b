// Selective copying: write out, in order, the letters that stand among noise.
//
//     __c_a___b_#  ->  cab
//
// Gu and Dao, "Mamba" (arXiv 2312.00752), section 3.1: with the letters at random distances,
// copying needs a choice by content, not by position.
#include "lib/text/characters.h"
#include "lib/text/hash.h"
#include "tasks/block_context.h"
#include "tasks/registry.h"
#include "tasks/split.h"
#include "tasks/text_task.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

namespace mta {
namespace {

struct Config {
  std::int64_t length = 64;
  std::int64_t letters = 8;
  std::int64_t alphabet = 16;
};

class SelectiveCopying final : public TextTask {
 public:
  Description describe() override {
    Description d;
    d.integer("length", config_.length, "characters of letters and noise together",
              {.min = 1, .max = 1 << 20});
    d.integer("letters", config_.letters, "letters among the noise, at most length",
              {.min = 1, .max = 1 << 20});
    d.integer("alphabet", config_.alphabet, "the first so many of a-z, A-Z, 0-9",
              {.min = 2, .max = static_cast<double>(kLetters.size())});
    return d;
  }

  void prepare(const std::string& pointer, Problems& problems) override {
    problems.require(config_.letters <= config_.length, pointer + "/letters",
                     fmt::format("must be at most length (letters {}, length {})", config_.letters,
                                 config_.length));
    if (problems.concerns(pointer)) return;
    use(std::make_shared<CharacterTokenizer>(
        std::string(kLetters.substr(0, static_cast<std::size_t>(config_.alphabet))) + "#_"));
    probe(*this, pointer, problems);
  }

  Sample sample(std::uint64_t seed, Split split, std::uint64_t index) const override {
    Rng rng = sample_rng(seed, split, index);
    Sample sample;
    sample.context = draw_for(split, [&] {
      sample.src = draw_context(rng);
      return hash_text(sample.src);
    });
    for (const char c : sample.src) {
      if (c != '_') sample.tgt += c;
    }
    sample.src += '#';
    sample.facts = {{"letters", config_.letters}, {"length", config_.length}};
    sample.slices = slices(sample.facts);
    return sample;
  }

  Slices slices(const Json& facts) const override {
    return slices_of(facts, {"letters", "length"});
  }

  double log2_contexts() const override {
    const auto n = static_cast<double>(config_.length), k = static_cast<double>(config_.letters);
    const double places = std::lgamma(n + 1) - std::lgamma(k + 1) - std::lgamma(n - k + 1);
    return places / std::log(2.0) + k * std::log2(static_cast<double>(config_.alphabet));
  }

  std::int64_t max_tokens() const override { return config_.length + config_.letters + 3; }

 private:
  /// Each place takes a letter with the chance (letters left) / (places left): every choice of
  /// places is as likely.
  std::string draw_context(Rng& rng) const {
    std::string text(static_cast<std::size_t>(config_.length), '_');
    auto left = static_cast<std::uint32_t>(config_.letters);
    const auto alphabet = static_cast<std::uint32_t>(config_.alphabet);
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (rng.below(static_cast<std::uint32_t>(text.size() - i)) >= left) continue;
      text[i] = kLetters[rng.below(alphabet)];
      --left;
    }
    return text;
  }

  Config config_;
};

}  // namespace

std::unique_ptr<Task> tasks::selective_copying() { return std::make_unique<SelectiveCopying>(); }

}  // namespace mta
