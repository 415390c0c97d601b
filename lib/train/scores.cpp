// Scores to JSON and back, and what is read off a list of evaluations.
#include "lib/train/scores.h"

#include <charconv>
#include <cmath>
#include <limits>

namespace mta {
namespace {

std::optional<double> number_of(const std::string& word) {
  double value = 0;
  const char* end = word.data() + word.size();
  const auto [stop, error] = std::from_chars(word.data(), end, value);
  if (error != std::errc() || stop != end || !std::isfinite(value)) return std::nullopt;
  return value;
}

}  // namespace

bool SliceOrder::operator()(const std::string& a, const std::string& b) const {
  const std::optional<double> x = number_of(a), y = number_of(b);
  if (x && y && *x != *y) return *x < *y;
  if (x.has_value() != y.has_value()) return x.has_value();
  return a < b;
}

std::pair<double, double> wilson_interval(const SliceCount& slice) {
  constexpr double kZ = 1.959963984540054;  // 97.5 % quantile of the standard normal
  const auto n = static_cast<double>(slice.count);
  const double share = static_cast<double>(slice.correct) / n;
  const double centre = (share + kZ * kZ / (2 * n)) / (1 + kZ * kZ / n);
  const double half =
      kZ * std::sqrt(share * (1 - share) / n + kZ * kZ / (4 * n * n)) / (1 + kZ * kZ / n);
  // At 0 and 1 the ends are exact; rounding must not step over them.
  return {slice.correct == 0 ? 0 : centre - half, slice.correct == slice.count ? 1 : centre + half};
}

Json to_json(const Evaluation& evaluation) {
  const Scores& scores = evaluation.scores;
  return {{"step", evaluation.step},
          {"split", evaluation.split},
          {"mode", evaluation.mode},
          {"err_seq", or_null(scores.err_seq)},
          {"err_tok", or_null(scores.err_tok)},
          {"loss", or_null(scores.loss)},
          {"scored", scores.scored}};
}

Json to_json(const SliceCounts& slices) {
  Json json = Json::object();
  for (const auto& [name, values] : slices) {
    Json& group = json[name] = Json::object();
    for (const auto& [value, count] : values) {
      const auto [low, high] = wilson_interval(count);
      group[value] = {
          {"correct", count.correct},
          {"count", count.count},
          {"accuracy", static_cast<double>(count.correct) / static_cast<double>(count.count)},
          {"interval", {low, high}}};
    }
  }
  return json;
}

Evaluation evaluation_from_json(const Json& json) {
  Evaluation evaluation;
  evaluation.step = json.at("step").get<std::int64_t>();
  evaluation.split = json.at("split").get<std::string>();
  evaluation.mode = json.at("mode").get<std::string>();
  evaluation.scores.err_seq = optional_from_json<double>(json.at("err_seq"));
  evaluation.scores.err_tok = optional_from_json<double>(json.at("err_tok"));
  evaluation.scores.loss = optional_from_json<double>(json.at("loss"));
  evaluation.scores.scored = json.at("scored").get<std::int64_t>();
  if (json.contains("slices")) evaluation.scores.slices = slices_from_json(json.at("slices"));
  return evaluation;
}

SliceCounts slices_from_json(const Json& json) {
  SliceCounts slices;
  for (const auto& [name, values] : json.items()) {
    for (const auto& [value, count] : values.items()) {
      slices[name][value] = {.correct = count.at("correct").get<std::int64_t>(),
                             .count = count.at("count").get<std::int64_t>()};
    }
  }
  return slices;
}

std::optional<std::int64_t> best_step(const std::vector<Evaluation>& evaluations,
                                      const std::string& mode) {
  const Evaluation* best = nullptr;
  const auto key = [](const Evaluation& e) {
    constexpr double kWorst = std::numeric_limits<double>::infinity();
    return std::pair(e.scores.err_seq.value_or(kWorst), e.scores.loss.value_or(kWorst));
  };
  for (const Evaluation& e : evaluations) {
    if (e.mode == mode && (best == nullptr || key(e) < key(*best))) best = &e;
  }
  if (best == nullptr) return std::nullopt;
  return best->step;
}

std::optional<std::int64_t> first_step_below(const std::vector<Evaluation>& evaluations,
                                             const std::string& mode, double threshold) {
  for (const Evaluation& e : evaluations) {
    if (e.mode == mode && e.scores.err_seq && *e.scores.err_seq < threshold) return e.step;
  }
  return std::nullopt;
}

}  // namespace mta
