// Draws the blocks of a block-finding sample: targets, queries and distractors.
#pragma once

#include "lib/core/rng.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mta {

/// The alphabet of a task with V letters is the first V of these.
inline constexpr std::string_view kLetters =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

struct BlockShape {
  std::uint32_t alphabet = 26;    // V
  std::uint32_t block = 5;        // N
  std::uint32_t query = 2;        // L
  std::uint32_t queries = 1;      // targets in a context, each with its own query
  std::uint32_t blocks = 52;      // n, targets among them
  double hard_distractors = 0.0;  // share of distractors that hold all query letters but one
};

struct BlockTarget {
  std::string block;           // N letters
  std::string query;           // L letters
  std::uint32_t position = 0;  // which block of the context it is, from 0
  std::uint64_t letters = 0;   // bit k: the block holds letter k
  std::uint64_t asked = 0;     // bit k: the query holds letter k
};

struct BlockContext {
  std::vector<BlockTarget> targets;  // in the order asked
  std::string text;                  // n blocks joined with '.'
  std::uint32_t hard = 0;            // distractors that were drawn as hard ones
};

/// Fills `context`, whose memory is used again. Every query is held by its target only; no block
/// stands twice. Throws UserError when blocks run out (which the task's checks foresee).
void draw_blocks(const BlockShape& shape, Rng& rng, BlockContext& context);

/// Ordered blocks of N distinct letters out of V: V! / (V - N)!.
double count_blocks(double alphabet, double block);
/// Those that hold all of L given letters: N! / (N - L)! x (V - L)! / (V - N)!.
double count_holding(double alphabet, double block, double query);
/// Those that hold none of `queries` given queries: exact for one query, a lower bound for more.
double count_free(double alphabet, double block, double query, double queries);
/// Those that hold all of L given letters but one.
double count_holding_all_but_one(double alphabet, double block, double query);

}  // namespace mta
