// Teacher-forced and greedy scoring.
#include "lib/train/evaluator.h"

#include "lib/model/decode.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>

#include <span>

namespace mta {
namespace {

/// Adds up samples.
class Tally {
 public:
  void add(std::int64_t wrong_tokens, std::int64_t tokens, const Slices& slices) {
    const bool correct = wrong_tokens == 0;
    ++scores_.scored;
    wrong_samples_ += correct ? 0 : 1;
    wrong_tokens_ += wrong_tokens;
    tokens_ += tokens;
    for (const auto& [name, value] : slices) {
      SliceCount& slice = scores_.slices[name][value];
      ++slice.count;
      slice.correct += correct ? 1 : 0;
    }
  }

  /// Errors stay unset when nothing was scored.
  Scores scores(std::optional<double> summed_loss) const {
    Scores scores = scores_;
    if (scores.scored == 0) return scores;
    scores.err_seq = static_cast<double>(wrong_samples_) / static_cast<double>(scores.scored);
    scores.err_tok = static_cast<double>(wrong_tokens_) / static_cast<double>(tokens_);
    if (summed_loss) scores.loss = *summed_loss / static_cast<double>(tokens_);
    return scores;
  }

 private:
  Scores scores_;
  std::int64_t wrong_samples_ = 0, wrong_tokens_ = 0, tokens_ = 0;
};

/// Wrong and scored tokens of each sample: [B, 2] int64.
at::Tensor counts(const at::Tensor& logits, const at::Tensor& targets) {
  const at::Tensor scored = targets.ne(kUnscored);
  const at::Tensor wrong = logits.argmax(-1).ne(targets).logical_and(scored);
  return at::stack({wrong.sum(1), scored.sum(1)}, 1);
}

/// One row of a batch on the CPU: what is asked at its positions, from the first that is scored on.
struct Question {
  std::vector<std::int32_t> prompt;
  std::vector<std::int64_t> answer;  // kUnscored where nothing is asked
};

Question question_of(const TensorBatch& batch, std::int64_t row) {
  const auto* inputs = batch.inputs[row].const_data_ptr<std::int64_t>();
  const at::Tensor row_targets = batch.targets[row];
  const std::span targets(row_targets.const_data_ptr<std::int64_t>(),
                          static_cast<std::size_t>(row_targets.numel()));
  std::size_t first = 0, end = targets.size();
  while (first < end && targets[first] == kUnscored) ++first;
  while (end > first && targets[end - 1] == kUnscored) --end;
  const auto length = static_cast<std::size_t>(batch.first_row) + first + 1;
  return {.prompt = {inputs, inputs + length},
          .answer = {targets.begin() + static_cast<std::ptrdiff_t>(first),
                     targets.begin() + static_cast<std::ptrdiff_t>(end)}};
}

}  // namespace

Evaluator::Evaluator(const EvaluationSet& set, std::int64_t batch_size, at::Device device)
    : batch_size_(batch_size), device_(device) {
  for (std::int64_t k = 0; k < set.batches(batch_size); ++k) {
    Batch batch = set.batch(k, batch_size);
    TensorBatch tensors = to_tensors(batch, device);
    parts_.push_back({.tensors = std::move(tensors), .slices = std::move(batch.slices)});
  }
}

Scores Evaluator::teacher_forced(const LanguageModel& model, const TeacherForcing& options) const {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> all_counts, losses;
  std::vector<const Part*> used;
  for (const Part& part : parts_) {
    if (options.full_batches_only && part.tensors.samples() < batch_size_) continue;
    const at::Tensor logits =
        model.forward(part.tensors.inputs, {.first_row = part.tensors.first_row,
                                            .dropout = options.dropout,
                                            .only_standard_drops = true,
                                            .seed = options.seed,
                                            .step = options.step * parts_.size() + used.size()});
    all_counts.push_back(counts(logits, part.tensors.targets));
    losses.push_back(summed_loss(logits, part.tensors.targets));
    used.push_back(&part);
  }
  if (used.empty()) return {};

  const at::Tensor table = at::cat(all_counts).cpu();  // the only wait for the device
  const double loss = at::stack(losses).to(at::kDouble).sum().item<double>();
  const auto* count = table.const_data_ptr<std::int64_t>();
  Tally tally;
  for (const Part* part : used) {
    for (const Slices& slices : part->slices) {
      tally.add(count[0], count[1], slices);
      count += 2;
    }
  }
  return tally.scores(loss);
}

Scores Evaluator::greedy(const LanguageModel& model, std::int32_t end_token) const {
  const at::NoGradGuard no_grad;
  Tally tally;
  for (const Part& part : parts_) {
    TensorBatch batch = part.tensors;
    batch.inputs = batch.inputs.cpu();
    batch.targets = batch.targets.cpu();
    for (std::int64_t row = 0; row < batch.samples(); ++row) {
      const Question question = question_of(batch, row);
      const auto asked = static_cast<std::int64_t>(question.answer.size());
      const std::vector<std::int32_t> written =
          mta::greedy(model, question.prompt, {.max_tokens = asked, .end_token = end_token});
      std::int64_t wrong = 0, scored = 0;
      for (std::size_t i = 0; i < question.answer.size(); ++i) {
        if (question.answer[i] == kUnscored) continue;
        ++scored;
        wrong += i >= written.size() || written[i] != question.answer[i];
      }
      tally.add(wrong, scored, part.slices[static_cast<std::size_t>(row)]);
    }
  }
  return tally.scores(std::nullopt);
}

}  // namespace mta
