// What the needle task's keys mean together: presets, and the checks that refuse what cannot be.
#include "tasks/needle_task.h"
#include "tasks/split.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

namespace mta {
namespace {

const std::vector<std::pair<HaystackKind, std::string>> kHaystacks = {
    {HaystackKind::Auto, "auto"},
    {HaystackKind::Sentences, "sentences"},
    {HaystackKind::Noise, "noise"},
    {HaystackKind::Needles, "needles"},
    {HaystackKind::File, "file"}};

constexpr std::int64_t kGrid = 40;

/// RULER's, as in its scripts/synthetic.yaml; its essays are drawn sentences or a file here.
std::vector<NeedlePlan> presets() {
  using H = HaystackKind;
  using K = KeyKind;
  using V = ValueKind;
  const auto grid = DepthKind::Grid;
  const auto uniform = DepthKind::Uniform;
  return {{"multi_needle", H::Sentences, K::Cities, V::Numbers, 4, 1, 1, uniform, {}, false},
          {"niah_single_1", H::Noise, K::Words, V::Numbers, 1, 1, 1, uniform, {}, true},
          {"niah_single_2", H::Sentences, K::Words, V::Numbers, 1, 1, 1, grid, {}, true},
          {"niah_single_3", H::Sentences, K::Words, V::Uuids, 1, 1, 1, grid, {}, true},
          {"niah_multikey_1", H::Sentences, K::Words, V::Numbers, 4, 1, 1, grid, {}, true},
          {"niah_multikey_2", H::Needles, K::Words, V::Numbers, 1, 1, 1, uniform, {}, true},
          {"niah_multikey_3", H::Needles, K::Uuids, V::Uuids, 1, 1, 1, uniform, {}, true},
          {"niah_multivalue", H::Sentences, K::Words, V::Numbers, 1, 4, 1, grid, {}, true},
          {"niah_multiquery", H::Sentences, K::Words, V::Numbers, 4, 1, 4, grid, {}, true}};
}

NeedlePlan preset(const std::string& name) {
  for (const NeedlePlan& plan : presets()) {
    if (plan.name == name) return plan;
  }
  return presets().front();
}

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const NeedlePlan& plan : presets()) names.push_back(plan.name);
  return names;
}

void read_depths(NeedleConfig& config, const Json& value, const std::string& pointer,
                 Problems& problems) {
  if (value.is_array()) {
    std::vector<double> depths;
    for (const Json& depth : value) {
      const bool fraction = depth.is_number() && depth >= 0.0 && depth <= 1.0;
      const std::string at = pointer + "/" + std::to_string(depths.size());
      if (!expect_type(fraction, "a fraction from 0 to 1", depth, at, problems)) return;
      depths.push_back(depth.get<double>());
    }
    config.depth_kind = DepthKind::List;
    config.depths = std::move(depths);
    return;
  }
  const std::vector<std::pair<std::string, DepthKind>> kinds = {
      {"auto", DepthKind::Auto}, {"uniform", DepthKind::Uniform}, {"grid", DepthKind::Grid}};
  for (const auto& [name, kind] : kinds) {
    if (value != name) continue;
    config.depth_kind = kind;
    return;
  }
  expect_type(false, "\"auto\", \"uniform\", \"grid\" or a list of fractions", value, pointer,
              problems);
}

Json write_depths(const NeedleConfig& config) {
  switch (config.depth_kind) {
    case DepthKind::Uniform:
      return "uniform";
    case DepthKind::Grid:
      return "grid";
    case DepthKind::List:
      return config.depths;
    case DepthKind::Auto:
      break;
  }
  return "auto";
}

