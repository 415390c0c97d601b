// Needles in a haystack: find the numbers of the cities that are asked for.
//
//     ... The special magic Oslo number is: 4812339. ... What is the special magic number for Oslo?
//     ->  4812339
//
// The paper's long-context test (arXiv 2504.00927, section 4.3), and the eight presets of RULER
// (arXiv 2404.06654, scripts/synthetic.yaml of its repository).
#include "lib/text/hash.h"
#include "tasks/needle_task.h"
#include "tasks/registry.h"
#include "tasks/split.h"

#include <fmt/core.h>

#include <algorithm>
#include <numeric>

namespace mta {
namespace {

std::string list_of(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i > 0) text += names.size() == 2 ? " and " : i + 1 == names.size() ? ", and " : ", ";
    text += names[i];
  }
  return text;
}

}  // namespace

Sample NeedleTask::sample(std::uint64_t seed, Split split, std::uint64_t index) const {
  Rng rng = sample_rng(seed, split, index);
  std::vector<Needle> needles;
  Sample sample;
  std::optional<NameDrawer> names;
  sample.context = draw_for(split, [&] {
    names.emplace(rng, plan_.key_kind, plan_.value_kind, file_.get());
    needles = draw_needles(*names);
    std::string identity;
    for (const Needle& needle : needles) identity += needle.sentence + '\n';
    return hash_text(identity);
  });

  const std::int64_t tokens = fixed_tokens(needles);
  Haystack haystack;
  const std::unique_ptr<SentenceSource> source = make_source(rng, *names);
  haystack.fill(*source, config_.length - tokens);
  choose_places(haystack, rng, needles);
  sample.src = assemble(haystack, needles) + '\n' + question_of(needles);

  Json answers = Json::array();
  for (const std::size_t i : order_of_answers(needles)) {
    if (!sample.tgt.empty()) sample.tgt += ", ";
    sample.tgt += needles[i].value;
    answers.push_back(needles[i].value);
  }
  sample.facts = {{"index", index}, {"preset", plan_.name}, {"seed", seed}};
  sample.facts["answers"] = std::move(answers);
  sample.facts["length"] = counter_->whole(sample.src, sample.tgt, tokens + haystack.tokens);
  sample.facts["needles"] = facts_of(needles);
  sample.slices = slices(sample.facts);
  sample.part_slices = part_slices(sample.facts);
  return sample;
}

/// The needles that are asked for come first; each key has all its values one after another.
std::vector<NeedleTask::Needle> NeedleTask::draw_needles(NameDrawer& names) const {
  std::vector<Needle> needles;
  for (std::int64_t k = 0; k < plan_.keys; ++k) {
    const std::string key = names.key();
    for (std::int64_t v = 0; v < plan_.values; ++v) {
      Needle needle;
      needle.key = key;
      needle.value = names.value();
      needle.sentence = sentence_of(key, needle.value);
      needle.asked = k < plan_.asked;
      needles.push_back(std::move(needle));
    }
  }
  return needles;
}

std::string NeedleTask::sentence_of(const std::string& key, const std::string& value) const {
  if (!plan_.ruler) return "The special magic " + key + " number is: " + value + '.';
  return fmt::format("One of the special magic {}s for {} is: {}.", kind_word(), key, value);
}

std::string NeedleTask::question_of(const std::vector<Needle>& needles) const {
  std::vector<std::string> keys;
  for (std::size_t i = 0; i < needles.size(); i += static_cast<std::size_t>(plan_.values)) {
    if (needles[i].asked) keys.push_back(needles[i].key);
  }
  const char* where = plan_.ruler ? " mentioned in the provided text?" : "?";
  if (plan_.asked * plan_.values == 1) {
    return fmt::format("What is the special magic {} for {}{}", kind_word(), keys[0], where);
  }
  return fmt::format("What are {}the special magic {}s for {}{}", plan_.ruler ? "all " : "",
                     kind_word(), list_of(keys), where);
}

/// Sentences for the haystack; those of the "needles" kind must differ in key and value from the
/// needles, so they come from the same drawer of names.
class NeedleTask::NeedleSentences final : public SentenceSource {
 public:
  NeedleSentences(const NeedleTask& task, NameDrawer& names) : task_(task), names_(names) {}

  std::int64_t append(std::string& text) override {
    const std::string key = names_.key();
    const std::string sentence = task_.sentence_of(key, names_.value());
    text += sentence;
    return task_.counter_->tokens(sentence);
  }

 private:
  const NeedleTask& task_;
  NameDrawer& names_;
};

