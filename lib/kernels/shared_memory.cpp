// Every kernel that is built, with its shared memory.
#include "lib/kernels/shared_memory.h"

#include "lib/kernels/support.h"

namespace mta::kernels {

int fused_query_span(int blocks, int shared_bytes) {
  int span = kMaxQuerySpan;
  while (span > 0 && !fused_stages_fit(blocks, span, shared_bytes)) --span;
  return span;
}

namespace {

void add_products(std::vector<SharedMemoryRow>& rows, int shared_bytes) {
  for (const int dim : kHeadDims) {
    const std::string size = " of head size " + std::to_string(dim);
    rows.push_back({"scores" + size, scores_shared_bytes(dim, false)});
    rows.push_back({"gradient of the weights" + size, scores_shared_bytes(dim, true)});
    rows.push_back({"weighted and transposed sum" + size,
                    sum_shared_bytes(dim, most_sum_ahead(dim, 1, shared_bytes))});
    rows.push_back({"forward in one pass" + size,
                    one_pass_shared_bytes(dim, kMaxOnePassBlocks, kMaxQuerySpan)});
    rows.push_back(
        {"backward in one pass" + size, one_pass_backward_shared_bytes(dim, kMaxBackwardSpan)});
  }
}

void add_convolutions(std::vector<SharedMemoryRow>& rows, int shared_bytes) {
  for (const int blocks : kBuiltBlocks) {
    const std::string window = " of " + std::to_string(blocks) + " blocks";
    rows.push_back({"kq convolution" + window, convolution_shared_bytes(blocks, kMaxQuerySpan)});
    rows.push_back({"kq convolution, backward," + window,
                    convolution_backward_shared_bytes(blocks, kMaxQuerySpan)});
  }
  rows.push_back({"kq convolution, streamed", walked_shared_bytes()});
  rows.push_back({"kq convolution, backward, streamed", streamed_shared_bytes(false)});
  rows.push_back(
      {"softmax and kq convolution before it, backward, streamed", streamed_shared_bytes(true)});
  if (unit_walk_shared_bytes() <= shared_bytes)  // elsewhere rows stream in a block's tiles
    rows.push_back({"kq convolution with head mixing, streamed", unit_walk_shared_bytes()});
  for (int blocks = 2; blocks <= kMaxFusedBlocks; ++blocks) {
    const int span = fused_query_span(blocks, shared_bytes);
    if (span == 0) continue;  // the two stages then run by themselves
    rows.push_back({"kq convolution with head mixing of " + std::to_string(blocks) + " blocks",
                    fused_shared_bytes(blocks, span)});
  }
}

void add_mixings(std::vector<SharedMemoryRow>& rows, int shared_bytes) {
  rows.push_back({"head mixing alone", mixing_shared_bytes(4, kAloneForwardStages) +
                                           alone_table_bytes(1, kMaxMixingRows)});
  rows.push_back({"head mixing alone, backward", mixing_shared_bytes(8, kAloneBackwardStages) +
                                                     alone_table_bytes(2, kMaxMixingRows)});
  for (const int parts : kBuiltParts) {
    const std::string groups = " of groups in " + std::to_string(parts) + " blocks";
    const std::pair<const char*, int> kernels[] = {
        {"head mixing", 1},
        {"head mixing after softmax, backward,", 2},
        {"head mixing before softmax, backward,", parts == 1 ? 2 : 3}};  // M, or made again
    for (const auto& [name, maps] : kernels) {
      const int pieces = 4 * maps * parts;
      rows.push_back(
          {name + groups, mixing_shared_bytes(pieces, mixing_stages(pieces, shared_bytes))});
    }
  }
}

}  // namespace

std::vector<SharedMemoryRow> shared_memory_table(int shared_bytes) {
  std::vector<SharedMemoryRow> rows;
  add_products(rows, shared_bytes);
  add_convolutions(rows, shared_bytes);
  add_mixings(rows, shared_bytes);
  return rows;
}

}  // namespace mta::kernels
