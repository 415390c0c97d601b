// What the two calls refuse before they queue anything: no device is needed to see it.
#include "lib/kernels/attention.h"
#include "lib/kernels/workspace.h"

#include <gtest/gtest.h>

#include <string>

namespace mta::kernels {
namespace {

alignas(256) char somewhere[256];

ForwardParams valid() {
  ForwardParams params;
  params.problem = {.batch = 1, .heads = 2, .tokens = 64, .head_dim = 32, .scale = 1};
  params.q = params.k = params.v = params.o = {somewhere, 64 * 64, 64 * 32, 32};
  params.lse = reinterpret_cast<float*>(somewhere);
  params.workspace = {somewhere, forward_workspace_bytes(params.problem)};
  return params;
}

void expect_refusal(const ForwardParams& params, Status status, const std::string& message) {
  EXPECT_EQ(forward(params, nullptr), status) << message;
  EXPECT_NE(std::string(last_error()).find(message), std::string::npos) << last_error();
}

TEST(KernelArguments, AreCheckedByName) {
  ForwardParams params = valid();
  params.k.data = nullptr;
  expect_refusal(params, Status::InvalidArgument, "k is a null pointer");
  params = valid();
  params.o.token_stride = 33;
  expect_refusal(params, Status::InvalidArgument, "o must start on a 16-byte boundary");
  params = valid();
  params.workspace.bytes = 1000;
  expect_refusal(params, Status::WorkspaceTooSmall, "workspace of 1000 bytes, at least ");
  params = valid();
  params.workspace.data = somewhere + 16;
  expect_refusal(params, Status::InvalidArgument, "256-byte boundary");
  params = valid();
  params.problem.head_dim = 48;
  expect_refusal(params, Status::Unsupported, "head size 48");
}

TEST(KernelArguments, BackwardNeedsAPlaceForEveryGradient) {
  const ForwardParams f = valid();
  BackwardParams params = {f.problem, f.q, f.k, f.v, f.o, f.lse, f.o, f.o, f.o, f.o, {}};
  params.problem.mix_before = {.weight = f.lse, .group = 2};
  EXPECT_EQ(backward(params, nullptr), Status::InvalidArgument);
  EXPECT_STREQ(last_error(), "gradient of the head mixing before softmax is a null pointer");
}

}  // namespace
}  // namespace mta::kernels
