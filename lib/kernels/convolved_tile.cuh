// One head's tile in the kernels that convolve and mix all heads of a block: copied with its halo
// by one warp, and convolved in place.
#pragma once

#include "lib/kernels/convolved_rows.cuh"

namespace mta::kernels {

/// A number of each row of a tile with its halo, two in a lane.
class RowNumbers {
 public:
  static constexpr int kRows = kFusedRows + kMaxQuerySpan - 1;

  __device__ RowNumbers() {}
  /// factor * source[first_row + r], where there is such a row.
  __device__ RowNumbers(const float* source, int first_row, int tokens, float factor) {
    const int row = first_row + static_cast<int>(threadIdx.x) % kWarp;
    low_ = source[max(min(row, tokens - 1), 0)] * factor;
    high_ = source[max(min(row + kWarp, tokens - 1), 0)] * factor;
  }
  /// Row r's, which is among the kCount from `first` on; all lanes call together.
  template <int kCount>
  __device__ float of(int r, int first) const {
    const float low = first < kWarp ? __shfl_sync(0xFFFFFFFFu, low_, r % kWarp) : 0,
                high = first + kCount > kWarp ? __shfl_sync(0xFFFFFFFFu, high_, r % kWarp) : 0;
    return r < kWarp ? low : high;
  }

 private:
  float low_ = 0, high_ = 0;
};

/// Copies one head's tile with its halo, and finishes what it copied: a lane keeps to one 16-byte
/// column and takes every kStep-th row of it.
template <int kBlocks>
class HeadTile {
  using Shape = TileShape<kBlocks>;
  static constexpr int kStep = kWarp / Shape::kChunks;

 public:
  /// Rows first_row + 0..rows-1, keys from `first_key` on; those from `end_row` on, and all of them
  /// where there is no such head, are zero.
  __device__ HeadTile(const MapView& view, int first_row, int rows, int end_row, int first_key,
                      int tokens, int reach)
      : pitch_(view.pitch),
        ring_(view.ring),
        rows_(rows),
        reach_(reach),
        tokens_(tokens),
        end_row_(end_row) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    column_ = lane % Shape::kChunks * kChunk;
    line_ = lane / Shape::kChunks < kStep ? lane / Shape::kChunks : rows;
    key_ = first_key + column_;
    first_row_ = first_row;
    // Row r is inside where begin_ <= r < begin_ + count_: not above the map, and not so high that
    // the diagonal has not come to this column.
    begin_ = max(key_ - reach, 0) - first_row;
    const bool outside = key_ < 0 || key_ >= tokens;
    count_ = outside ? 0 : max(end_row - first_row - begin_, 0);
    const int slot = early_ring_slot(first_row + view.ring, view.ring);
    wrap_ = view.ring - slot;  // rows from this one on are at the ring's beginning
    offset_ = static_cast<std::ptrdiff_t>(slot + line_) * view.pitch + (outside ? 0 : key_);
  }

  /// `map` as in map_lines. Pieces outside the map (and past `reach`) become zeros.
  __device__ void start(Number* tile, const Number* map, bool is_head) const {
    const Number* source = map + offset_;
    Number* target = tile + line_ * kFusedPitch<kBlocks> + column_;
    const unsigned count = is_head ? static_cast<unsigned>(count_) : 0u;
    int r = line_;
#pragma unroll 1
    for (int part = 0; part < 2; ++part) {
      const int end = part == 0 ? min(wrap_, rows_) : rows_;
#pragma unroll 4
      for (; r < end; r += kStep) {
        copy_async(target, source, static_cast<unsigned>(r - begin_) < count);
        source += kStep * static_cast<std::ptrdiff_t>(pitch_);
        target += kStep * kFusedPitch<kBlocks>;
      }
      source -= static_cast<std::ptrdiff_t>(ring_) * pitch_;
    }
  }

