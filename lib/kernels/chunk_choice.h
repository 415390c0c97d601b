// Which chunks a problem is cut into, so that they fit a budget.
#pragma once

#include "lib/kernels/shared_memory.h"
#include "lib/kernels/workspace.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace mta::kernels {

inline std::size_t product(std::size_t a, std::size_t b, std::size_t c = 1, std::size_t d = 1) {
  return a * b * c * d;
}

constexpr int kMaxMaps = 65535;  // a grid dimension

/// What is in flight at a time.
struct Flight {
  int batches, heads;
};

/// The longest chunk that the problem has and its launch plan allows.
inline int most_rows(const Problem& p) {
  return p.launch.chunk_rows == 0 ? p.tokens : min_of(p.launch.chunk_rows, p.tokens);
}

/// The most rows a chunk that fit with `flight` in flight, by make(flight, rows); 0 if not even 64
/// do. Tried from the longest down: the bytes do not quite rise with the rows, as long chunks have
/// longer strips and so fewer sums, and a plan must be found again from its own bytes.
template <class Make>
int rows_that_fit(const Problem& p, const Flight& flight, std::size_t budget, Make&& make) {
  const auto fits = [&](int rows) { return make(flight, rows).bytes <= budget; };
  const int most = most_rows(p);
  if (fits(most)) return most;
  const std::size_t tile_row_bytes =
      product(2 * kTileRows, static_cast<std::size_t>(flight.batches * flight.heads),
              static_cast<std::size_t>(round_up(p.tokens, kTileKeys)));
  const std::size_t bound = budget / tile_row_bytes;  // a single map would fill the budget
  for (int tiles = static_cast<int>(
           std::min(bound, static_cast<std::size_t>(ceil_div(most, kTileRows) - 1)));
       tiles > 0; --tiles) {
    if (fits(tiles * kTileRows)) return tiles * kTileRows;
  }
  return 0;
}

/// The fewest heads that can be in flight: whole mixing groups.
inline int least_heads(const Problem& p) {
  int heads = 1;
  for (const Mixing* mix : {&p.mix_before, &p.mix_after}) {
    if (mix->weight != nullptr) heads = std::lcm(heads, mix->group);
  }
  return min_of(heads, p.heads);
}

/// The fewest heads that leave no part of a mixing block empty which the whole problem fills.
inline int least_full_heads(const Problem& p) {
  int heads = 1;
  for (const Mixing* mix : {&p.mix_before, &p.mix_after}) {
    if (mix->weight != nullptr) {
      heads = std::lcm(heads, mixing_plan(*mix, p.heads, p.heads).heads_a_unit);
    }
  }
  return min_of(heads, p.heads);
}

/// Everything that may be in flight, the more the earlier: fewer batch elements, then heads. Heads
/// that fill no mixing block come last, from `first_part` on.
struct Flights {
  std::vector<Flight> all;
  std::size_t first_part = 0;
};
inline Flights flights_of(const Problem& p) {
  Flights flights;
  for (int batches = min_of(p.batch, kMaxMaps / p.heads); batches > 1;
       batches = ceil_div(batches, 2)) {
    flights.all.push_back({batches, p.heads});
  }
  flights.all.push_back({1, p.heads});
  const auto halve = [&](int most, int step) {
    for (int steps = ceil_div(most, step); steps > 1;) {
      steps = ceil_div(steps, 2);
      if (steps * step < most) flights.all.push_back({1, steps * step});
    }
  };
  const int full = least_full_heads(p);
  halve(p.heads, full);
  flights.first_part = flights.all.size();
  if (full <= kUnitHeads) halve(full, least_heads(p));
  return flights;
}

/// Chunks in all.
inline int chunks(const Problem& p, const WorkspacePlan& plan) {
  return ceil_div(p.batch, plan.batch_group) * ceil_div(p.heads, plan.head_group) *
         ceil_div(p.tokens, plan.rows);
}

/// Blocks of the products that a chunk keeps busy at a time.
inline int product_blocks(const WorkspacePlan& plan) {
  return plan.batch_group * plan.head_group * ceil_div(plan.rows, kProductRows);
}

/// The largest chunks that fit into `budget`, of the plans make(flight, rows). The plan's own bytes
/// as the budget give it again: with less no earlier flight has more rows, and what was turned down
/// for its bytes or its number of chunks still is.
template <class Make>
WorkspacePlan best_plan(const Problem& p, std::size_t budget, Make&& make) {
  // Short chunks repeat halos, lags and the sums of dK and dV, and below about 256 rows their
  // launches are too small for the card: rather fewer batch elements or heads at a time. Half empty
  // mixing blocks cost more than that unless chunks are very short. Where as many chunks can have
  // all rows each and still fill the card, nothing is repeated at all.
  constexpr int kComfortableRows = 256, kVeryShortRows = 128, kEnoughBlocks = 256;
  const Flights flights = flights_of(p);
  WorkspacePlan best;
  std::size_t n = 0;
  for (; n < flights.all.size() && best.rows < min_of(kComfortableRows, most_rows(p)); ++n) {
    if (n >= flights.first_part && best.rows >= min_of(kVeryShortRows, most_rows(p))) break;
    const int rows = rows_that_fit(p, flights.all[n], budget, make);
    if (rows > best.rows) best = make(flights.all[n], rows);
  }
  if (best.rows == 0) return make(flights.all.back(), min_of(kTileRows, p.tokens));
  for (; n < flights.first_part && best.rows < most_rows(p); ++n) {
    const WorkspacePlan whole = make(flights.all[n], most_rows(p));
    if (whole.bytes <= budget && chunks(p, whole) <= chunks(p, best) &&
        product_blocks(whole) >= kEnoughBlocks) {
      best = whole;
    }
  }
  return best;
}

}  // namespace mta::kernels
