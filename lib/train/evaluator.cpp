// Teacher-forced and greedy scoring.
#include "lib/train/evaluator.h"

#include "lib/model/decode.h"
#include "lib/train/answer_parts.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>

#include <span>

namespace mta {
namespace {

/// Adds up samples, and the parts of their answers.
class Tally {
 public:
  /// `scored`: as Batch::scored, of one row; `wrong`: as long, 1 where the token is wrong; `found`:
  /// which parts of the answer count as right.
  void add(std::span<const std::uint8_t> scored, std::span<const std::uint8_t> wrong,
           const std::vector<bool>& found, const Slices& slices,
           const std::vector<Slices>& part_slices) {
    std::int64_t wrong_tokens = 0;
    for (std::size_t i = 0; i < scored.size(); ++i) {
      if (scored[i] == 0) continue;
      ++tokens_;
      wrong_tokens += wrong[i];
    }
    ++scores_.scored;
    wrong_tokens_ += wrong_tokens;
    wrong_samples_ += wrong_tokens > 0 ? 1 : 0;
    count(wrong_tokens == 0, slices);
    for (std::size_t p = 0; p < part_slices.size(); ++p) count(found[p], part_slices[p]);
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
  void count(bool correct, const Slices& slices) {
    for (const auto& [name, value] : slices) {
      SliceCount& slice = scores_.slices[name][value];
      ++slice.count;
      slice.correct += correct ? 1 : 0;
    }
  }

  Scores scores_;
  std::int64_t wrong_samples_ = 0, wrong_tokens_ = 0, tokens_ = 0;
};

/// What of a batch is scored, from its first scored position on: [B, T - first_row].
std::vector<std::uint8_t> scored_from(const Batch& batch, std::int64_t first_row) {
  std::vector<std::uint8_t> scored;
  for (std::int64_t row = 0; row < batch.size; ++row) {
    const auto begin = batch.scored.begin() + row * batch.length;
    scored.insert(scored.end(), begin + first_row, begin + batch.length);
  }
  return scored;
}

/// One row of a batch on the CPU: what is asked at its positions, from the first that is scored on.
struct Question {
  std::vector<std::int32_t> prompt;
  std::size_t first = 0;             // where the answer begins, counted from first_row
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
          .first = first,
          .answer = {targets.begin() + static_cast<std::ptrdiff_t>(first),
                     targets.begin() + static_cast<std::ptrdiff_t>(end)}};
}

}  // namespace

Evaluator::Evaluator(const EvaluationSet& set, std::int64_t batch_size, at::Device device)
    : batch_size_(batch_size), device_(device) {
  for (std::int64_t k = 0; k < set.batches(batch_size); ++k) {
    Batch batch = set.batch(k, batch_size);
    const TensorBatch tensors = to_tensors(batch, device);
    parts_.push_back({.tensors = tensors,
                      .scored = scored_from(batch, tensors.first_row),
                      .slices = std::move(batch.slices),
                      .part_slices = std::move(batch.part_slices)});
  }
}

Scores Evaluator::teacher_forced(const LanguageModel& model, const TeacherForcing& options) const {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> all_wrong, losses;
  std::vector<const Part*> used;
  for (const Part& part : parts_) {
    if (options.full_batches_only && part.tensors.samples() < batch_size_) continue;
    const at::Tensor logits =
        model.forward(part.tensors.inputs, {.first_row = part.tensors.first_row,
                                            .dropout = options.dropout,
                                            .only_standard_drops = true,
                                            .seed = options.seed,
                                            .step = options.step * parts_.size() + used.size()});
    all_wrong.push_back(logits.argmax(-1).ne(part.tensors.targets).flatten());
    losses.push_back(summed_loss(logits, part.tensors.targets));
    used.push_back(&part);
  }
  if (used.empty()) return {};

  const at::Tensor table = at::cat(all_wrong).to(at::kByte).cpu();  // the only wait for the device
  const double loss = at::stack(losses).to(at::kDouble).sum().item<double>();
  const auto* wrong = table.const_data_ptr<std::uint8_t>();
  Tally tally;
  for (const Part* part : used) {
    for (std::int64_t row = 0; row < part->tensors.samples(); ++row) {
      const std::span<const std::uint8_t> scored = part->scored_of(row);
      const auto r = static_cast<std::size_t>(row);
      const std::span row_wrong(wrong, scored.size());
      const auto& part_slices = part->part_slices[r];
      tally.add(scored, row_wrong, parts_in_place(scored, row_wrong, part_slices.size()),
                part->slices[r], part_slices);
      wrong += scored.size();
    }
  }
  return tally.scores(loss);
}

std::span<const std::uint8_t> Evaluator::Part::scored_of(std::int64_t row) const {
  const std::size_t length = scored.size() / slices.size();
  return std::span(scored).subspan(static_cast<std::size_t>(row) * length, length);
}

Scores Evaluator::greedy(const LanguageModel& model, const Task& task) const {
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
          mta::greedy(model, question.prompt, {.max_tokens = asked, .end_token = task.end_token()});
      const std::span<const std::uint8_t> scored = part.scored_of(row);
      std::vector<std::uint8_t> wrong(scored.size());
      for (std::size_t i = 0; i < question.answer.size(); ++i) {
        wrong[question.first + i] = i >= written.size() || written[i] != question.answer[i];
      }
      const auto r = static_cast<std::size_t>(row);
      const std::size_t parts = part.part_slices[r].size();
      const std::vector<bool> found =
          task.parts_in_any_order()
              ? parts_anywhere(scored.subspan(question.first), question.answer, written, parts)
              : parts_in_place(scored, wrong, parts);
      tally.add(scored, wrong, found, part.slices[r], part.part_slices[r]);
    }
  }
  return tally.scores(std::nullopt);
}

}  // namespace mta
