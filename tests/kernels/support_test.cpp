// What is refused, and that the message names the property, its value and what is covered.
#include "lib/kernels/support.h"

#include "lib/kernels/shared_memory.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>

namespace mta::kernels {
namespace {

const float kWeights[1] = {};

Problem valid() { return {.batch = 2, .heads = 4, .tokens = 37, .head_dim = 64, .scale = 0.125f}; }

void expect_refusal(const Problem& problem, Status status, const std::string& message) {
  EXPECT_EQ(check(problem), status) << message;
  EXPECT_NE(std::string(last_error()).find(message), std::string::npos) << last_error();
}

TEST(Support, AcceptsEveryCornerOfTheTable) {
  for (const int head_dim : kHeadDims) {
    Problem p = valid();
    p.head_dim = head_dim;
    p.heads = kMaxHeads;
    p.tokens = kMaxTokens;
    p.conv_before = p.conv_after = {.kernel = kWeights,
                                    .query_span = kMaxQuerySpan,
                                    .key_span = kMaxKeySpan,
                                    .pad_left = kMaxKeySpan - 1};
    p.mix_before = p.mix_after = {.weight = kWeights, .group = kMaxHeads};
    EXPECT_EQ(check(p), Status::Ok) << last_error();
  }
}

TEST(Support, NamesWhatIsNotCovered) {
  Problem p = valid();
  p.head_dim = 80;
  expect_refusal(p, Status::Unsupported, "head size 80 is not covered (covered: 32, 64, 96, 128)");
  p = valid();
  p.heads = 65;
  expect_refusal(p, Status::Unsupported, "heads 65 is not covered (covered: 1 to 64)");
  p = valid();
  p.tokens = 0;
  expect_refusal(p, Status::Unsupported, "tokens 0 is not covered");
  p = valid();
  p.conv_after = {.kernel = kWeights, .query_span = 17, .key_span = 3};
  expect_refusal(p, Status::Unsupported, "kq convolution after softmax: 17x3 is not covered");
  p.conv_after = {.kernel = kWeights, .query_span = 2, .key_span = 3, .pad_left = 3};
  expect_refusal(p, Status::Unsupported, "left padding 3 of 2x3 is not covered");
  p = valid();
  p.mix_before = {.weight = kWeights, .group = 3};
  expect_refusal(p, Status::Unsupported,
                 "head mixing before softmax: group 3 of 4 heads is not covered");
  p = valid();
  p.dropout.rate = 1;
  expect_refusal(p, Status::Unsupported, "dropout rate");
  p = valid();
  p.launch.mixing_keys = 100;
  expect_refusal(p, Status::InvalidArgument,
                 "launch plan: mixing_keys 100 is not a multiple of 64 up to 4096");
  p.launch = {.mixing_rows = 68};
  expect_refusal(p, Status::InvalidArgument, "mixing_rows 68 is not a multiple of 4 up to 64");
  p.launch = {.fused_heads = 18};
  expect_refusal(p, Status::InvalidArgument, "fused_heads 18 is not a multiple of 1 up to 17");
  p.launch = {.sum_parts = 17};
  expect_refusal(p, Status::InvalidArgument, "sum_parts 17 is not a multiple of 1 up to 16");
  p.launch = {.sum_ahead = 4};
  expect_refusal(p, Status::InvalidArgument, "sum_ahead 4 is not a multiple of 1 up to 3");
  p.launch = {.chunk_rows = -64};
  expect_refusal(p, Status::InvalidArgument, "launch plan: chunk_rows -64");
  p = valid();
  p.scale = std::nanf("");
  expect_refusal(p, Status::InvalidArgument, "scale");
}

TEST(Support, RefusesADeviceByName) {
  const auto expect = [](const Device& device, const std::string& message) {
    EXPECT_EQ(check(device), Status::Unsupported) << message;
    EXPECT_NE(std::string(last_error()).find(message), std::string::npos) << last_error();
  };
  expect({}, "there is no CUDA device");
  expect({.capability = 75, .shared_bytes = 64 << 10, .has_code = true},
         "compute capability 7.5 is not covered (covered: 8.0 or newer)");
  expect({.capability = 86, .shared_bytes = 48 << 10, .has_code = true},
         "shared memory of 49152 bytes a block is not covered (covered: gradient of the weights "
         "of head size 32 takes 61440)");
  expect({.capability = 100, .shared_bytes = 227 << 10},
         "not built for compute capability 10.0: configure with CMAKE_CUDA_ARCHITECTURES=100");
}

/// What each compute capability gives a block: CUDA C++ Programming Guide, "Technical
/// Specifications per Compute Capability".
TEST(SharedMemory, OfEveryKernelFitsOnEveryCoveredCard) {
  for (const auto& [capability, kilobytes] :
       {std::pair{80, 163}, {86, 99}, {87, 163}, {89, 99}, {90, 227}, {100, 227}, {120, 99}}) {
    const int limit = kilobytes << 10;
    EXPECT_GE(limit, kLeastSharedBytes);
    for (const SharedMemoryRow& row : shared_memory_table(limit)) {
      EXPECT_LE(row.bytes, limit) << row.kernel << " on " << capability;
    }
    EXPECT_EQ(check({.capability = capability, .shared_bytes = limit, .has_code = true}),
              Status::Ok)
        << last_error();
  }
}

TEST(SharedMemory, OfSumsHoldsWhatTwoBlocksMayHaveOnTheirWay) {
  const auto ahead = [](int kilobytes) {
    std::vector<int> tiles;
    for (const int dim : kHeadDims) tiles.push_back(most_sum_ahead(dim, 2, kilobytes << 10));
    return tiles;
  };
  EXPECT_EQ(ahead(227), (std::vector<int>{3, 3, 3, 2}));
  EXPECT_EQ(ahead(163), (std::vector<int>{3, 2, 1, 1}));
  EXPECT_EQ(ahead(99), (std::vector<int>{1, 1, 1, 1}));
}

/// The formulas against bytes counted by hand for the largest instances.
TEST(SharedMemory, IsWhatTheLayoutsTake) {
  EXPECT_EQ(scores_shared_bytes(128, true), 2 * 3 * (64 * 128 + 128 * 64));
  EXPECT_EQ(sum_shared_bytes(64, 3), 4 * 2 * (128 * 64 + 64 * 64));
  EXPECT_EQ(one_pass_backward_shared_bytes(64, 6),
            2 * (2 * 80 * 72 + 3 * 64 * 72 + (2 * 85 + 80) * 88) + 80 * 16 + 4 * 2 * 6 * 40);
  EXPECT_EQ(one_pass_backward_shared_bytes(128, 2),
            2 * (2 * 80 * 136 + 3 * 32 * 136 + (2 * 85 + 80) * 56) + 80 * 16 + 4 * 2 * 2 * 40);
  EXPECT_EQ(convolution_shared_bytes(6, 16),
            2 * (2 * 79 * 104 + 64 * 72) + 4 * (16 * 64 + 79));  // lse of its rows at the end

  EXPECT_EQ(convolution_backward_shared_bytes(6, 16),
            4 * (79 * 104 + 64 * 72) + 4 * (16 * 64 + 64));
  // Slots of eight rows of X and of dY, 128 keys and room for their halo: four, or three and two of
  // M's rows.
  EXPECT_EQ(streamed_shared_bytes(false), 4 * 2 * 4 * (2 * 8 * 144 + 16) + 4 * (32 + 4));
  EXPECT_EQ(streamed_shared_bytes(true),
            4 * 2 * (3 * (2 * 8 * 144 + 16) + 2 * 8 * 144 + 16) + 4 * (32 + 4));
  EXPECT_EQ(fused_shared_bytes(3, 6),
            2 * 16 * 187 * 16);  // 37 rows of 80, an odd number of sectors
  EXPECT_EQ(fused_shared_bytes(2, 3), 2 * 16 * 155 * 16);
  EXPECT_EQ(unit_walk_shared_bytes(),
            16 * 2 * (4 * 8 * 144 + 16 + 2 * (8 * 128 + 8)) + 2 * 2 * 16 * 9 * 8);
  EXPECT_EQ(fused_query_span(3, 227 << 10), 13);
  EXPECT_EQ(fused_query_span(3, 163 << 10), 1);
  EXPECT_EQ(fused_query_span(2, 163 << 10), 4);
  EXPECT_EQ(fused_query_span(2, 99 << 10), 0);
  EXPECT_EQ(mixing_shared_bytes(48, 2), 192 << 10);
  EXPECT_EQ(mixing_stages(48, 227 << 10), 2);
  EXPECT_EQ(mixing_stages(48, 163 << 10), 1);
  EXPECT_EQ(mixing_stages(24, 99 << 10), 2);
}

}  // namespace
}  // namespace mta::kernels
