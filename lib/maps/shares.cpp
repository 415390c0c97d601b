// Sums over the target spans and words them.
#include "lib/maps/shares.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <span>

namespace mta::maps {
namespace {

constexpr double kPercent = 100;

/// Mass of each visible token, not normalised.
std::vector<double> mass_of(std::span<const float> row, bool weights) {
  std::vector<double> mass(row.begin(), row.end());
  if (weights) {
    for (double& value : mass) value = std::abs(value);
    return mass;
  }
  const double largest = *std::max_element(mass.begin(), mass.end());
  for (double& value : mass) value = std::exp(value - largest);
  return mass;
}

/// The part of `mass` in the spans; 0 when there is no mass at all.
double share_of(const std::vector<double>& mass, const std::vector<Span>& spans) {
  double all = 0, inside = 0;
  for (const double value : mass) all += value;
  const auto visible = std::int64_t(mass.size());
  for (const Span& span : spans) {
    for (std::int64_t t = span.begin; t < std::min(span.end, visible); ++t) {
      inside += mass[std::size_t(t)];
    }
  }
  return all > 0 ? inside / all : 0;
}

}  // namespace

void TargetShares::begin_sample(const LabelledSample& sample) {
  answer_rows_ = sample.answer_rows;
  targets_.clear();
  std::copy_if(sample.spans.begin(), sample.spans.end(), std::back_inserter(targets_),
               [](const Span& span) { return span.role == "target"; });
}

TargetShares::Sum& TargetShares::sum_of(std::int64_t layer, const std::string& stage,
                                        std::size_t heads) {
  const auto [place, is_new] = sums_.try_emplace({layer, stage});
  if (is_new) {
    order_.emplace_back(layer, stage);
    place->second.heads.resize(heads);
  }
  return place->second;
}

void TargetShares::add(const MapRows& rows) {
  if (targets_.empty()) return;
  const at::Tensor map = rows.map.contiguous();
  const auto heads = map.size(0), count = map.size(1), columns = map.size(2);
  for (const std::int64_t row : answer_rows_) {
    if (row < rows.first_row || row >= rows.first_row + count) continue;
    const auto visible = std::size_t(row) + 1;
    Sum& sum = sum_of(rows.layer, std::string(rows.stage), std::size_t(heads));
    for (std::int64_t head = 0; head < heads; ++head) {
      const float* const begin =
          map.const_data_ptr<float>() + (head * count + row - rows.first_row) * columns;
      sum.heads[std::size_t(head)] +=
          share_of(mass_of({begin, visible}, rows.after_softmax), targets_);
    }
    sum.uniform += share_of(std::vector<double>(visible, 1), targets_);
    ++sum.rows;
  }
}

Json TargetShares::to_json() const {
  Json list = Json::array();
  for (const auto& key : order_) {
    const Sum& sum = sums_.at(key);
    Json heads = Json::array();
    for (const double share : sum.heads) heads.push_back(share / double(sum.rows));
    list.push_back({{"layer", key.first},
                    {"stage", key.second},
                    {"heads", std::move(heads)},
                    {"uniform", sum.uniform / double(sum.rows)},
                    {"rows", sum.rows}});
  }
  return list;
}

std::string TargetShares::to_text() const {
  if (order_.empty()) return "";
  std::vector<std::string> stages;
  std::map<std::int64_t, std::size_t> heads_of_layer;
  for (const auto& [layer, stage] : order_) {
    if (std::find(stages.begin(), stages.end(), stage) == stages.end()) stages.push_back(stage);
    std::size_t& heads = heads_of_layer[layer];
    heads = std::max(heads, sums_.at({layer, stage}).heads.size());
  }
  const Sum& first = sums_.at(order_.front());
  std::string text = fmt::format(
      "share of attention on the target (%), {} rows that predict an answer; equal weights: "
      "{:.1f}\n"
      "layer  head",
      first.rows, kPercent * first.uniform / double(first.rows));
  for (const std::string& stage : stages) text += fmt::format("  {:>12}", stage);
  text += '\n';
  for (const auto& [layer, heads] : heads_of_layer) {
    for (std::size_t head = 0; head < heads; ++head) {
      text += fmt::format("{:>5}  {:>4}", layer, head);
      for (const std::string& stage : stages) {
        const auto found = sums_.find({layer, stage});
        const bool known = found != sums_.end() && head < found->second.heads.size();
        text += known ? fmt::format("  {:>12.1f}", kPercent * found->second.heads[head] /
                                                       double(found->second.rows))
                      : fmt::format("  {:>12}", "-");
      }
      text += '\n';
    }
  }
  return text;
}

}  // namespace mta::maps
