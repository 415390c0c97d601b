// The operations of an update, its input at fixed addresses, and when it is recorded.
#include "lib/train/updater.h"

#include "lib/core/error.h"
#include "lib/nn/rounded_weights.h"
#include "lib/ops/flash.h"
#include "lib/train/schedule.h"
#include "lib/train/tensors.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/stack.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <stdexcept>

namespace mta {

struct StepInput {
  TensorBatch batch;
  at::Tensor rate;          // learning rate, a scalar
  at::Tensor scored;        // targets of the whole batch, a scalar in the loss's type
  std::uint64_t step = 0;   // for dropout; 0 on a GPU, where `streams` says it
  at::Tensor streams = {};  // Int on the GPU: dropout's random streams that earlier updates used
};

namespace {

/// Updates of a shape that run plain before one is recorded: libraries set themselves up in them.
constexpr std::int64_t kPlainFirst = 3;
constexpr std::size_t kShapes = 8;  // recorded at most; each holds memory

at::ScalarType loss_type(at::ScalarType master) {
  return master == at::kDouble ? at::kDouble : at::kFloat;
}

/// An update's input in one piece of memory, so that one copy brings it to the device: inputs and
/// targets, learning rate, number of scored targets, dropout's streams.
class Layout {
 public:
  Layout(const Batch& batch, at::ScalarType loss)
      : size_(batch.size), length_(batch.length), first_row_(batch.first_scored), loss_(loss) {}

  bool fits(const Batch& batch) const {
    return batch.size == size_ && batch.length == length_ && batch.first_scored == first_row_;
  }

  at::Tensor memory(at::TensorOptions options) const {
    return at::empty({kNumbers * kWord + (size_ * length_ + targets()) * kWord},
                     options.dtype(at::kByte));
  }

  /// Views of `memory`.
  StepInput view(const at::Tensor& memory) const {
    const auto words = [&](std::int64_t first, std::int64_t count) {
      return memory.narrow(0, first * kWord, count * kWord);
    };
    const auto scalar = [&](std::int64_t index, at::ScalarType type) {
      return words(index, 1).view(type).select(0, 0);
    };
    return {
        .batch = {.inputs = words(kNumbers, size_ * length_).view(at::kLong).view({size_, length_}),
                  .targets = words(kNumbers + size_ * length_, targets())
                                 .view(at::kLong)
                                 .view({size_, length_ - first_row_}),
                  .first_row = first_row_},
        .rate = scalar(0, at::kFloat),
        .scored = scalar(1, loss_),
        .streams = scalar(2, at::kInt)};
  }

  /// Writes an update's input to `memory` on the host.
  void write(const Batch& batch, double rate, std::int64_t streams,
             const at::Tensor& memory) const {
    auto* words = static_cast<std::byte*>(memory.mutable_data_ptr());
    const auto put = [&](std::int64_t index, auto value) {
      std::memcpy(words + index * kWord, &value, sizeof(value));
    };
    auto* numbers = reinterpret_cast<std::int64_t*>(words + kNumbers * kWord);
    const std::int64_t scored =
        write_tokens(batch, {.inputs = numbers, .targets = numbers + size_ * length_});
    put(0, static_cast<float>(rate));
    if (loss_ == at::kDouble) {
      put(1, static_cast<double>(scored));
    } else {
      put(1, static_cast<float>(scored));
    }
    put(2, static_cast<std::int32_t>(static_cast<std::uint32_t>(streams)));  // modulo 2^32
  }

 private:
  static constexpr std::int64_t kWord = 8;     // bytes
  static constexpr std::int64_t kNumbers = 4;  // words before the tokens

  std::int64_t targets() const { return size_ * (length_ - first_row_); }

  std::int64_t size_, length_, first_row_;
  at::ScalarType loss_;
};

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

}  // namespace

struct Updater::Shape {
  Shape(const Batch& batch, at::ScalarType loss, at::Device device)
      : layout(batch, loss),
        memory(layout.memory(at::TensorOptions(device))),
        input(layout.view(memory)) {}