std::unique_ptr<SentenceSource> NeedleTask::make_source(Rng& rng, NameDrawer& names) const {
  switch (plan_.haystack) {
    case HaystackKind::Noise:
      return noise(*counter_);
    case HaystackKind::Needles:
      return std::make_unique<NeedleSentences>(*this, names);
    case HaystackKind::File:
      return file_->sentences(rng);
    case HaystackKind::Auto:
    case HaystackKind::Sentences:
      break;
  }
  return drawn_sentences(rng, *counter_);
}

void NeedleTask::choose_places(const Haystack& haystack, Rng& rng,
                               std::vector<Needle>& needles) const {
  const auto boundaries = static_cast<std::uint32_t>(haystack.boundaries());
  std::vector<double> depths = plan_.depths;
  if (plan_.depth_kind == DepthKind::List && depths.size() > needles.size()) rng.shuffle(depths);
  if (plan_.depth_kind == DepthKind::Grid) rng.shuffle(depths);
  for (std::size_t i = 0; i < needles.size(); ++i) {
    needles[i].boundary = plan_.depth_kind == DepthKind::Uniform
                              ? rng.below(boundaries)
                              : haystack.nearest_boundary(depths[i]);
    needles[i].depth = static_cast<double>(haystack.before(needles[i].boundary)) /
                       static_cast<double>(haystack.text.size());
    needles[i].tie = rng.next();
  }
}

/// Needles in the order of the text, each put down as a sentence of its own.
std::string NeedleTask::assemble(const Haystack& haystack, std::vector<Needle>& needles) const {
  std::vector<std::size_t> order(needles.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::pair(needles[a].boundary, needles[a].tie) <
           std::pair(needles[b].boundary, needles[b].tie);
  });
  std::vector<std::string_view> sentences;
  std::vector<std::size_t> places;
  for (const std::size_t i : order) {
    sentences.push_back(needles[i].sentence);
    places.push_back(needles[i].boundary);
  }
  SpreadText spread = spread_over(haystack, sentences, places);
  for (std::size_t place = 0; place < order.size(); ++place) {
    Needle& needle = needles[order[place]];
    needle.place = place;
    needle.start = spread.begins[place];
    needle.end = spread.ends[place];
  }
  return std::move(spread.text);
}

/// Keys in the order asked; values of one key in the order of the text.
std::vector<std::size_t> NeedleTask::order_of_answers(const std::vector<Needle>& needles) const {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < needles.size(); ++i) {
    if (needles[i].asked) order.push_back(i);
  }
  const auto values = static_cast<std::size_t>(plan_.values);
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::pair(a / values, needles[a].place) < std::pair(b / values, needles[b].place);
  });
  return order;
}

Json NeedleTask::facts_of(const std::vector<Needle>& needles) const {
  std::vector<const Needle*> by_place(needles.size());
  for (const Needle& needle : needles) by_place[needle.place] = &needle;
  Json facts = Json::array();
  for (const Needle* needle : by_place) {
    facts.push_back({{"key", needle->key},
                     {"value", needle->value},
                     {"depth", needle->depth},
                     {"start", needle->start},
                     {"end", needle->end},
                     {"asked", needle->asked}});
  }
  return facts;
}

/// Number of needles, number asked for, and length to the next power of two.
Slices NeedleTask::slices(const Json& facts) const {
  Slices slices;
  const auto needles = facts.find("needles");
  if (needles != facts.end() && needles->is_array()) {
    slices.emplace_back("needles", std::to_string(needles->size()));
  }
  const auto answers = facts.find("answers");
  if (answers != facts.end()) slices.emplace_back("asked", std::to_string(answers->size()));
  add_rounded_length(facts, slices);
  return slices;
}

/// Of each value asked for, in the order of the answer: "answers: each" counts the share of values
/// found (RULER's score), "depth" the same by depth to a tenth.
std::vector<Slices> NeedleTask::part_slices(const Json& facts) const {
  std::vector<Slices> parts;
  const auto answers = facts.find("answers");
  const auto needles = facts.find("needles");
  if (answers == facts.end() || needles == facts.end() || !needles->is_array()) return parts;
  for (const Json& answer : *answers) {
    Slices slices = {{"answers", "each"}};
    for (const Json& needle : *needles) {
      if (needle.value("value", Json()) != answer) continue;
      slices.emplace_back("depth", fmt::format("{:.1f}", needle.value("depth", 0.0)));
    }
    parts.push_back(std::move(slices));
  }
  return parts;
}

Encoded NeedleTask::encode(const Sample& sample) const {
  Encoded encoded = TextTask::encode(sample);
  number_parts(encoded, ',');
  return encoded;
}

std::unique_ptr<Task> tasks::needle() { return std::make_unique<NeedleTask>(); }

}  // namespace mta
