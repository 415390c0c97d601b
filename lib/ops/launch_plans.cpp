// Reads, writes, checks and searches the table.
#include "lib/ops/launch_plans.h"

#include "lib/core/description.h"
#include "lib/core/document.h"
#include "lib/kernels/support.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

namespace mta::embedded {
std::string_view launch_plans();
}

namespace mta::ops {
namespace {

using kernels::Direction;
using kernels::LaunchPlan;
using kernels::Problem;

constexpr std::int64_t kShortChunk = 256;  // rows
const std::vector<std::pair<Direction, std::string>> kDirections = {
    {Direction::Forward, "forward"}, {Direction::Backward, "backward"}};

/// The numbers of a LaunchPlan, which are int there.
struct LaunchNumbers {
  std::int64_t chunk_rows = 0, score_keys = 0, convolution_keys = 0, mixing_keys = 0,
               mixing_rows = 0;
};

Description describe(LaunchNumbers& n) {
  Description d;
  const Range range{.min = 0, .max = kernels::kMaxTokens};
  d.integer("chunk_rows", n.chunk_rows, "most rows of a chunk; 0 = what fits", range);
  d.integer("score_keys", n.score_keys, "keys of a strip of scores", range);
  d.integer("convolution_keys", n.convolution_keys, "keys of a strip of a convolution", range);
  d.integer("mixing_keys", n.mixing_keys, "keys of a strip of a mixing", range);
  d.integer("mixing_rows", n.mixing_rows, "rows of a mixing block", range);
  return d;
}

LaunchNumbers numbers_of(const LaunchPlan& l) {
  return {l.chunk_rows, l.score_keys, l.convolution_keys, l.mixing_keys, l.mixing_rows};
}

LaunchPlan plan_of(const LaunchNumbers& n) {
  const auto number = [](std::int64_t value) { return static_cast<int>(value); };
  return {.chunk_rows = number(n.chunk_rows),
          .score_keys = number(n.score_keys),
          .convolution_keys = number(n.convolution_keys),
          .mixing_keys = number(n.mixing_keys),
          .mixing_rows = number(n.mixing_rows)};
}

Description describe(LaunchEntry& entry, LaunchNumbers& launch) {
  LaunchClass& shape = entry.shape;
  Description d;
  d.text("card", entry.card, "the card, as mta list devices names it");
  d.choice("direction", shape.direction, kDirections, "the direction of a call");
  d.integer("head_dim", shape.head_dim, "head size d", {.min = 1});
  d.names("stages", shape.stages, {"kq_before", "heads_before", "kq_after", "heads_after"},
          "the stages that are on, in this order");
  d.integers("tokens", shape.tokens, "the least and the most T", {.min = 1});
  d.integers("chunk_rows", shape.chunk_rows, "the least and the most rows of a chunk by default",
             {.min = 1});
  d.object("launch", describe(launch), "the plan; 0 = by the rows of a chunk");
  return d;
}

void check_range(const std::vector<std::int64_t>& range, const std::string& pointer,
                 Problems& problems) {
  problems.require(range.size() == 2 && range[0] <= range[1], pointer,
                   "must be the least and the most");
}

LaunchEntry read_entry(const Json& object, const std::string& pointer, Problems& problems) {
  LaunchEntry entry;
  LaunchNumbers launch;
  describe(entry, launch).read(object, pointer, problems, {"measured"});
  if (!object.is_object()) return entry;
  problems.require(!entry.card.empty(), pointer + "/card", "is required");
  check_range(entry.shape.tokens, pointer + "/tokens", problems);
  check_range(entry.shape.chunk_rows, pointer + "/chunk_rows", problems);
  entry.launch = plan_of(launch);
  if (!problems.concerns(pointer + "/launch") &&
      kernels::check(entry.launch) != kernels::Status::Ok) {
    problems.add(pointer + "/launch", kernels::last_error());
  }
  const auto measured = object.find("measured");
  problems.require(measured != object.end() && measured->is_object(), pointer + "/measured",
                   "is required: an object that says what led to the plan");
  if (measured != object.end()) entry.measured = *measured;
  return entry;
}

bool inside(const std::vector<std::int64_t>& range, std::int64_t value) {
  return range[0] <= value && value <= range[1];
}

}  // namespace

LaunchClass launch_class(const Problem& p, Direction direction, int rows) {
  LaunchClass shape{
      .direction = direction, .head_dim = p.head_dim, .stages = {}, .tokens = {}, .chunk_rows = {}};
  const std::pair<bool, const char*> stages[] = {{p.conv_before.kernel != nullptr, "kq_before"},
                                                 {p.mix_before.weight != nullptr, "heads_before"},
                                                 {p.conv_after.kernel != nullptr, "kq_after"},
                                                 {p.mix_after.weight != nullptr, "heads_after"}};
  for (const auto& [is_on, name] : stages) {
    if (is_on) shape.stages.emplace_back(name);
  }
  std::int64_t least = 1, most = 2;  // then 3 to 5, 6 to 11, ...
  while (most < p.tokens) least = most + 1, most = 2 * most + 1;
  shape.tokens = {least, most};
  constexpr std::int64_t kLong = kernels::kLongChunk;
  shape.chunk_rows = rows < kShortChunk ? std::vector<std::int64_t>{1, kShortChunk - 1}
                     : rows < kLong     ? std::vector<std::int64_t>{kShortChunk, kLong - 1}
                                        : std::vector<std::int64_t>{kLong, kernels::kMaxTokens};
  return shape;
}

std::vector<LaunchEntry> read_launch_plans(const Json& root, const std::string& file) {
  const Document document{.root = root, .origins = {{"", file}}};
  Problems problems(document);
  std::vector<LaunchEntry> entries;
  if (expect_type(root.is_object(), "an object", root, "", problems)) {
    const auto schema = root.find("schema");
    const bool ours = schema != root.end() && *schema == kLaunchPlansSchema;
    problems.require(ours, "/schema",
                     fmt::format("must be \"{}\", but is {}", kLaunchPlansSchema,
                                 schema == root.end() ? "absent" : shown(*schema)),
                     "mta bench attention --tune writes such files");
    const auto plans = root.find("plans");
    if (ours && plans == root.end()) problems.add("/plans", "is required");
    if (ours && plans != root.end() &&
        expect_type(plans->is_array(), "a list of plans", *plans, "/plans", problems)) {
      for (std::size_t i = 0; i < plans->size(); ++i) {
        entries.push_back(read_entry((*plans)[i], fmt::format("/plans/{}", i), problems));
        for (std::size_t j = 0; j < i; ++j) {
          problems.require(
              entries[i].card != entries[j].card || !(entries[i].shape == entries[j].shape),
              fmt::format("/plans/{}", i), fmt::format("has the card and class of /plans/{}", j));
        }
      }
    }
  }
  problems.raise();
  return entries;
}

Json to_json(const std::vector<LaunchEntry>& entries) {
  Json plans = Json::array();
  for (LaunchEntry entry : entries) {
    LaunchNumbers launch = numbers_of(entry.launch);
    plans.push_back(describe(entry, launch).write());
    plans.back()["measured"] = entry.measured;
  }
  return {{"schema", kLaunchPlansSchema}, {"plans", std::move(plans)}};
}

const std::vector<LaunchEntry>& installed_launch_plans() {
  static const std::vector<LaunchEntry> installed =
      read_launch_plans(parse_json(embedded::launch_plans(), "lib/ops/launch_plans.json"),
                        "lib/ops/launch_plans.json");
  return installed;
}

const LaunchEntry* find_launch(const std::vector<LaunchEntry>& entries, std::string_view card,
                               const Problem& problem, Direction direction, std::size_t budget) {
  const auto of_card = [&](const LaunchEntry& entry) { return entry.card == card; };
  if (std::none_of(entries.begin(), entries.end(), of_card)) return nullptr;
  Problem plain = problem;
  plain.launch = {};
  const int rows = kernels::workspace_plan(plain, direction, budget).rows;
  const std::vector<std::string> stages = launch_class(problem, direction, rows).stages;
  const auto found = std::find_if(entries.begin(), entries.end(), [&](const LaunchEntry& entry) {
    const LaunchClass& shape = entry.shape;
    return of_card(entry) && shape.direction == direction && shape.head_dim == problem.head_dim &&
           shape.stages == stages && inside(shape.tokens, problem.tokens) &&
           inside(shape.chunk_rows, rows);
  });
  return found == entries.end() ? nullptr : &*found;
}

std::string launch_plans_of(std::string_view card) {
  const auto& entries = installed_launch_plans();
  const bool known = std::any_of(entries.begin(), entries.end(),
                                 [&](const LaunchEntry& entry) { return entry.card == card; });
  return known ? std::string(card) : kDefaultPlan;
}

}  // namespace mta::ops
