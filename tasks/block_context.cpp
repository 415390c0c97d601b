// Blocks as sets of bits: one AND tells whether a block holds a query.
#include "tasks/block_context.h"

#include "lib/core/error.h"

#include <algorithm>
#include <array>
#include <bit>
#include <numeric>

namespace mta {
namespace {

using Letter = std::uint8_t;
constexpr std::uint64_t bit(Letter letter) { return std::uint64_t{1} << letter; }

/// Some distinct letters in random order. Six bits a letter make `key`: exact up to ten letters, a
/// hash beyond that, where a false repeat only means one more draw.
struct Letters {
  std::array<Letter, kLetters.size()> list;
  std::uint32_t count = 0;
  std::uint64_t set = 0;
  std::uint64_t key = 0;

  void clear() { count = 0, set = 0; }
  void add(Letter letter) {
    list[count++] = letter;
    set |= bit(letter);
  }
  void make_key() {
    constexpr std::uint64_t kBase = 64, kSpread = 0x9e3779b97f4a7c15u;
    key = 1;
    for (std::uint32_t i = 0; i < count; ++i) {
      key = i < 10 ? key * kBase + list[i] : (key + list[i]) * kSpread;
    }
  }
  void write(char* out) const {
    for (std::uint32_t i = 0; i < count; ++i) out[i] = kLetters[list[i]];
  }
};

/// A set of keys other than 0, of a size known beforehand: open addressing, half full at most.
class KeySet {
 public:
  explicit KeySet(std::size_t size)
      : slots_(std::bit_ceil(2 * size), 0), shift_(64 - std::countr_zero(slots_.size())) {}

  /// False when it was there already.
  bool insert(std::uint64_t key) {
    std::size_t at = (key * 0x9e3779b97f4a7c15u) >> shift_;
    while (slots_[at] != 0) {
      if (slots_[at] == key) return false;
      at = (at + 1) & (slots_.size() - 1);
    }
    slots_[at] = key;
    return true;
  }

 private:
  std::vector<std::uint64_t> slots_;
  int shift_;
};

class Drawing {
 public:
  Drawing(const BlockShape& shape, Rng& rng, BlockContext& context)
      : shape_(shape), rng_(rng), context_(context), used_(shape.blocks) {
    std::iota(deck_.begin(), deck_.end(), Letter{0});
  }

  void run() {
    draw_targets();
    place_targets();
    write_blocks();
  }

 private:
  /// Takes letters from a deck that need not be put in order again: any order of it is as good.
  void draw_block(Letters& out) {
    out.clear();
    for (std::uint32_t i = 0; i < shape_.block; ++i) out.add(next_of_deck(i));
  }

  Letter next_of_deck(std::uint32_t i) {
    std::swap(deck_[i], deck_[i + rng_.below(shape_.alphabet - i)]);
    return deck_[i];
  }

  /// All letters of one query but one, and else letters that are not in that query.
  void draw_hard_block(Letters& out) {
    const BlockTarget& target = context_.targets[rng_.below(shape_.queries)];
    out.clear();
    std::uint32_t left_out = rng_.below(shape_.query);
    for (Letter letter = 0; letter < shape_.alphabet; ++letter) {
      if ((target.asked & bit(letter)) != 0 && left_out-- != 0) out.add(letter);
    }
    for (std::uint32_t i = 0; out.count < shape_.block; ++i) {
      const Letter letter = next_of_deck(i);
      if ((target.asked & bit(letter)) == 0) out.add(letter);
    }
    for (std::uint32_t left = out.count; left > 1; --left) {
      std::swap(out.list[left - 1], out.list[rng_.below(left)]);
    }
  }

  void draw_targets() {
    constexpr int kRestarts = 1000, kDraws = 100;
    for (int restart = 0; restart < kRestarts; ++restart) {
      context_.targets.clear();
      for (int i = 0; i < kDraws && context_.targets.size() < shape_.queries; ++i) draw_target();
      if (context_.targets.size() == shape_.queries) return;
    }
    throw UserError("", "no set of blocks found of which each is the only one to hold its query");
  }

