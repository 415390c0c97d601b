// Goes through the blocks, each in chunks of rows.
#include "lib/maps/walk.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>
#include <malloc.h>

#include <algorithm>
#include <cmath>

namespace mta::maps {
namespace {

/// Rows that are computed together; the maps of those inside the window are shown.
struct Chunk {
  IndexRange rows;
  bool shown = false;
};

/// Rows from `row` on whose maps of all heads take 16 MiB, or a little less: later rows are longer.
/// Equal sizes let the allocator give the same memory to each chunk; with sizes that grew from
/// chunk to chunk, 8,192 tokens took 800 MB instead of 150 (glibc 2.36).
std::int64_t rows_from(std::int64_t row, std::int64_t heads) {
  constexpr double kElements = 1 << 22;
  constexpr std::int64_t kLeast = 16;  // each chunk projects all keys before it anew
  const double begin = double(row), cells = kElements / double(heads);
  // rows x (row + rows) = cells
  return std::max(kLeast, std::int64_t((std::sqrt(begin * begin + 4 * cells) - begin) / 2));
}

/// Covers [0, end) so that no chunk crosses the window's edges.
std::vector<Chunk> chunks_of(const IndexRange& window, std::int64_t end, std::int64_t size,
                             std::int64_t heads) {
  std::vector<Chunk> chunks;
  for (std::int64_t row = 0; row < end;) {
    std::int64_t stop = std::min(row + (size > 0 ? size : rows_from(row, heads)), end);
    for (const std::int64_t edge : {window.begin, window.end}) {
      if (row < edge) stop = std::min(stop, edge);
    }
    chunks.push_back({{row, stop}, window.contains(row)});
    row = stop;
  }
  return chunks;
}

class Walk {
 public:
  Walk(const LanguageModel& model, const ModelConfig& config, at::ScalarType compute,
       const WalkRequest& request, const std::function<void(const MapRows&)>& show)
      : model_(model), request_(request), show_(show), heads_(config.heads) {
    const at::Tensor embeddings = model.parameters().at("tok_embeddings.weight");
    const auto T = std::int64_t(request.tokens.size());
    table_ =
        make_rotary_table(T, config.dim / config.heads, config.rope_theta, embeddings.options());
    const at::Tensor tokens = at::tensor(request.tokens).to(embeddings.device(), at::kLong);
    x_ = at::embedding(embeddings.to(compute), tokens.unsqueeze(0));  // [1, T, D]
  }

  void run() {
    for (std::int64_t layer = 0; layer <= request_.layers.back(); ++layer) run_layer(layer);
  }

 private:
  void run_layer(std::int64_t layer) {
    const bool wanted = std::binary_search(request_.layers.begin(), request_.layers.end(), layer);
    const bool last = layer == request_.layers.back();
    std::vector<at::Tensor> outputs;
    for (const Chunk& chunk : chunks_of(request_.rows, x_.size(1), request_.chunk, heads_)) {
      const bool shown = wanted && chunk.shown;
      if (last && !shown) continue;  // nothing after it needs its output
      const at::Tensor output = run_chunk(layer, chunk.rows, shown);
      if (!last) outputs.push_back(output);
      // What glibc keeps of each chunk's maps would add up: 8,192 tokens took 800 MB instead of
      // 300.
      ::malloc_trim(0);
    }
    if (!last) x_ = at::cat(outputs, 1);
  }

  /// Rows of the layer's output [1, rows, D]: they see no token after the last of them.
  at::Tensor run_chunk(std::int64_t layer, const IndexRange& rows, bool shown) const {
    bool after_softmax = false;
    const Tap tap = [&](std::int64_t, std::string_view stage, const at::Tensor& map) {
      after_softmax = after_softmax || stage == "softmax";
      const std::int64_t above = map.size(2) - rows.size();  // computed for the convolutions
      show_({layer, stage, after_softmax, rows.begin,
             map[0].narrow(1, above, rows.size()).to(at::kCPU, at::kFloat)});
    };
    const Block& block = model_.blocks()[std::size_t(layer)];
    return block.forward(x_.narrow(1, 0, rows.end), table_,
                         {.first_row = rows.begin, .tap = shown ? &tap : nullptr});
  }

  const LanguageModel& model_;
  const WalkRequest& request_;
  const std::function<void(const MapRows&)>& show_;
  const std::int64_t heads_;
  RotaryTable table_;
  at::Tensor x_;  // [1, T, D]: input of the next layer
};

}  // namespace

void walk_maps(const LanguageModel& model, const ModelConfig& config, at::ScalarType compute,
               const WalkRequest& request, const std::function<void(const MapRows&)>& show) {
  const at::NoGradGuard no_gradients;
  Walk(model, config, compute, request, show).run();
}

}  // namespace mta::maps
