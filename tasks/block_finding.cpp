// Block finding: find the block that contains all query letters, and write it out.
//
//     dxkwq.gnxaq.wqvnr.eszyc.qyrgn#ze  ->  eszyc
//
// The paper's motivating task (arXiv 2504.00927, section 4.1): one key vector would have to hold
// all letters of its block for standard attention to find it.
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

enum class Target { All, First, Last };
enum class Truncation { Reference, Fit };

const std::vector<std::pair<Target, std::string>> kTargets = {
    {Target::All, "all"}, {Target::First, "first"}, {Target::Last, "last"}};
const std::vector<std::pair<Truncation, std::string>> kTruncations = {
    {Truncation::Reference, "reference"}, {Truncation::Fit, "fit"}};

struct Config {
  std::int64_t block_length = 5;
  std::int64_t query_length = 2;
  std::int64_t alphabet = 26;
  std::int64_t length = 319;
  Target target = Target::All;
  Truncation truncation = Truncation::Fit;
  std::int64_t queries = 1;
  double hard_distractors = 0.0;

  /// Characters: all queries, all answers, and what is left for the context.
  std::int64_t query_part() const { return queries * (query_length + 1) - 1; }
  std::int64_t answer_part() const { return queries * (block_length + 1) - 1; }
  std::int64_t room(std::int64_t total) const { return total - answer_part() - query_part() - 1; }
  /// The smallest length whose context holds `blocks` whole blocks.
  std::int64_t length_for(std::int64_t blocks) const {
    return blocks * (block_length + 1) - 1 + answer_part() + query_part() + 1;
  }
};

class BlockFinding final : public TextTask {
 public:
  Description describe() override;
  void prepare(const std::string& pointer, Problems& problems) override;
  std::vector<std::string> notices() const override;
  Sample sample(std::uint64_t seed, Split split, std::uint64_t index) const override;
  Slices slices(const Json& facts) const override;
  std::vector<Slices> part_slices(const Json& facts) const override;
  Encoded encode(const Sample& sample) const override;
  double log2_contexts() const override;
  std::int64_t max_tokens() const override;

 private:
  void check(const std::string& pointer, Problems& problems) const;
  void check_blocks(const std::string& pointer, Problems& problems) const;
  void choose_shape();
  Sample finish(const BlockContext& context) const;
  Json facts_of(const BlockContext& context, std::size_t length) const;
  std::string reference_notice() const;

  Config config_;
  BlockShape shape_;
  std::size_t context_length_ = 0;  // characters, after cutting
};

Description BlockFinding::describe() {
  const auto letters = static_cast<double>(kLetters.size());
  Description d;
  d.integer("block_length", config_.block_length, "N, distinct letters in a block",
            {.min = 1, .max = letters});
  d.integer("query_length", config_.query_length, "L, letters asked for, at most N",
            {.min = 1, .max = letters});
  d.integer("alphabet", config_.alphabet, "V, the first V of a-z, A-Z, 0-9",
            {.min = 2, .max = letters});
  d.integer("length", config_.length,
            "P, characters of context, '#', query and whole answer together",
            {.min = 1, .max = 1 << 20});
  d.choice("target", config_.target, kTargets, "the answer: the block, its first or last letter");
  d.choice("truncation", config_.truncation, kTruncations,
           "reference: exactly P characters, the last block may be cut; fit: the largest length up "
           "to P that holds whole blocks");
  d.integer("queries", config_.queries, "targets in one context, asked for one after another",
            {.min = 1, .max = 64});
  d.real("hard_distractors", config_.hard_distractors,
         "share of distractors that hold all query letters but one", {.min = 0, .max = 1});
  return d;
}

void BlockFinding::prepare(const std::string& pointer, Problems& problems) {
  check(pointer, problems);
  if (problems.concerns(pointer)) return;
  choose_shape();
  use(std::make_shared<CharacterTokenizer>(
      std::string(kLetters.substr(0, std::max<std::size_t>(26, shape_.alphabet))) + ".#_"));
  probe(*this, pointer, problems);  // counting is exact for one query only
}

