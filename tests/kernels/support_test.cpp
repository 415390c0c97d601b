// What is refused, and that the message names the property, its value and what is covered.
#include "lib/kernels/support.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

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
  p.launch = {.chunk_rows = -64};
  expect_refusal(p, Status::InvalidArgument, "launch plan: chunk_rows -64");
  p = valid();
  p.scale = std::nanf("");
  expect_refusal(p, Status::InvalidArgument, "scale");
}

}  // namespace
}  // namespace mta::kernels
