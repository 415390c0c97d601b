// Shares of attention against sums by hand.
#include "lib/maps/shares.h"

#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>

namespace mta::maps {
namespace {

LabelledSample sample_with_target(std::int64_t begin, std::int64_t end) {
  LabelledSample sample;
  sample.answer_rows = {2};
  sample.spans = {{"block 0", "context", 0, begin}, {"block 1", "target", begin, end}};
  return sample;
}

/// One head; rows 1 and 2 of a map of 3 columns.
MapRows rows_of(std::string_view stage, bool after_softmax, const std::vector<float>& values) {
  return {0, stage, after_softmax, 1, at::tensor(values).view({1, 2, 3})};
}

TEST(Shares, OfWeightsAreMagnitudes) {
  TargetShares shares;
  shares.begin_sample(sample_with_target(1, 2));
  shares.add(rows_of("kq_after", true, {0.5F, 0.5F, 0, 0.2F, -0.3F, 0.5F}));
  const Json json = shares.to_json();
  ASSERT_EQ(json.size(), 1u);
  EXPECT_NEAR(json[0]["heads"][0].get<double>(), 0.3, 1e-7);
  EXPECT_NEAR(json[0]["uniform"].get<double>(), 1.0 / 3, 1e-12);
  EXPECT_EQ(json[0]["rows"], 1);
}

TEST(Shares, OfScoresAreThoseOfTheirSoftmax) {
  TargetShares shares;
  shares.begin_sample(sample_with_target(0, 1));
  shares.add(rows_of("scores", false, {0, 0, 0, std::log(6.0F), 0, 0}));
  EXPECT_NEAR(shares.to_json()[0]["heads"][0].get<double>(), 6.0 / 8, 1e-6);
}

TEST(Shares, AverageOverSamplesAndPassOverOtherRows) {
  TargetShares shares;
  for (const float on_target : {1.0F, 0.5F}) {
    shares.begin_sample(sample_with_target(1, 2));
    shares.add(rows_of("softmax", true, {0, 1, 0, 1 - on_target, on_target, 0}));
  }
  EXPECT_NEAR(shares.to_json()[0]["heads"][0].get<double>(), 0.75, 1e-7);
  EXPECT_NE(shares.to_text().find("75.0"), std::string::npos);
}

TEST(Shares, AreAbsentWithoutATarget) {
  TargetShares shares;
  shares.begin_sample({});
  shares.add(rows_of("softmax", true, {0, 1, 0, 0, 1, 0}));
  EXPECT_TRUE(shares.to_json().empty());
  EXPECT_EQ(shares.to_text(), "");
}

}  // namespace
}  // namespace mta::maps