  /// After the copy: exp(M - lse) of what this lane copied, zero outside the map. All lanes call
  /// together.
  __device__ void weigh(Number* tile, int first_key, const RowNumbers& lse2) const {
    if (!is_whole(first_key)) {
      finish_edge(
          tile, [&](int r) { return lse2.of<RowNumbers::kRows>(r, 0); },
          [](uint4 chunk, float own) { return softmax_weights<Half>(chunk, own); });
      return;
    }
    Number* target = tile + line_ * kFusedPitch<kBlocks> + column_;
#pragma unroll
    for (int first = 0; first < RowNumbers::kRows; first += kStep) {
      if (first >= rows_) break;
      const float own = lse2.of<kStep>(line_ + first, first);
      uint4* piece = reinterpret_cast<uint4*>(target + first * kFusedPitch<kBlocks>);
      if (line_ + first < rows_) *piece = softmax_weights<Half>(*piece, own);
    }
  }
  /// The same for M as it is.
  __device__ void mask(Number* tile, int first_key) const {
    if (!crosses_edge(first_key)) return;
    finish_edge(
        tile, [](int) { return 0.0f; }, [](uint4 chunk, float) { return chunk; });
  }

 private:
  /// `transform(chunk, number_of(row of the tile))` of what this lane copied, zero outside the map.
  /// All lanes ask for numbers together, also those that have no such row.
  template <class NumberOf, class Transform>
  __device__ void finish_edge(Number* tile, NumberOf&& number_of, Transform&& transform) const {
#pragma unroll 1
    for (int first = 0; first < rows_; first += kStep) {
      const int r = line_ + first;
      const float number = number_of(r);
      if (r >= rows_ || static_cast<unsigned>(r - begin_) >= static_cast<unsigned>(count_)) {
        continue;
      }
      uint4* piece = reinterpret_cast<uint4*>(tile + r * kFusedPitch<kBlocks> + column_);
      *piece =
          keep_first(transform(*piece, number), min(tokens_, first_row_ + r + reach_ + 1) - key_);
    }
  }
  /// Are there pieces that are partly outside?
  __device__ bool crosses_edge(int first_key) const {
    const int end = first_key + Shape::kColumns;
    return end > first_row_ + reach_ + 1 || end > tokens_;
  }
  /// Are all pieces inside?
  __device__ bool is_whole(int first_key) const {
    return first_row_ >= 0 && first_row_ + rows_ <= end_row_ && first_key >= 0 &&
           !crosses_edge(first_key);
  }

  int pitch_, ring_, rows_, reach_, tokens_, end_row_;
  int column_, line_, key_, first_row_;
  int begin_, count_, wrap_;
  std::ptrdiff_t offset_;
};

/// Sixteen rows of a head, whose first input row is `tile`'s first. `bands` are the head's tables,
/// in memory: the next offset's are on their way while one is used.
template <int kBlocks, bool kKeysUpToOutput, int kOutputs>
__device__ inline void convolve_head(float (&out)[kOutputs][4], const Number* tile,
                                     const Word* bands, int query_span, int slack, int first_row,
                                     int first_key) {
  const Lane lane = lane_place();
  const Number* corner = tile + square_offset(kFusedPitch<kBlocks>);
  const int past = first_key + 2 * lane.q - (first_row + lane.g);
  Word band[kBlocks];
  load_band<kBlocks>(band, bands, slack);
#pragma unroll 1
  for (int left = query_span - 1; left > 0; --left, corner += kFusedPitch<kBlocks>) {
    Word next[kBlocks];
    bands += table_words(kBlocks);
    load_band<kBlocks>(next, bands, slack);
    add_offset<kBlocks, kKeysUpToOutput>(out, corner, band, past);
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) band[b] = next[b];
  }
  add_offset<kBlocks, kKeysUpToOutput>(out, corner, band, past);
}

/// Thirty-two keys of sixteen rows, rounded to fp16: the lane's words of row g, and of row g + 8.
struct ConvolvedKeys {
  uint4 row[2];
  __device__ explicit ConvolvedKeys(const float (*out)[4]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const auto word = [&](int t) { return pack<Half>(out[t][2 * half], out[t][2 * half + 1]); };
      row[half] = {word(0), word(1), word(2), word(3)};
    }
  }
  ConvolvedKeys() = default;
};

/// Writes both halves of sixteen rows over the first ones that they were made from.
template <int kPitch>
__device__ inline void store_convolved(Number* target, const ConvolvedKeys (&keys)[2]) {
  const Lane lane = lane_place();
  Number* row = target + lane.g * kPitch + lane.q * kChunk;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      *reinterpret_cast<uint4*>(row + 8 * half * kPitch + 32 * h) = keys[h].row[half];
    }
  }
}

}  // namespace mta::kernels