void BlockFinding::check(const std::string& pointer, Problems& problems) const {
  const Config& c = config_;
  problems.require(c.query_length <= c.block_length, pointer + "/query_length",
                   fmt::format("must be at most block_length (query_length {}, block_length {})",
                               c.query_length, c.block_length));
  problems.require(c.block_length <= c.alphabet, pointer + "/block_length",
                   fmt::format("must be at most alphabet, as the letters of a block differ "
                               "(block_length {}, alphabet {})",
                               c.block_length, c.alphabet));
  const std::int64_t shortest = c.length_for(c.queries);
  problems.require(
      c.length >= shortest, pointer + "/length",
      fmt::format("must be at least {} = {} (context of {} {}) + 1 ('#') + {} (query) + {} "
                  "(answer), but is {}",
                  shortest, c.queries * (c.block_length + 1) - 1, c.queries,
                  c.queries == 1 ? "block" : "blocks", c.query_part(), c.answer_part(), c.length));
  if (!problems.concerns(pointer)) check_blocks(pointer, problems);
}

std::int64_t blocks_of(const Config& c) {
  const std::int64_t room = c.room(c.length), stride = c.block_length + 1;
  return c.truncation == Truncation::Fit ? (room + 1) / stride : (room + stride - 1) / stride;
}

/// Are there enough blocks that hold no query? With several queries this is a lower bound.
void BlockFinding::check_blocks(const std::string& pointer, Problems& problems) const {
  const Config& c = config_;
  const auto V = static_cast<double>(c.alphabet), N = static_cast<double>(c.block_length);
  const auto L = static_cast<double>(c.query_length), queries = static_cast<double>(c.queries);
  const auto needed = static_cast<double>(blocks_of(c) - c.queries);
  const double free = count_free(V, N, L, queries);
  problems.require(
      needed == 0 || free >= needed, pointer + "/alphabet",
      fmt::format(
          "too few blocks: length {} needs {} distractors that hold no query; of {}!/{}! = "
          "{:.10g} blocks of {} letters out of {}, a query of {} excludes {}!/{}! x {}!/{}! "
          "= {:.10g}{}, which leaves {:.10g}",
          c.length, needed, V, V - N, count_blocks(V, N), N, V, L, N, N - L, V - L, V - N,
          count_holding(V, N, L),
          c.queries > 1 ? fmt::format(" (times {} queries)", c.queries) : "", std::max(0.0, free)),
      "raise alphabet, or lower length or block_length");
  const double hard = count_holding_all_but_one(V, N, L);
  problems.require(
      c.hard_distractors == 0 || hard >= needed, pointer + "/hard_distractors",
      fmt::format("too few blocks: length {} may need {} blocks that hold all query letters but "
                  "one, but there are only {} x {}!/{}! x {}!/{}! = {:.10g}",
                  c.length, needed, L, N, N - L + 1, V - L, V - N - 1, hard));
}

void BlockFinding::choose_shape() {
  const Config& c = config_;
  shape_ = {.alphabet = static_cast<std::uint32_t>(c.alphabet),
            .block = static_cast<std::uint32_t>(c.block_length),
            .query = static_cast<std::uint32_t>(c.query_length),
            .queries = static_cast<std::uint32_t>(c.queries),
            .blocks = static_cast<std::uint32_t>(blocks_of(c)),
            .hard_distractors = c.hard_distractors};
  const std::int64_t whole = blocks_of(c) * (c.block_length + 1) - 1;
  context_length_ = static_cast<std::size_t>(std::min(whole, c.room(c.length)));
}

std::vector<std::string> BlockFinding::notices() const {
  const Config& c = config_;
  const std::int64_t below = c.length_for((c.room(c.length) + 1) / (c.block_length + 1));
  if (below == c.length) return {};
  const std::string fitting =
      fmt::format("lengths that fit: {} and {}", below, below + c.block_length + 1);
  if (c.truncation == Truncation::Reference) return {reference_notice() + "; " + fitting};
  return {fmt::format("length {} would cut the last block, so {} is used, with {} whole blocks; {}",
                      c.length, below, shape_.blocks, fitting)};
}

std::string BlockFinding::reference_notice() const {
  const Config& c = config_;
  const std::int64_t whole = shape_.blocks * (c.block_length + 1) - 1;
  const std::int64_t cut = whole - static_cast<std::int64_t>(context_length_);
  if (cut == 0) {
    return fmt::format("length {} leaves one character unused: samples have {}", c.length,
                       c.length - 1);
  }
  const std::string text =
      fmt::format("length {} cuts the last of {} blocks to {} of {} letters", c.length,
                  shape_.blocks, c.block_length - cut, c.block_length);
  if (c.target == Target::First) {
    return text + ": first letters stay, but the letters asked for may be cut off";
  }
  const double floor = static_cast<double>(c.queries) / shape_.blocks;
  return fmt::format(
      "{}, so {:.2g} % of the samples have an answer that cannot be read: about the "
      "lowest err_seq there is",
      text, 100 * floor);
}