  Layout layout;
  at::Tensor memory;  // on the device
  StepInput input;    // views of it
  std::int64_t plain = 0;
  bool may_record = false;
  std::unique_ptr<DeviceGraph> graph;
  at::Tensor results;  // of the graph
};

void check_graph(const TrainConfig& config, at::Device device) {
  if (config.graph == GraphUse::On && device.is_cpu()) {
    throw UserError("/train/graph", "\"on\" needs a GPU, but the device is the CPU",
                    "use \"auto\" or --device cuda");
  }
}

void check_recompute(const TrainConfig& config, const LanguageModel& model, double dropout) {
  for (std::int64_t layer = 0; dropout > 0 && layer < config.recompute_layers; ++layer) {
    if (!model.blocks().at(static_cast<std::size_t>(layer)).attention().uses_flash()) continue;
    throw UserError(
        "/train/recompute_layers",
        fmt::format("{} has layer {}, where flash attention's dropout cannot be drawn again",
                    config.recompute_layers, layer),
        "set /model/attention_dropout to 0, /attention/path to \"composed\", or this to 0");
  }
}

Updater::Updater(const LanguageModel& model, AdamW& optimiser, const TrainConfig& config,
                 const UpdaterOptions& options)
    : model_(model), optimiser_(optimiser), config_(config), options_(options) {
  check_graph(config, options.device);
  check_recompute(config, model, options.dropout);
  // Gradients of parts of a batch are added up in the parameters' own type.
  const bool keeps = !options.device.is_cpu() && config.accumulate == 1;
  optimiser.keep_rounded(keeps ? model.rounded_weights() : RoundedForms{});
  if (options.device.is_cpu()) {
    use_.reason = "the device is the CPU";
  } else if (config.graph == GraphUse::Off) {
    use_.reason = "/train/graph is \"off\"";
  } else if (graph_recorder() == nullptr) {
    use_.reason = "this program is built without CUDA graphs";
  } else {
    use_.reason = "too few updates";
    may_record_ = true;
  }
}

Updater::~Updater() = default;

at::Tensor Updater::update(std::int64_t step, const Batch& batch) {
  TORCH_CHECK(batch.first_scored < batch.length, "a batch without a scored position");
  const double rate = learning_rate(config_, step);
  if (options_.device.is_cpu()) {
    ++use_.plain;
    return compute(on_host(step, rate, batch));
  }
  optimiser_.refresh_rounded();
  Shape& shape = shape_of(batch);
  fill(shape, step, rate, batch);
  if (shape.may_record && !shape.graph && shape.plain >= kPlainFirst) record(shape);
  if (options_.dropout > 0) {  // flash attention draws from LibTorch's generator
    ops::seed_flash(
        {.seed = options_.seed, .stream = static_cast<std::uint64_t>(step * config_.accumulate)},
        options_.device);
  }
  if (!shape.graph) {
    ++shape.plain;
    ++use_.plain;
    return compute(shape.input);
  }
  ++use_.replayed;
  shape.graph->replay();
  return shape.results.clone();  // the next replay writes over them
}

StepInput Updater::on_host(std::int64_t step, double rate, const Batch& batch) const {
  const TensorBatch tensors = to_tensors(batch, at::kCPU);
  return {.batch = tensors,
          .rate = at::scalar_tensor(rate, at::kDouble),
          .scored = at::scalar_tensor(static_cast<double>(tensors.scored), loss_type(master())),
          .step = static_cast<std::uint64_t>(step)};
}

Updater::Shape& Updater::shape_of(const Batch& batch) {
  for (const auto& shape : shapes_) {
    if (shape->layout.fits(batch)) return *shape;
  }
  auto shape = std::make_unique<Shape>(batch, loss_type(master()), options_.device);
  if (shapes_.size() < kShapes) {
    shape->may_record = may_record_;
    return *shapes_.emplace_back(std::move(shape));
  }
  if (may_record_) use_.reason = "batches of more than 8 shapes: the others are not recorded";
  other_ = std::move(shape);
  return *other_;
}

/// The host memory is LibTorch's, which keeps it until the copy is done.
void Updater::fill(Shape& shape, std::int64_t step, double rate, const Batch& batch) const {
  const at::Tensor host = shape.layout.memory(at::TensorOptions().pinned_memory(true));
  const std::int64_t streams =
      step * config_.accumulate * static_cast<std::int64_t>(model_.blocks().size());
  shape.layout.write(batch, rate, streams, host);
  shape.memory.copy_(host, /*non_blocking=*/true);
}

void Updater::record(Shape& shape) {
  try {
    const DeviceGraph* beside = nullptr;
    for (const auto& other : shapes_) beside = other->graph ? other->graph.get() : beside;
    shape.graph = graph_recorder()([&] { shape.results = compute(shape.input); }, beside);
    if (use_.replayed == 0) use_.reason.clear();
  } catch (const std::exception& error) {
    optimiser_.forget_gradients();
    may_record_ = shape.may_record = false;
    use_.reason = "the step cannot be recorded: " + first_line(error.what());
    if (config_.graph == GraphUse::On) {
      throw std::runtime_error("/train/graph is \"on\", but " + use_.reason);
    }
  }
}

at::Tensor Updater::compute(const StepInput& input) {
  const std::int64_t parts = config_.accumulate;
  const RoundedWeights kept(optimiser_.rounded());
  at::Tensor loss;
  for (std::int64_t i = 0; i < parts; ++i) {
    const TensorBatch part = part_of(input.batch, i, parts);
    const auto number = input.step * static_cast<std::uint64_t>(parts);
    const at::Tensor logits =
        model_.forward(part.inputs, {.first_row = part.first_row,
                                     .dropout = options_.dropout,
                                     .seed = options_.seed,
                                     .step = number + static_cast<std::uint64_t>(i),
                                     .streams_before = input.streams,
                                     .recompute_layers = config_.recompute_layers});
    const at::Tensor share = summed_loss(logits, part.targets) / input.scored;
    share.backward();
    loss = loss.defined() ? loss + share.detach() : share.detach();
  }
  const at::Tensor grad_norm = optimiser_.step(input.rate);
  optimiser_.forget_gradients();
  return at::stack({loss, grad_norm});
}

at::ScalarType Updater::master() const {
  return model_.parameters().named().front().second.scalar_type();
}

}  // namespace mta
