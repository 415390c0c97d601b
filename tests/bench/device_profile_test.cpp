// Kernels to the parts of a step: by name, with shares that add up.
#include "lib/bench/device_profile.h"

#include <gtest/gtest.h>

namespace mta {
namespace {

TEST(PartOfStep, GoesByTheKernelsName) {
  const std::pair<const char*, const char*> names[] = {
      {"void mta::nn::cuda::(anonymous namespace)::backward_kernel<float, 1>(mta::nn::cuda::"
       "RmsNormBackward)",
       "norms"},
      {"void mta::nn::cuda::(anonymous namespace)::backward_kernel<__nv_bfloat16, "
       "16>(mta::nn::cuda::"
       "NormGateBackward)",
       "group norm and gate"},
      {"void mta::nn::cuda::(anonymous namespace)::rotate_kernel<float>(mta::nn::cuda::Rotation)",
       "rotary"},
      {"void mta::nn::cuda::(anonymous namespace)::forward_kernel<float>(mta::nn::cuda::Gated)",
       "gate"},
      {"void mta::nn::cuda::(anonymous namespace)::backward_kernel<__nv_bfloat16>(mta::nn::cuda::"
       "CrossEntropyBackward)",
       "loss"},
      {"void at::native::(anonymous namespace)::embedding_backward_feature_kernel<float>(int)",
       "embedding"},
      {"void mta::nn::cuda::(anonymous namespace)::add_rows_kernel<float>(mta::nn::cuda::AddRows)",
       "embedding"},
      {"void mta::kernels::(anonymous namespace)::post_kernel<2>(mta::kernels::Extent)",
       "attention"},
      {"void flash::flash_bwd_kernel<Flash_bwd_kernel_traits<128>>(flash::Flash_bwd_params)",
       "attention"},
      {"nvjet_hsh_128x256_64x4_1x2_h_bz_coopA_NNT", "matrix products"},
      {"sm90_xmma_gemm_bf16bf16_bf16f32_f32_nn_n", "matrix products"},
      {"void cudnn::fusion::compute_dot_do_o<true>(void const*, void const*)", "attention"},
      {"void at::native::multi_tensor_apply_kernel<at::native::FusedAdamMathFunctor>", "optimiser"},
      {"mta::train::cuda::(anonymous namespace)::update_kernel(mta::train::cuda::AdamW)",
       "optimiser"},
      {"void at::native::(anonymous namespace)::multi_tensor_apply_kernel<at::native::Copy<float>>",
       "copies"},
      {"Memcpy HtoD (Pinned -> Device)", "copies"},
      {"void at::native::(anonymous namespace)::CatArrayBatchedCopy_vectorized<4>(int)", "copies"},
      {"void at::native::unrolled_elementwise_kernel<at::native::direct_copy_kernel_cuda>(int)",
       "copies"},
      {"void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>>(int)",
       "elementwise"},
      {"void at::native::(anonymous namespace)::distribution_kernel<4>(int)", "other"},
  };
  for (const auto& [name, part] : names) EXPECT_EQ(part_of_step(name), part) << name;
}

TEST(TimesByName, AKernelThatWaitsForItsPredecessorIsNotChargedWithTheWait) {
  constexpr std::int64_t kMillisecond = 1000000;
  const std::vector<KernelTime> times =
      times_by_name({{"second", 5 * kMillisecond, 12 * kMillisecond},
                     {"first", 1 * kMillisecond, 10 * kMillisecond},
                     {"inside", 6 * kMillisecond, 9 * kMillisecond},
                     {"first", 20 * kMillisecond, 21 * kMillisecond}});
  ASSERT_EQ(times.size(), 3U);
  EXPECT_EQ(times[0].name, "first");
  EXPECT_DOUBLE_EQ(times[0].ms, 9 + 1);
  EXPECT_EQ(times[0].launches, 2);
  EXPECT_EQ(times[1].name, "second");
  EXPECT_DOUBLE_EQ(times[1].ms, 2);
  EXPECT_DOUBLE_EQ(times[2].ms, 0) << "ran while another did";
}

TEST(ProfileJson, GivesTimesAStepAndSharesThatAddUp) {
  const Json json = profile_json({{.name = "void gemm<float>()", .ms = 6, .launches = 4},
                                  {.name = "other_gemm", .ms = 2, .launches = 2},
                                  {.name = "Memcpy HtoD", .ms = 2, .launches = 2}},
                                 2);
  EXPECT_DOUBLE_EQ(json["kernel_ms"].get<double>(), 5);
  ASSERT_EQ(json["parts"].size(), 2U);
  EXPECT_EQ(json["parts"][0],
            (Json{{"part", "matrix products"}, {"ms", 4.0}, {"share", 0.8}, {"launches", 3.0}}));
  EXPECT_EQ(json["parts"][1]["part"], "copies");
  EXPECT_DOUBLE_EQ(json["parts"][1]["share"].get<double>(), 0.2);
  ASSERT_EQ(json["kernels"].size(), 3U);
  EXPECT_EQ(json["kernels"][0]["kernel"], "gemm<float>()");
}

}  // namespace
}  // namespace mta