Sample BlockFinding::sample(std::uint64_t seed, Split split, std::uint64_t index) const {
  Rng rng = sample_rng(seed, split, index);
  BlockContext context;
  const std::uint64_t hash = draw_for(split, [&] {
    draw_blocks(shape_, rng, context);
    context.text.resize(context_length_);
    return hash_text(context.text);
  });
  Sample sample = finish(context);
  sample.context = hash;
  return sample;
}

Sample BlockFinding::finish(const BlockContext& context) const {
  Sample sample;
  sample.src.reserve(context_length_ + static_cast<std::size_t>(config_.query_part()) + 1);
  sample.src += context.text;
  char separator = '#';
  for (const BlockTarget& target : context.targets) {
    (sample.src += separator) += target.query;
    if (separator == '.') sample.tgt += separator;
    separator = '.';
    switch (config_.target) {
      case Target::All:
        sample.tgt += target.block;
        break;
      case Target::First:
        sample.tgt += target.block.front();
        break;
      case Target::Last:
        sample.tgt += target.block.back();
        break;
    }
  }
  sample.facts = facts_of(context, sample.src.size() + sample.tgt.size());
  sample.slices = slices(sample.facts);
  sample.part_slices = part_slices(sample.facts);
  return sample;
}

Slices BlockFinding::slices(const Json& facts) const {
  return slices_of(facts, {"block_position", "length"});
}

/// With several queries each answer counts by itself.
std::vector<Slices> BlockFinding::part_slices(const Json& facts) const {
  std::vector<Slices> parts;
  const auto positions = facts.find("block_position");
  if (positions == facts.end() || !positions->is_array()) return parts;
  for (const Json& position : *positions) {
    parts.push_back({{"answers", "each"}, {"block_position", position.dump()}});
  }
  return parts;
}

Encoded BlockFinding::encode(const Sample& sample) const {
  Encoded encoded = TextTask::encode(sample);
  if (config_.queries > 1) number_parts(encoded, '.');
  return encoded;
}

/// Where each target stands among the blocks, and where in it the letters asked for stand;
/// `length`: characters of the question and the answer.
Json BlockFinding::facts_of(const BlockContext& context, std::size_t length) const {
  Json positions = Json::array(), letters = Json::array();
  for (const BlockTarget& target : context.targets) {
    Json places = Json::array();
    for (const char letter : target.query) places.push_back(target.block.find(letter));
    positions.push_back(target.position);
    letters.push_back(std::move(places));
  }
  Json facts = Json::object();
  const bool one = context.targets.size() == 1;
  facts["block_position"] = one ? std::move(positions[0]) : std::move(positions);
  facts["query_positions"] = one ? std::move(letters[0]) : std::move(letters);
  facts["blocks"] = shape_.blocks;
  facts["length"] = length;
  if (config_.hard_distractors > 0) facts["hard_distractors"] = context.hard;
  return facts;
}

/// Distractors in order, for one fixed target: B (B - 1) ... of B blocks that do not hold a query.
double BlockFinding::log2_contexts() const {
  const Config& c = config_;
  const auto V = static_cast<double>(c.alphabet), N = static_cast<double>(c.block_length);
  const double free =
      count_free(V, N, static_cast<double>(c.query_length), static_cast<double>(c.queries));
  double bits = 0;
  for (std::int64_t i = 0; i < blocks_of(c) - c.queries; ++i) {
    bits += std::log2(free - static_cast<double>(i));
  }
  return std::max(bits, std::log2(count_blocks(V, N)));
}

std::int64_t BlockFinding::max_tokens() const {
  constexpr std::int64_t kSpecial = 2, kHash = 1;  // BOS and EOS; '#'
  const std::int64_t answer =
      config_.target == Target::All ? config_.answer_part() : 2 * config_.queries - 1;
  return static_cast<std::int64_t>(context_length_) + kHash + config_.query_part() + answer +
         kSpecial;
}

}  // namespace

std::unique_ptr<Task> tasks::block_finding() { return std::make_unique<BlockFinding>(); }

}  // namespace mta
