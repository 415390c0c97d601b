// Finds blocks and needles in the text, then the tokens that they are made of.
#include "lib/maps/roles.h"

#include <fmt/core.h>

#include <algorithm>
#include <string_view>

namespace mta::maps {
namespace {

/// Characters [begin, end) of src.
struct TextSpan {
  std::string name;
  std::string role;
  std::size_t begin = 0, end = 0;
  bool is_part = false;  // colours tokens, but is no span of its own
};

bool holds_all(std::string_view block, std::string_view letters) {
  return std::all_of(letters.begin(), letters.end(),
                     [block](char letter) { return block.find(letter) != std::string_view::npos; });
}

/// src = blocks with "." between them, then "#" and a query, once or more (tasks/README.md).
std::vector<TextSpan> block_spans(const std::string& src) {
  std::vector<TextSpan> spans;
  const std::size_t context_end = std::min(src.find('#'), src.size());
  std::vector<std::string> queries;
  for (std::size_t begin = context_end; begin < src.size();) {
    const std::size_t end = std::min(src.find('#', begin + 1), src.size());
    queries.push_back(src.substr(begin + 1, end - begin - 1));
    spans.push_back({"query", "query", begin + 1, end, true});
    begin = end;
  }
  for (std::size_t begin = 0, number = 0; begin < context_end; ++number) {
    const std::size_t end = std::min(src.find('.', begin), context_end);
    const std::string block = src.substr(begin, end - begin);
    const bool wanted = std::any_of(queries.begin(), queries.end(), [&block](const auto& query) {
      return !query.empty() && holds_all(block, query);
    });
    spans.push_back(
        {fmt::format("block {} ({})", number, block), wanted ? "target" : "context", begin, end});
    begin = end + 1;
  }
  return spans;
}

std::vector<TextSpan> needle_spans(const Sample& sample) {
  std::vector<TextSpan> spans;
  std::size_t last_end = 0;
  for (const Json& needle : sample.facts.at("needles")) {
    const bool asked = needle.value("asked", false);
    spans.push_back({fmt::format("needle {}", needle.value("key", std::string())),
                     asked ? "target" : "needle", needle.at("start").get<std::size_t>(),
                     needle.at("end").get<std::size_t>()});
    last_end = std::max(last_end, spans.back().end);
  }
  for (const Json& needle : sample.facts.at("needles")) {
    const auto key = needle.value("key", std::string());
    const std::size_t place = sample.src.rfind(key);
    if (key.empty() || place == std::string::npos || place < last_end) continue;
    spans.push_back({"query", "query", place, place + key.size(), true});
  }
  return spans;
}

std::vector<TextSpan> text_spans(const std::string& kind, const Sample& sample) {
  if (kind == "block_finding") return block_spans(sample.src);
  if (sample.facts.contains("needles")) return needle_spans(sample);
  return {};
}

/// ends[t]: how many characters of src the tokens up to t make, t included. Token 0 begins the
/// sequence and makes none.
std::vector<std::size_t> character_ends(const Task& task, const std::vector<std::int32_t>& tokens) {
  std::vector<std::size_t> ends(tokens.size());
  for (std::size_t t = 1; t < tokens.size(); ++t) {
    ends[t] = task.decode(std::span(tokens).subspan(1, t)).size();
  }
  return ends;
}

/// The tokens whose last character lies in the span.
Span token_span(const TextSpan& text, const std::vector<std::size_t>& ends) {
  Span span{text.name, text.role, 0, 0};
  span.begin = std::upper_bound(ends.begin(), ends.end(), text.begin) - ends.begin();
  span.end = std::upper_bound(ends.begin(), ends.end(), text.end) - ends.begin();
  return span;
}

}  // namespace

LabelledSample label_sample(const Task& task, const std::string& kind, const Sample& sample,
                            std::int64_t index) {
  const Encoded encoded = task.encode(sample);
  const auto& read = encoded.shown.empty() ? encoded.tokens : encoded.shown;
  LabelledSample labelled{index, sample.src, sample.tgt, read, {}, {}, {}};
  labelled.tokens.pop_back();
  for (std::size_t t = 0; t < labelled.tokens.size(); ++t) {
    const char* const role = t == 0 ? "special" : encoded.scored[t] ? "answer" : "context";
    labelled.labels.push_back({task.decode(std::span(labelled.tokens).subspan(t, 1)), role});
    if (encoded.scored[t + 1]) labelled.answer_rows.push_back(std::int64_t(t));
  }
  const std::vector<TextSpan> spans = text_spans(kind, sample);
  if (spans.empty()) return labelled;
  const std::vector<std::size_t> ends = character_ends(task, labelled.tokens);
  for (const TextSpan& text : spans) {
    const Span span = token_span(text, ends);
    for (std::int64_t t = span.begin; t < span.end; ++t)
      labelled.labels[std::size_t(t)].role = text.role;
    if (!text.is_part) labelled.spans.push_back(span);
  }
  std::sort(labelled.spans.begin(), labelled.spans.end(),
            [](const Span& a, const Span& b) { return a.begin < b.begin; });
  return labelled;
}

}  // namespace mta::maps
