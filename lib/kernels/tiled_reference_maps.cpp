// The twin's convolution of one tile, with the index arithmetic of the kernels.
#include "lib/kernels/tiled_reference_maps.h"

namespace mta::kernels::reference {

Tile load_tile(int first_row, int first_key, int rows, int columns,
               const std::function<double(int, int)>& load) {
  Tile tile{first_row, first_key, rows, columns, {}};
  tile.data.reserve(static_cast<std::size_t>(rows * columns));
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < columns; ++c) tile.data.push_back(load(first_row + r, first_key + c));
  }
  return tile;
}

void SlotSums::add_up(int heads, std::vector<double>& target) const {
  const std::size_t line_size = count(slots_) * count(width_);
  for (std::size_t n = 0; n < data_.size(); ++n) {
    const std::size_t head = n / line_size % count(heads);
    target[head * count(width_) + n % count(width_)] += data_[n];
  }
}

double TileKernel::weight(int a, int b) const {
  if (flipped) return weights[(query_span - 1 - a) * window.span + window.span - 1 - b];
  return weights[a * window.span + b];
}

TileKernel forward_kernel(const Convolution& conv, int head) {
  return {conv.kernel + head * conv.query_span * conv.key_span, conv.query_span,
          key_window(conv.pad_left, conv.key_span), false};
}

TileKernel backward_kernel(const Convolution& conv, int head) {
  TileKernel kernel = forward_kernel(conv, head);
  kernel.window = transposed(kernel.window);
  kernel.flipped = true;
  return kernel;
}

double convolve(const Tile& tile, const TileKernel& kernel, int r, int c,
                const std::function<bool(int, int)>& keep) {
  const int block = c / kChunk * kChunk,
            lane = c % kChunk;  // the tile starts `halo` keys left of key 0 of the output
  double sum = 0;
  for (int a = 0; a < kernel.query_span; ++a) {
    for (int x = 0; x < kChunk * kernel.window.blocks; ++x) {
      const int b = x - kernel.window.slack - lane;  // a band of the Toeplitz block; zero outside
      if (b < 0 || b >= kernel.window.span || !keep(a, block + x)) continue;
      sum += kernel.weight(a, b) * tile.at(r + a, block + x);
    }
  }
  return sum;
}

}  // namespace mta::kernels::reference
