// The functions of lib/nn on a GPU: as exact as separate operations, and the same bits every time.
#include "lib/nn/chunked_cross_entropy.h"
#include "lib/nn/cuda/norm_gate.h"
#include "lib/nn/feed_forward.h"
#include "lib/nn/linear.h"
#include "lib/nn/rms_norm.h"
#include "lib/nn/rotary.h"
#include "tests/nn/cuda_functions.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/silu.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

namespace mta {
namespace {

at::Tensor separate_norm(const at::Tensor& x, const at::Tensor& weight) {
  const auto wide = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor precise = x.to(wide);
  const at::Tensor scale = (precise.square().mean(-1, true) + kEps).rsqrt();
  return (precise * scale * weight.to(wide)).to(x.scalar_type());
}

TEST_F(CudaFunctions, RmsNorm) {
  for (const at::ScalarType type : kTypes) {
    for (const std::int64_t d : {8, 40, 256, 264, 520, 1024, 1536, 1544, 2048}) {
      for (const std::int64_t rows : {1, 7, 333, 4100}) {
        const Tensors inputs = {on_gpu({rows, d}, "x", type), on_gpu({d}, "weight", at::kFloat)};
        expect_as_exact([](const Tensors& t) { return Tensors{rms_norm(t[0], t[1], kEps)}; },
                        [](const Tensors& t) { return Tensors{separate_norm(t[0], t[1])}; }, inputs,
                        "d " + std::to_string(d) + ", rows " + std::to_string(rows));
      }
    }
  }
}

TEST_F(CudaFunctions, RmsNormOfASum) {
  for (const at::ScalarType type : kTypes) {
    for (const std::int64_t d : {16, 256, 520, 1536, 2048}) {
      const Tensors inputs = {on_gpu({3, 867, d}, "x", type), on_gpu({3, 867, d}, "update", type),
                              on_gpu({d}, "weight", at::kFloat)};
      expect_as_exact(
          [](const Tensors& t) {
            const auto [sum, normed] = add_rms_norm(t[0], t[1], t[2], kEps);
            return Tensors{sum, normed};
          },
          [](const Tensors& t) {
            const at::Tensor sum = t[0] + t[1];
            return Tensors{sum, separate_norm(sum, t[2])};
          },
          inputs, "d " + std::to_string(d));
    }
  }
}

TEST_F(CudaFunctions, RmsNormOfASumWhoseLastRowsAreUsed) {
  for (const at::ScalarType type : kTypes) {
    for (const std::int64_t d : {16, 256, 1536}) {
      const Tensors inputs = {on_gpu({3, 67, d}, "x", type), on_gpu({3, 67, d}, "update", type),
                              on_gpu({d}, "weight", at::kFloat)};
      expect_as_exact(
          [](const Tensors& t) {
            const auto [sum, normed] = add_rms_norm(t[0], t[1], t[2], kEps, 60);
            return Tensors{sum, normed};
          },
          [](const Tensors& t) {
            const at::Tensor sum = t[0] + t[1];
            return Tensors{sum.narrow(1, 60, 7), separate_norm(sum, t[2])};
          },
          inputs, "d " + std::to_string(d));
    }
  }
}

TEST_F(CudaFunctions, RmsNormOfASumThatOnlyOneResultIsUsedOf) {
  const at::Tensor weight = on_gpu({64}, "weight", at::kFloat);
  for (const bool use_sum : {false, true}) {
    const auto part = [&](const Normed& n) { return Tensors{use_sum ? n.sum : n.normed}; };
    expect_as_exact(
        [&](const Tensors& t) {
          return part(add_rms_norm(t[0], t[1], weight.to(t[0].device()), kEps));
        },
        [&](const Tensors& t) {
          const at::Tensor sum = t[0] + t[1];
          return part({sum, separate_norm(sum, weight.to(t[0].device()))});
        },
        {on_gpu({5, 64}, "x", at::kFloat), on_gpu({5, 64}, "update", at::kFloat)}, "one result");
  }
}

/// The stages on attention's output, their parameters [2 d + 1] in one tensor, so that errors are
/// judged by all of them: a sum alone may be near 0.
ops::OutputStages norm_and_gate(const at::Tensor& parameters, bool norm, bool gate) {
  const std::int64_t d = parameters.size(0) / 2;
  ops::OutputStages stages;
  if (norm) {
    stages.norm_weight = parameters.narrow(0, 0, d);
    stages.norm_eps = kEps, stages.norm_scale = 0.75;
  }
  if (gate) {
    stages.gate_weight = parameters.narrow(0, d, d).view({1, d});
    stages.gate_bias = parameters.narrow(0, 2 * d, 1);
  }
  return stages;
}

/// o [B, H, T, d] -> [B, T, H d], an operation at a time.
at::Tensor separate_norm_and_gate(at::Tensor o, const ops::OutputStages& stages) {
  if (stages.norm_weight.defined()) {
    o = separate_norm(o, stages.norm_weight * stages.norm_scale);
  }
  if (stages.gate_weight.defined()) {
    o = o * mta::linear(o, stages.gate_weight, stages.gate_bias).sigmoid();
  }
  return o.transpose(1, 2).flatten(2);
}

/// Views [B, H, T, d] of tensors in several orders of memory.
struct HeadsView {
  const char* name;
  std::vector<std::int64_t> sizes;  // of the tensor, but for d
  std::function<at::Tensor(const at::Tensor&)> view;
};
const HeadsView kHeadsViews[] = {
    {"B T H", {2, 37, 5}, [](const at::Tensor& t) { return t.transpose(1, 2); }},
    {"B H T", {3, 4, 311}, [](const at::Tensor& t) { return t; }},
    {"one row", {1, 1, 1}, [](const at::Tensor& t) { return t; }},
    {"parts", {2, 70, 6}, [](const at::Tensor& t) {
       return t.narrow(1, 3, 61).narrow(2, 1, 3).transpose(1, 2);
     }}};

TEST_F(CudaFunctions, NormAndGateOfAttentionsOutput) {
  for (const at::ScalarType type : kTypes) {
    for (const std::int64_t d : {8, 64, 72, 96, 128, 192, 256}) {
      for (const HeadsView& heads : kHeadsViews) {
        for (const int stages : {1, 2, 3}) {
          const auto of = [&](const Tensors& t) {
            return norm_and_gate(t[1], (stages & 1) != 0, (stages & 2) != 0);
          };
          const auto fused = [&](const Tensors& t) {
            EXPECT_TRUE(nn::cuda::covers_norm_gate(heads.view(t[0]), of(t)));
            return Tensors{nn::cuda::norm_gate(heads.view(t[0]), of(t))};
          };
          const auto separate = [&](const Tensors& t) {
            return Tensors{separate_norm_and_gate(heads.view(t[0]), of(t))};
          };
          std::vector<std::int64_t> sizes = heads.sizes;
          sizes.push_back(d);
          expect_as_exact(fused, separate,
                          {on_gpu(sizes, "o", type), on_gpu({2 * d + 1}, "weights", at::kFloat)},
                          std::string(heads.name) + ", d " + std::to_string(d) + ", stages " +
                              std::to_string(stages),
                          /*slack=*/5e-7);
        }
      }
    }
  }
}

TEST_F(CudaFunctions, NormAndGateLeaveToOthersWhatTheyDoNotCover) {
  const auto covers = [](std::int64_t d, at::ScalarType type, const ops::OutputStages& stages) {
    return nn::cuda::covers_norm_gate(on_gpu({2, 3, 5, d}, "o", type), stages);
  };
  const auto weights = [](std::int64_t d) { return on_gpu({2 * d + 1}, "weights", at::kFloat); };
  EXPECT_TRUE(covers(64, at::kBFloat16, norm_and_gate(weights(64), true, true)));
  EXPECT_FALSE(covers(64, at::kBFloat16, {}));
  EXPECT_FALSE(covers(64, at::kHalf, norm_and_gate(weights(64), true, true)));
  EXPECT_FALSE(covers(20, at::kBFloat16, norm_and_gate(weights(20), true, true)));
  EXPECT_FALSE(covers(264, at::kBFloat16, norm_and_gate(weights(264), true, true)));
  ops::OutputStages vector = norm_and_gate(weights(64), true, true);
  vector.gate_weight = on_gpu({64, 64}, "gate", at::kFloat);
  vector.gate_bias = on_gpu({64}, "bias", at::kFloat);
  EXPECT_FALSE(covers(64, at::kBFloat16, vector));
}

TEST_F(CudaFunctions, Rotary) {
  const auto table = [](const at::Tensor& x) {
    const auto wide = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    return make_rotary_table(64, x.size(3), 1000, x.options().dtype(wide));
  };
  const auto separate = [&](const at::Tensor& x) {
    const RotaryTable t = table(x);
    const at::Tensor wide = x.to(t.cos.scalar_type());
    const at::Tensor swapped = wide.unflatten(-1, {-1, 2}).flip(-1).flatten(-2);
    return (wide * t.cos.narrow(0, 5, x.size(1)).unsqueeze(1) +
            swapped * t.sin.narrow(0, 5, x.size(1)).unsqueeze(1))
        .to(x.scalar_type());
  };
  for (const at::ScalarType type : kTypes) {
    for (const std::int64_t d : {8, 48, 128}) {
      // A part of wider rows, as out of a joint projection.
      const auto head_part = [&](const at::Tensor& x) { return x.narrow(2, 1, 2); };
      expect_as_exact(
          [&](const Tensors& t) { return Tensors{rotate(head_part(t[0]), table(t[0]), 5)}; },
          [&](const Tensors& t) { return Tensors{separate(head_part(t[0]))}; },
          {on_gpu({3, 37, 4, d}, "x", type)}, "d " + std::to_string(d));
    }
  }
}

TEST_F(CudaFunctions, RotaryOfAJointProduct) {
  const auto table_of = [](const at::Tensor& x, std::int64_t d) {
    const auto wide = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    return make_rotary_table(64, d, 1000, x.options().dtype(wide));
  };
  for (const at::ScalarType type : kTypes) {
    for (const std::int64_t d : {8, 48, 96}) {
      for (const std::int64_t value_heads : {2, 4}) {
        const auto fused = [&](const Tensors& t) {
          Tensors parts = rotate_joint(t[0], table_of(t[0], d), {4, 4, value_heads});
          return Tensors{parts[0].transpose(1, 2), parts[1], parts[2].transpose(1, 2)};
        };
        const auto separate = [&](const Tensors& t) {
          Tensors parts = joint_parts(t[0], {4, 4, value_heads});
          const RotaryTable table = table_of(t[0], d);
          return Tensors{rotate(parts[0], table, 0).transpose(1, 2), rotate(parts[1], table, 0),
                         parts[2].transpose(1, 2)};
        };
        expect_as_exact(fused, separate, {on_gpu({3, 37, 3 * 4 * d}, "joint", type)},
                        "d " + std::to_string(d));
      }
    }
  }
}

TEST_F(CudaFunctions, FeedForward) {
  const auto separate = [](const Tensors& t) {
    return Tensors{at::linear(at::silu(at::linear(t[0], t[1])) * at::linear(t[0], t[3]), t[2])};
  };
  const auto fused = [](const Tensors& t) { return Tensors{feed_forward(t[0], t[1], t[2], t[3])}; };
  for (const at::ScalarType type : kTypes) {
    for (const std::int64_t hidden : {8, 20, 72, 768}) {  // 20: not covered by kernels
      const std::int64_t d = 40;
      expect_as_exact(fused, separate,
                      {on_gpu({2, 33, d}, "x", type), on_gpu({hidden, d}, "w1", type),
                       on_gpu({d, hidden}, "w2", type), on_gpu({hidden, d}, "w3", type)},
                      "hidden " + std::to_string(hidden));
    }
  }
}

TEST_F(CudaFunctions, CrossEntropyInOnePass) {
  for (const at::ScalarType type : kTypes) {
    for (const std::int64_t vocabulary : {8, 24, 41, 1000, 4099, 128256}) {
      const std::int64_t rows = 37;
      at::Tensor targets =
          check::random_tokens({rows}, static_cast<std::uint32_t>(vocabulary), "targets");
      for (std::int64_t row = 2; row < rows; row += 3) targets[row] = kNoTarget;
      const auto separate = [&](const Tensors& t) {
        const bool wide = t[0].scalar_type() == at::kDouble;
        return Tensors{at::cross_entropy_loss(t[0].to(wide ? at::kDouble : at::kFloat),
                                              targets.to(t[0].device()), {}, at::Reduction::Sum,
                                              kNoTarget)};
      };
      const auto fused = [&](const Tensors& t) {
        return Tensors{chunked_cross_entropy(t[0], targets.to(t[0].device()))};
      };
      expect_as_exact(fused, separate, {on_gpu({rows, vocabulary}, "logits", type) * 8},
                      "vocabulary " + std::to_string(vocabulary));
    }
  }
}

}  // namespace
}  // namespace mta