Description::Field depths_field(NeedleConfig& config) {
  return {.key = "depths",
          .doc =
              "where needles stand, as fractions of the haystack: uniform; grid: round(linspace("
              "0, 100, 40)) percent; a list: one for each needle, those asked for first, or "
              "more, to draw from; auto: the preset's own",
          .read = [&config](const Json& value, const std::string& pointer,
                            Problems& problems) { read_depths(config, value, pointer, problems); },
          .write = [&config]() -> Json { return write_depths(config); },
          .schema = []() -> Json {
            const Json fraction = {{"type", "number"}, {"minimum", 0}, {"maximum", 1}};
            const Json list = {{"type", "array"}, {"items", fraction}};
            return {{"anyOf", Json::array({{{"enum", {"auto", "uniform", "grid"}}}, list})}};
          }};
}

}  // namespace

Description NeedleTask::describe() {
  Description d;
  d.name("preset", config_.preset, preset_names(), "multi_needle, or one of RULER's tasks");
  d.integer("length", config_.length, "largest number of tokens, answer included",
            {.min = 1, .max = 1 << 22});
  d.choice("tokenizer", config_.tokenizer, kTextTokens, "what a token is");
  d.optional_integer("needles", config_.needles, "needles of multi_needle; null: 4", {.min = 1});
  d.optional_integer("asked", config_.asked, "needles of multi_needle asked for; null: 1",
                     {.min = 1});
  d.field(depths_field(config_));
  d.choice("haystack", config_.haystack, kHaystacks,
           "sentences drawn from word lists, a few sentences repeated, more needles, or a text "
           "file; auto: the preset's own");
  d.text("haystack_file", config_.haystack_file, "text file for haystack \"file\"");
  return d;
}

void NeedleTask::prepare(const std::string& pointer, Problems& problems) {
  choose_plan(pointer, problems);
  if (problems.concerns(pointer)) return;
  choose_tokens();
  if (plan_.haystack == HaystackKind::File) {
    try {
      file_ = std::make_unique<TextFile>(config_.haystack_file, *counter_);
    } catch (const UserError& error) {
      return problems.add(pointer + "/haystack_file", error.what());
    }
  }
  check_length(pointer, problems);
  check_keys(pointer, problems);
  if (!problems.concerns(pointer)) probe(*this, pointer, problems);
}

void NeedleTask::choose_plan(const std::string& pointer, Problems& problems) {
  plan_ = preset(config_.preset);
  if (plan_.ruler) {
    problems.require(
        !config_.needles && !config_.asked, pointer + "/preset",
        fmt::format("{} has its own number of needles: leave needles and asked out", plan_.name));
  }
  const HaystackKind own = plan_.haystack;
  if (config_.haystack != HaystackKind::Auto) plan_.haystack = config_.haystack;
  const bool essay = own == HaystackKind::Sentences && plan_.haystack == HaystackKind::File;
  problems.require(
      !plan_.ruler || plan_.haystack == own || essay, pointer + "/haystack",
      fmt::format("{} has its own haystack (an essay may be \"sentences\" or \"file\")",
                  plan_.name));
  problems.require(config_.haystack_file.empty() == (plan_.haystack != HaystackKind::File),
                   pointer + "/haystack_file", "goes with haystack \"file\", and only with it");
  plan_.keys = config_.needles.value_or(plan_.keys);
  plan_.asked = config_.asked.value_or(plan_.asked);
  const std::int64_t needles = plan_.keys * plan_.values;
  problems.require(
      plan_.asked <= plan_.keys, pointer + "/asked",
      fmt::format("must be at most needles (asked {}, needles {})", plan_.asked, plan_.keys));

  if (config_.depth_kind != DepthKind::Auto) plan_.depth_kind = config_.depth_kind;
  plan_.depths = config_.depths;
  if (plan_.depth_kind == DepthKind::Grid) {
    plan_.depths.clear();
    for (std::int64_t i = 0; i < kGrid; ++i) {
      plan_.depths.push_back(std::round(100.0 * static_cast<double>(i) / (kGrid - 1)) / 100);
    }
  }
  problems.require(plan_.depth_kind == DepthKind::Uniform ||
                       static_cast<std::int64_t>(plan_.depths.size()) >= needles,
                   pointer + "/depths",
                   fmt::format("must be at least as many as needles ({} depths, {} needles)",
                               plan_.depths.size(), needles));
}

