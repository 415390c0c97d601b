// Decoding on a GPU: what the whole text gives, whichever path the last rows take.
#include "lib/attention/registry.h"
#include "lib/model/decode.h"
#include "tests/support/random_tensors.h"

#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <gtest/gtest.h>

#include <string>

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

/// Steps that are replayed give what plain ones give, whatever they start from; the room for the
/// cache grows on the way.
TEST(CudaDecoding, ReplayedStepsFollowTheTextAsPlainOnesDo) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  const c10::impl::VirtualGuardImpl streams(at::kCUDA);
  const c10::StreamGuard guard(streams.getStreamFromGlobalPool(at::Device(at::kCUDA, 0)));
  constexpr std::uint32_t kVocabulary = 11;
  constexpr std::int64_t kTokens = 170, kRead = 3;
  const at::NoGradGuard no_grad;
  ModelConfig config;
  config.dim = 128;
  config.layers = 3;
  config.heads = 4;
  const at::Tensor tokens = check::random_tokens({2, kTokens}, kVocabulary, "tokens").to(at::kCUDA);
  for (const char* variant : {"standard", "multi_token", "kq_before_only", "talking_heads"}) {
    LanguageModel model(config, preset(variant), kVocabulary,
                        {.seed = 4, .device = at::kCUDA, .compute = at::kBFloat16});
    check::randomise(model.parameters());
    Decoder plain(model), replayed(model, 0, true);
    std::vector<KvCache> place;
    at::Tensor at_place;
    for (std::int64_t done = 0, count = kRead; done < kTokens; done += count, count = 1) {
      if (done == kTokens - 9) place = replayed.place();
      const at::Tensor part = tokens.narrow(1, done, count);
      const at::Tensor expected = plain.next(part), found = replayed.next(part);
      EXPECT_LE(check::relative_error(found, expected), 2e-2) << variant << ", token " << done;
      if (done == kTokens - 9) at_place = found;
    }
    EXPECT_GT(replayed.use().replayed, kTokens - kRead - 10) << replayed.use().reason;
    EXPECT_EQ(replayed.use().reason, "");
    EXPECT_EQ(plain.use().replayed, 0);
    replayed.return_to(place);
    EXPECT_TRUE(replayed.next(tokens.narrow(1, kTokens - 9, 1)).equal(at_place)) << variant;
  }
}

}  // namespace
}  // namespace mta