  /// One more target, unless it and those before it hold one another's queries.
  void draw_target() {
    Letters block;
    draw_block(block);
    std::array<Letter, kLetters.size()> order = block.list;
    BlockTarget target;
    for (std::uint32_t i = 0; i < shape_.query; ++i) {
      std::swap(order[i], order[i + rng_.below(shape_.block - i)]);
      target.asked |= bit(order[i]);
      target.query += kLetters[order[i]];
    }
    target.letters = block.set;
    for (const BlockTarget& other : context_.targets) {
      if ((other.letters & target.asked) == target.asked) return;
      if ((target.letters & other.asked) == other.asked) return;
    }
    target.block.resize(shape_.block);
    block.write(target.block.data());
    context_.targets.push_back(std::move(target));
  }

  void place_targets() {
    for (std::size_t i = 0; i < context_.targets.size(); ++i) {
      const auto before = context_.targets.begin() + static_cast<std::ptrdiff_t>(i);
      std::uint32_t& position = context_.targets[i].position;
      do {
        position = rng_.below(shape_.blocks);
      } while (std::any_of(context_.targets.begin(), before,
                           [&](const BlockTarget& other) { return other.position == position; }));
    }
  }

  /// Distractors are exchangeable, so drawing them straight into their places equals a shuffle.
  void write_blocks() {
    const std::size_t stride = shape_.block + 1;
    context_.text.assign(shape_.blocks * stride - 1, '.');
    context_.hard = 0;
    for (const BlockTarget& target : context_.targets) {
      context_.text.replace(target.position * stride, shape_.block, target.block);
    }
    Letters block;
    for (std::uint32_t b = 0; b < shape_.blocks; ++b) {
      char* place = &context_.text[b * stride];
      if (*place != '.') continue;  // a target stands here
      draw_distractor(block);
      block.write(place);
    }
  }

  void draw_distractor(Letters& block) {
    constexpr int kDraws = 1000000;
    const bool hard = shape_.hard_distractors > 0 && rng_.uniform() < shape_.hard_distractors;
    context_.hard += hard ? 1 : 0;
    for (int i = 0; i < kDraws; ++i) {
      hard ? draw_hard_block(block) : draw_block(block);
      if (holds_a_query(block.set)) continue;
      block.make_key();
      if (used_.insert(block.key)) return;
    }
    throw UserError("", "no further block found that differs from the others and holds no query");
  }

  bool holds_a_query(std::uint64_t letters) const {
    for (const BlockTarget& target : context_.targets) {
      if ((letters & target.asked) == target.asked) return true;
    }
    return false;
  }

  const BlockShape& shape_;
  Rng& rng_;
  BlockContext& context_;
  KeySet used_;
  std::array<Letter, kLetters.size()> deck_;
};

/// from! / (from - count)!
double falling(double from, double count) {
  double product = 1;
  for (double i = 0; i < count; ++i) product *= from - i;
  return product;
}

}  // namespace

void draw_blocks(const BlockShape& shape, Rng& rng, BlockContext& context) {
  Drawing(shape, rng, context).run();
}

double count_blocks(double alphabet, double block) { return falling(alphabet, block); }

double count_holding(double alphabet, double block, double query) {
  return falling(block, query) * falling(alphabet - query, block - query);
}

double count_free(double alphabet, double block, double query, double queries) {
  constexpr double kExact = 0x1p53;
  const double all = count_blocks(alphabet, block);
  if (all < kExact) return all - queries * count_holding(alphabet, block, query);
  double share_holding = 1;  // its factors are exactly 1 where block == alphabet
  for (double i = 0; i < query; ++i) share_holding *= (block - i) / (alphabet - i);
  return all * (1 - queries * share_holding);
}

double count_holding_all_but_one(double alphabet, double block, double query) {
  return query * falling(block, query - 1) * falling(alphabet - query, block - query + 1);
}

}  // namespace mta
