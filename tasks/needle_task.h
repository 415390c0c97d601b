// The needle task's parts: its configuration, the plan that follows from it, and the task itself.
#pragma once

#include "tasks/haystack.h"
#include "tasks/needle_names.h"
#include "tasks/text_task.h"
#include "tasks/text_words.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace mta {

enum class HaystackKind { Auto, Sentences, Noise, Needles, File };
enum class DepthKind { Auto, Uniform, Grid, List };

struct NeedleConfig {
  std::string preset = "multi_needle";
  std::int64_t length = 512;
  TextTokens tokenizer = TextTokens::Words;
  std::optional<std::int64_t> needles, asked;  // null: the preset's own
  DepthKind depth_kind = DepthKind::Auto;
  std::vector<double> depths;  // of DepthKind::List
  HaystackKind haystack = HaystackKind::Auto;
  std::string haystack_file;
};

/// What a preset and the other keys come to.
struct NeedlePlan {
  std::string name;
  HaystackKind haystack = HaystackKind::Sentences;
  KeyKind key_kind = KeyKind::Cities;
  ValueKind value_kind = ValueKind::Numbers;
  std::int64_t keys = 4, values = 1, asked = 1;  // asked: keys
  DepthKind depth_kind = DepthKind::Uniform;
  std::vector<double> depths;  // fractions, of Grid and List
  bool ruler = true;           // RULER's sentences; otherwise those of the paper's test
};

class NeedleTask final : public TextTask {
 public:
  Description describe() override;
  void prepare(const std::string& pointer, Problems& problems) override;
  Sample sample(std::uint64_t seed, Split split, std::uint64_t index) const override;
  Slices slices(const Json& facts) const override;
  std::vector<Slices> part_slices(const Json& facts) const override;
  Encoded encode(const Sample& sample) const override;
  double log2_contexts() const override;
  std::int64_t max_tokens() const override { return config_.length; }
  bool parts_in_any_order() const override { return true; }

 private:
  struct Needle {
    std::string key, value, sentence;
    bool asked = false;
    std::size_t boundary = 0, place = 0, start = 0,
                end = 0;  // of sentences; of needles; characters
    double depth = 0;
    std::uint32_t tie = 0;  // order of needles at one boundary
  };
  class NeedleSentences;

  void choose_plan(const std::string& pointer, Problems& problems);
  void choose_tokens();
  void check_keys(const std::string& pointer, Problems& problems) const;
  void check_length(const std::string& pointer, Problems& problems) const;
  const char* kind_word() const {
    return plan_.value_kind == ValueKind::Numbers ? "number" : "uuid";
  }
  /// Everything but the haystack: BOS, EOS, new line, question, needles, answer.
  std::int64_t fixed_tokens(const std::vector<Needle>& needles) const;
  std::int64_t answer_tokens() const;

  std::vector<Needle> draw_needles(NameDrawer& names) const;
  std::string sentence_of(const std::string& key, const std::string& value) const;
  std::string question_of(const std::vector<Needle>& needles) const;
  std::unique_ptr<SentenceSource> make_source(Rng& rng, NameDrawer& names) const;
  void choose_places(const Haystack& haystack, Rng& rng, std::vector<Needle>& needles) const;
  std::string assemble(const Haystack& haystack, std::vector<Needle>& needles) const;
  std::vector<std::size_t> order_of_answers(const std::vector<Needle>& needles) const;
  Json facts_of(const std::vector<Needle>& needles) const;

  NeedleConfig config_;
  NeedlePlan plan_;
  std::optional<TokenCounter> counter_;
  std::unique_ptr<const TextFile> file_;
};

}  // namespace mta
