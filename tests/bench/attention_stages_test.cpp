// Kernels to the stages of fused attention, and stages to their floors.
#include "lib/bench/attention_stages.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace mta {
namespace {

using kernels::Pass;

constexpr const char* kNotInPass = "";

struct Known {
  const char* kernel;
  const char* forward;
  const char* backward;
};

/// As LibTorch's profiler spells them.
constexpr Known kKnown[] = {
    {"void mta::kernels::scores_kernel<__nv_bfloat16, __half, 64, (mta::kernels::ScoreExtra)1>("
     "mta::kernels::ScoresArgs)",
     "scores", "scores, again"},
    {"void mta::kernels::scores_kernel<__nv_bfloat16, __nv_bfloat16, 64, "
     "(mta::kernels::ScoreExtra)2>(mta::kernels::ScoresArgs)",
     kNotInPass, "gradient of the weights"},
    {"void mta::kernels::convolution_kernel<3, (mta::kernels::MapKind)0>("
     "mta::kernels::ConvolutionArgs)",
     "convolution before softmax", "convolution before softmax, again"},
    {"void mta::kernels::convolution_kernel<3, (mta::kernels::MapKind)1>("
     "mta::kernels::ConvolutionArgs)",
     "convolution after softmax", "convolution after softmax, again"},
    {"void mta::kernels::convolution_walk_kernel<3, 6, (mta::kernels::MapKind)0, __half>("
     "mta::kernels::ConvolutionArgs, int)",
     "convolution before softmax", "convolution before softmax, again"},
    {"void mta::kernels::convolution_walk_kernel<3, 6, (mta::kernels::MapKind)1, __nv_bfloat16>("
     "mta::kernels::ConvolutionArgs, int)",
     "convolution after softmax", "convolution after softmax, again"},
    {"void mta::kernels::convolution_backward_kernel<__nv_bfloat16, 3, (mta::kernels::MapKind)0>("
     "mta::kernels::ConvolutionBackwardArgs)",
     kNotInPass, "convolution before softmax, backward"},
    {"void mta::kernels::convolution_backward_kernel<__nv_bfloat16, 3, (mta::kernels::MapKind)1>("
     "mta::kernels::ConvolutionBackwardArgs)",
     kNotInPass, "convolution after softmax, backward"},
    {"void mta::kernels::convolution_streamed_kernel<__nv_bfloat16, 3, 6, "
     "(mta::kernels::MapKind)0>(mta::kernels::ConvolutionBackwardArgs)",
     kNotInPass, "convolution before softmax, backward"},
    {"void mta::kernels::convolution_streamed_kernel<__nv_bfloat16, 3, 6, "
     "(mta::kernels::MapKind)1>(mta::kernels::ConvolutionBackwardArgs)",
     kNotInPass, "convolution after softmax, backward"},
    {"void mta::kernels::convolution_streamed_kernel<__nv_bfloat16, 3, 6, "
     "(mta::kernels::MapKind)2>(mta::kernels::ConvolutionBackwardArgs)",
     kNotInPass, "softmax and convolution before it, backward"},
    {"void mta::kernels::convolved_mixing_kernel<3, (mta::kernels::MapKind)0, __half, "
     "(mta::kernels::FusedRows)0>("
     "mta::kernels::ConvolvedMixingArgs)",
     "convolution and mixing before softmax", "convolution and mixing before softmax, again"},
    {"void mta::kernels::convolved_mixing_kernel<3, (mta::kernels::MapKind)1, __nv_bfloat16, "
     "(mta::kernels::FusedRows)0>(mta::kernels::ConvolvedMixingArgs)",
     "convolution and mixing after softmax", kNotInPass},
    {"void mta::kernels::convolved_mixing_walk_kernel<3, (mta::kernels::MapKind)0, __half>("
     "mta::kernels::ConvolvedMixingArgs, mta::kernels::ConvolutionArgs, mta::kernels::UnitWalk)",
     "convolution and mixing before softmax", "convolution and mixing before softmax, again"},
    {"void mta::kernels::convolved_mixing_walk_kernel<3, (mta::kernels::MapKind)1, __nv_bfloat16>("
     "mta::kernels::ConvolvedMixingArgs, mta::kernels::ConvolutionArgs, mta::kernels::UnitWalk)",
     "convolution and mixing after softmax", kNotInPass},
    {"void mta::kernels::convolved_mixing_backward_kernel<3, __nv_bfloat16, "
     "(mta::kernels::FusedRows)0>(mta::kernels::ConvolvedMixingArgs)",
     kNotInPass, "convolution after softmax, again, and mixing after it, backward"},
    {"void mta::kernels::convolved_mixing_backward_walk_kernel<3, __nv_bfloat16>("
     "mta::kernels::ConvolvedMixingArgs, mta::kernels::ConvolutionArgs, mta::kernels::UnitWalk)",
     kNotInPass, "convolution after softmax, again, and mixing after it, backward"},
    {"void mta::kernels::mix_before_kernel<1>(mta::kernels::MixingArgs)", "mixing before softmax",
     "mixing before softmax, again"},
    {"void mta::kernels::mix_after_kernel<__nv_bfloat16, 1>(mta::kernels::MixingArgs)",
     "mixing after softmax", kNotInPass},
    {"void mta::kernels::mix_after_backward_kernel<__nv_bfloat16, 1, 2>(mta::kernels::MixingArgs)",
     kNotInPass, "mixing after softmax, backward"},
    {"void mta::kernels::mix_before_backward_kernel<__nv_bfloat16>(mta::kernels::MixingArgs)",
     kNotInPass, "softmax and mixing before it, backward"},
    {"mta::kernels::(anonymous namespace)::mixed_statistics_kernel(mta::kernels::MixingAloneArgs)",
     "statistics of head mixing", kNotInPass},
    {"void mta::kernels::(anonymous namespace)::mixed_weights_kernel<__nv_bfloat16>("
     "mta::kernels::MixingAloneArgs)",
     "softmax and head mixing", kNotInPass},
    {"void mta::kernels::(anonymous namespace)::mixed_dots_kernel<__nv_bfloat16>("
     "mta::kernels::MixingAloneArgs)",
     kNotInPass, "softmax and head mixing, dots"},
    {"void mta::kernels::(anonymous namespace)::mixed_gradients_kernel<__nv_bfloat16>("
     "mta::kernels::MixingAloneArgs)",
     kNotInPass, "softmax and head mixing, backward"},
    {"void mta::kernels::(anonymous namespace)::softmax_backward_kernel<__nv_bfloat16>("
     "mta::kernels::PointwiseArgs)",
     kNotInPass, "softmax, backward"},
    {"mta::kernels::(anonymous namespace)::finish_softmax_kernel(mta::kernels::Extent, "
     "mta::kernels::RowPartials<float2>, float*)",
     "row statistics", kNotInPass},
    {"mta::kernels::(anonymous namespace)::finish_dots_kernel(mta::kernels::Extent, "
     "mta::kernels::RowPartials<float>, float*)",
     kNotInPass, "row dots"},
    {"void mta::kernels::weighted_sum_kernel<__nv_bfloat16, 64, false, true>("
     "mta::kernels::WeightedSumArgs)",
     "weighted sum", "gradient of q"},
    {"void mta::kernels::weighted_parts_kernel<__nv_bfloat16, 64>(mta::kernels::WeightedSumArgs)",
     "weighted sum", "gradient of q"},
    {"void mta::kernels::transposed_sum_kernel<__nv_bfloat16, 64, true>("
     "mta::kernels::TransposedSumArgs)",
     kNotInPass, "gradients of k and v"},
    {"void mta::kernels::one_pass_forward_kernel<__nv_bfloat16, 64, 3, true>("
     "mta::kernels::OnePassArgs)",
     "forward in one pass", kNotInPass},
    {"void mta::kernels::one_pass_backward_kernel<__nv_bfloat16, 64>("
     "mta::kernels::OnePassBackwardArgs)",
     kNotInPass, "backward in one pass"},
    {"mta::kernels::(anonymous namespace)::prepare_kernel("
     "mta::kernels::(anonymous namespace)::PrepareArgs)",
     "prepared weights", "prepared weights, again"},
    {"mta::kernels::(anonymous namespace)::slot_sums_kernel("
     "mta::kernels::(anonymous namespace)::SumsArgs)",
     kNotInPass, "sums of gradients"},
};

TEST(StageOfKernel, GoesByTheKernelsNameAndThePass) {
  for (const Known& known : kKnown) {
    const std::string as_it_is = short_kernel_name(known.kernel);
    for (const auto& [pass, stage] : {std::pair(Pass::Forward, std::string(known.forward)),
                                      std::pair(Pass::Backward, std::string(known.backward))}) {
      EXPECT_EQ(stage_of_kernel(known.kernel, pass), stage == kNotInPass ? as_it_is : stage)
          << known.kernel;
    }
  }
  EXPECT_EQ(stage_of_kernel("void later_kernel<2>(int)", Pass::Forward), "later_kernel<2>(int)");
}

/// A stage that no kernel has would have a floor and no time.
TEST(StageOfKernel, EveryStageThatHasACostHasAKernel) {
  std::set<std::string> named;
  for (const Known& known : kKnown) named.insert({known.forward, known.backward});
  for (const int taps : {0, 66}) {
    for (const int group : {0, 16}) {
      for (const bool in_one_kernel : {false, true}) {
        kernels::CostShape shape{.logits = 1,
                                 .rows = 1,
                                 .head_dim = 64,
                                 .taps_before = taps,
                                 .taps_after = taps,
                                 .group_before = group,
                                 .group_after = group};
        shape.forward_in_one_pass = shape.backward_in_one_pass = in_one_kernel && group == 0;
        shape.fused_before = shape.fused_after = in_one_kernel && taps > 0 && group > 0;
        shape.mixing_alone = in_one_kernel && taps == 0 && group > 0;
        shape.softmax_streams = in_one_kernel && taps > 0 && group == 0;
        for (const Pass pass : {Pass::Forward, Pass::Backward}) {
          for (const kernels::StageCost& cost : stage_costs(shape, pass)) {
            EXPECT_TRUE(named.contains(cost.name)) << cost.name;
          }
        }
      }
    }
  }
}

TEST(StagesJson, SetsEachStageBesideItsFloor) {
  // One logit and row: scores move S, q and k, 2 + 2 * 2 * 64 bytes, at 1000 bytes a second.
  const kernels::CostShape shape{.logits = 1, .rows = 1, .head_dim = 64};
  const DeviceRates rates{.bytes_per_s = 1000, .operations_per_s = 1e9};
  const PassProfile forward = {{{.name = kKnown[0].kernel, .ms = 1032, .launches = 2},
                                {.name = "Memcpy DtoD", .ms = 258, .launches = 2}},
                               shape};
  const PassProfile backward = {{{.name = kKnown[0].kernel, .ms = 1290, .launches = 4}}, shape};
  const Json json = stages_json(forward, backward, 2, rates);
  EXPECT_DOUBLE_EQ(json["kernel_ms"].get<double>(), 1290);
  ASSERT_EQ(json["parts"].size(), 3U);
  const Json& scores = json["parts"][0];
  EXPECT_EQ(scores["part"], "scores");
  EXPECT_EQ(scores["direction"], "forward");
  EXPECT_DOUBLE_EQ(scores["ms"].get<double>(), 516);
  EXPECT_DOUBLE_EQ(scores["share"].get<double>(), 0.4);
  EXPECT_DOUBLE_EQ(scores["bytes"].get<double>(), 258);
  EXPECT_DOUBLE_EQ(scores["operations"].get<double>(), 128);
  EXPECT_DOUBLE_EQ(scores["floor_ms"].get<double>(), 258);
  EXPECT_DOUBLE_EQ(scores["share_of_floor"].get<double>(), 0.5);
  EXPECT_EQ(json["parts"][1]["part"], "Memcpy DtoD");
  EXPECT_FALSE(json["parts"][1].contains("floor_ms"));
  EXPECT_EQ(json["parts"][2]["part"], "scores, again");
  EXPECT_EQ(json["parts"][2]["direction"], "backward");
  EXPECT_DOUBLE_EQ(json["parts"][2]["launches"].get<double>(), 2);
  ASSERT_EQ(json["kernels"].size(), 3U);
  EXPECT_EQ(json["kernels"][2]["direction"], "backward");
  // Scores, and the weighted sum of v into o from S.
  EXPECT_DOUBLE_EQ(floor_ms(shape, Pass::Forward, rates), 516);
}

}  // namespace
}  // namespace mta