void NeedleTask::choose_tokens() {
  const std::shared_ptr<const Tokenizer> tokenizer = text_tokenizer(config_.tokenizer);
  use(tokenizer);
  counter_.emplace(tokenizer, config_.tokenizer == TextTokens::Words
                                  ? TokenCounter::Unit::Words
                                  : TokenCounter::Unit::Characters);
}

std::int64_t NeedleTask::answer_tokens() const {
  const bool words = counter_->unit() == TokenCounter::Unit::Words;
  const std::string value = some_value(plan_.value_kind);
  const auto one = static_cast<std::int64_t>(value.size());  // spelled: a token a character
  const std::int64_t between = words ? 1 : 2;                // "," or ", "
  return plan_.asked * plan_.values * (one + between) - between;
}

std::int64_t NeedleTask::fixed_tokens(const std::vector<Needle>& needles) const {
  constexpr std::int64_t kBeginEndNewLine = 3;
  std::int64_t tokens = kBeginEndNewLine + counter_->tokens(question_of(needles)) + answer_tokens();
  for (const Needle& needle : needles) tokens += counter_->tokens(needle.sentence);
  return tokens;
}

/// The longest needles and question and one sentence must fit.
void NeedleTask::check_length(const std::string& pointer, Problems& problems) const {
  std::vector<Needle> needles(static_cast<std::size_t>(plan_.keys * plan_.values));
  for (std::size_t i = 0; i < needles.size(); ++i) {
    needles[i].key = longest_key(plan_.key_kind);
    needles[i].sentence = sentence_of(needles[i].key, some_value(plan_.value_kind));
    needles[i].asked = static_cast<std::int64_t>(i) / plan_.values < plan_.asked;
  }
  std::int64_t sentence = 0;
  switch (plan_.haystack) {
    case HaystackKind::Noise:
      sentence = counter_->tokens("The grass is green.");
      break;
    case HaystackKind::Needles:
      sentence = counter_->tokens(needles[0].sentence);
      break;
    case HaystackKind::File:
      sentence = file_->longest();
      break;
    default:
      sentence = longest_drawn_sentence(*counter_);
  }
  const std::int64_t rest = fixed_tokens(needles);
  const std::int64_t one = counter_->tokens(needles[0].sentence);
  const auto count = static_cast<std::int64_t>(needles.size());
  problems.require(
      config_.length >= rest + sentence, pointer + "/length",
      fmt::format("must be at least {} = {} ({} x {} of needles) + {} (answer) + {} (one sentence "
                  "of haystack) + {} (question, begin, end), but is {}",
                  rest + sentence, count * one, count, one, answer_tokens(), sentence,
                  rest - count * one - answer_tokens(), config_.length));
}

/// Are there enough different keys?
void NeedleTask::check_keys(const std::string& pointer, Problems& problems) const {
  double needed = static_cast<double>(plan_.keys);
  if (plan_.haystack == HaystackKind::Needles) {
    const std::int64_t shortest =
        counter_->tokens(sentence_of(shortest_key(plan_.key_kind), some_value(plan_.value_kind)));
    needed += std::floor(static_cast<double>(config_.length) / static_cast<double>(shortest));
  }
  const double keys = count_keys(plan_.key_kind, file_.get());
  const bool many = plan_.haystack == HaystackKind::Needles;
  problems.require(needed <= keys, pointer + (many ? "/length" : "/needles"),
                   fmt::format("needs up to {} different keys, but there are {}{}", needed, keys,
                               file_ ? " that do not stand in haystack_file" : ""));
}

double NeedleTask::log2_contexts() const {
  double bits = 0;
  const double keys = count_keys(plan_.key_kind, file_.get());
  for (std::int64_t i = 0; i < plan_.keys; ++i) bits += std::log2(keys - static_cast<double>(i));
  const double values = count_values(plan_.value_kind);
  for (std::int64_t i = 0; i < plan_.keys * plan_.values; ++i) {
    bits += std::log2(values - static_cast<double>(i));
  }
  return bits;
}

}  // namespace mta
