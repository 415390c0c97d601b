// Every kernel that is built, with its shared memory.
#include "lib/kernels/shared_memory.h"

#include "lib/kernels/support.h"

namespace mta::kernels {

std::vector<SharedMemoryRow> shared_memory_table(int shared_bytes) {
  std::vector<SharedMemoryRow> rows;
  for (const int dim : kHeadDims) {
    const std::string size = " of head size " + std::to_string(dim);
    rows.push_back({"scores" + size, scores_shared_bytes(dim, false)});
    rows.push_back({"gradient of the weights" + size, scores_shared_bytes(dim, true)});
    rows.push_back({"weighted and transposed sum" + size, sum_shared_bytes(dim)});
    rows.push_back({"forward in one pass" + size,
                    one_pass_shared_bytes(dim, kMaxOnePassBlocks, kMaxQuerySpan)});
  }
  for (const int blocks : kBuiltBlocks) {
    const std::string window = " of " + std::to_string(blocks) + " blocks";
    rows.push_back({"kq convolution" + window, convolution_shared_bytes(blocks, kMaxQuerySpan)});
    rows.push_back({"kq convolution, backward," + window,
                    convolution_backward_shared_bytes(blocks, kMaxQuerySpan)});
  }
  for (const int parts : kBuiltParts) {
    const std::string groups = " of groups in " + std::to_string(parts) + " blocks";
    const std::pair<const char*, int> kernels[] = {{"head mixing", 1},
                                                   {"head mixing after softmax, backward,", 2},
                                                   {"head mixing before softmax, backward,", 3}};
    for (const auto& [name, maps] : kernels) {
      const int pieces = 4 * maps * parts;
      rows.push_back(
          {name + groups, mixing_shared_bytes(pieces, mixing_stages(pieces, shared_bytes))});
    }
  }
  return rows;
}

}  // namespace mta::kernels
