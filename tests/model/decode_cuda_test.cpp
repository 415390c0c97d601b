// Decoding on a GPU: what the whole text gives, whichever path the last rows take.
#include "lib/attention/registry.h"
#include "lib/model/decode.h"
#include "tests/support/random_tensors.h"

#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/stack.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

namespace mta {
namespace {

TEST(CudaDecoding, EqualsRecomputationForEveryVariant) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  constexpr std::uint32_t kVocabulary = 11;
  constexpr std::int64_t kTokens = 150, kRead = 140;
  const at::NoGradGuard no_grad;
  ModelConfig config;
  config.dim = 128;
  config.layers = 3;
  config.heads = 4;
  const at::Tensor tokens = check::random_tokens({2, kTokens}, kVocabulary, "tokens").to(at::kCUDA);
  for (const std::string& variant : variant_names()) {
    const auto model_of = [&](at::Device device, at::ScalarType master, at::ScalarType compute) {
      return LanguageModel(config, preset(variant), kVocabulary,
                           {.seed = 4, .device = device, .master = master, .compute = compute});
    };
    const LanguageModel model = model_of(at::kCUDA, at::kFloat, at::kBFloat16);
    const at::Tensor truth = model_of(at::kCPU, at::kDouble, at::kDouble).forward(tokens.cpu());
    const at::Tensor whole = model.forward(tokens);
    Decoder decoder(model);
    for (std::int64_t done = 0, count = kRead; done < kTokens; done += count, count = 1) {
      const at::Tensor logits = decoder.next(tokens.narrow(1, done, count));
      const at::Tensor exact = truth.select(1, done + count - 1);
      const at::Tensor rival = whole.select(1, done + count - 1);
      EXPECT_LE(check::relative_error(logits.cpu(), exact),
                2 * check::relative_error(rival.cpu(), exact) + 4e-3)
          << variant << ", token " << done;
    }
  }
}

/// Steps that are replayed are as near the truth as plain ones, whatever they start from; the room
/// for the cache grows on the way.
TEST(CudaDecoding, ReplayedStepsFollowTheTextAsPlainOnesDo) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  const c10::impl::VirtualGuardImpl streams(at::kCUDA);
  const c10::StreamGuard guard(streams.getStreamFromGlobalPool(at::Device(at::kCUDA, 0)));
  constexpr std::uint32_t kVocabulary = 11;
  constexpr std::int64_t kTokens = 170, kRead = 3, kBack = 9;
  const at::NoGradGuard no_grad;
  ModelConfig config;
  config.dim = 128;
  config.layers = 3;
  config.heads = 4;
  const at::Tensor tokens = check::random_tokens({2, kTokens}, kVocabulary, "tokens");
  for (const char* variant : {"standard", "multi_token", "kq_before_only", "talking_heads"}) {
    const auto model_of = [&](at::Device device, at::ScalarType master, at::ScalarType compute) {
      auto model = std::make_unique<LanguageModel>(
          config, preset(variant), kVocabulary,
          ModelOptions{.seed = 4, .device = device, .master = master, .compute = compute});
      check::randomise(model->parameters());
      return model;
    };
    const auto model = model_of(at::kCUDA, at::kFloat, at::kBFloat16);
    const at::Tensor truth = model_of(at::kCPU, at::kDouble, at::kDouble)
                                 ->forward(tokens)
                                 .narrow(1, kRead - 1, kTokens - kRead + 1);
    Decoder plain(*model), replayed(*model, 0, true);
    std::vector<KvCache> place;
    std::vector<at::Tensor> by_plain, by_replayed;  // [B, V] of each token from kRead - 1 on
    for (std::int64_t done = 0, count = kRead; done < kTokens; done += count, count = 1) {
      if (done == kTokens - kBack) place = replayed.place();
      const at::Tensor part = tokens.narrow(1, done, count).to(at::kCUDA);
      by_plain.push_back(plain.next(part).cpu());
      by_replayed.push_back(replayed.next(part).cpu());
    }
    EXPECT_LE(check::relative_error(at::stack(by_replayed, 1), truth),
              2 * check::relative_error(at::stack(by_plain, 1), truth))
        << variant;
    EXPECT_GT(replayed.use().replayed, kTokens - kRead - 10) << replayed.use().reason;
    EXPECT_EQ(replayed.use().reason, "");
    EXPECT_EQ(plain.use().replayed, 0);
    replayed.return_to(place);
    const at::Tensor again =
        replayed.next(tokens.narrow(1, kTokens - kBack, 1).to(at::kCUDA)).cpu();
    EXPECT_TRUE(again.equal(by_replayed[by_replayed.size() - kBack])) << variant;
  }
}

}  // namespace
}  // namespace mta
