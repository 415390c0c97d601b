// The public reference's vectors on a GPU: composed in float, fused in 16 bits.
#include "lib/model/golden.h"
#include "lib/nn/safetensors.h"
#include "tests/support/gpu.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <sstream>
#include <string>

namespace mta {
namespace {

class GoldenOnTheGpu : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string reason = check::no_gpu();
    if (!reason.empty()) GTEST_SKIP() << reason;
  }

  void expect_all_pass(AttentionPath path, at::ScalarType compute) {
    int files = 0;
    for (const auto& entry : std::filesystem::directory_iterator("tests/golden")) {
      if (entry.path().extension() != ".safetensors") continue;
      ++files;
      const GoldenReport report =
          verify_golden(read_safetensors(entry.path()), entry.path().stem(),
                        {.device = at::Device("cuda:0"), .path = path, .compute = compute});
      for (const AttentionPath taken : report.paths) EXPECT_EQ(taken, path) << entry.path();
      std::ostringstream failures;
      for (const GoldenResult& result : report.results) {
        if (!result.pass) {
          failures << result.tensor << ": " << result.error << " > " << result.tolerance << '\n';
        }
      }
      EXPECT_TRUE(report.pass()) << entry.path() << ", " << c10::toString(compute) << '\n'
                                 << failures.str();
    }
    EXPECT_EQ(files, 19);
  }
};

TEST_F(GoldenOnTheGpu, ComposedInFloat) { expect_all_pass(AttentionPath::Composed, at::kFloat); }
TEST_F(GoldenOnTheGpu, FusedInBFloat16) { expect_all_pass(AttentionPath::Fused, at::kBFloat16); }
TEST_F(GoldenOnTheGpu, FusedInHalf) { expect_all_pass(AttentionPath::Fused, at::kHalf); }

}  // namespace
}  // namespace mta
