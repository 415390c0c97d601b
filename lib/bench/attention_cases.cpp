// Reads, writes and checks cases.
#include "lib/bench/attention_cases.h"

#include "lib/core/document.h"
#include "lib/kernels/cost.h"

#include <fmt/core.h>

#include <string_view>
#include <utility>

namespace mta {

namespace embedded {
std::string_view attention_cases();
}

namespace {

Description describe(AttentionCase& one) {
  Description d;
  d.text("name", one.name, "what the case is called");
  d.integer("batch", one.batch, "samples B", {.min = 1});
  d.integer("heads", one.heads, "heads H", {.min = 1});
  d.integer("tokens", one.tokens, "length T, in tokens", {.min = 1});
  d.integer("head_dim", one.head_dim, "head size d", {.min = 1});
  d.boolean("composed", one.composed, "time the composed path, too");
  return d;
}

AttentionCase read_case(const Json& object, const std::string& pointer, Problems& problems) {
  AttentionCase one;
  describe(one).read(object, pointer, problems, {"attention"});
  if (!object.is_object()) return one;
  problems.require(!one.name.empty(), pointer + "/name", "is required");
  const auto attention = object.find("attention");
  problems.require(attention != object.end(), pointer + "/attention", "is required",
                   "an object of stages, as in an experiment file; {} is standard attention");
  if (attention == object.end()) return one;
  one.attention = read_attention(*attention, pointer + "/attention", problems);
  return one;
}

}  // namespace

double AttentionCase::logits() const {
  return kernels::causal_logits(static_cast<double>(batch), static_cast<double>(heads),
                                static_cast<double>(tokens));
}

std::vector<AttentionCase> read_attention_cases(const Json& list, const std::string& file) {
  const Document document{.root = list, .origins = {{"", file}}};
  Problems problems(document);
  std::vector<AttentionCase> cases;
  if (expect_type(list.is_array(), "a list of cases", list, "", problems)) {
    for (std::size_t i = 0; i < list.size(); ++i) {
      cases.push_back(read_case(list[i], fmt::format("/{}", i), problems));
    }
  }
  problems.raise();
  for (const AttentionCase& one : cases) {
    const Document of_case{.origins = {{"", file + ", case " + one.name}}};
    Problems between_keys(of_case);
    validate(one.attention, one.heads, 1, between_keys);
    between_keys.raise();
  }
  return cases;
}

Json to_json(const AttentionCase& one) {
  AttentionCase copy = one;
  Json json = describe(copy).write();
  json["attention"] = to_json(one.attention);
  return json;
}

std::vector<AttentionCase> usual_attention_cases() {
  return read_attention_cases(Json::parse(embedded::attention_cases()), "built-in cases");
}

}  // namespace mta
