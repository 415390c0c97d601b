// What a task is: a pure function from (configuration, seed, split, index) to a sample, and its
// tokens.
#pragma once

#include "lib/core/description.h"

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace mta {

enum class Split { Train, Test };

/// Names of the groups that a sample belongs to, for accuracy by group: {"block_position", "17"},
/// {"depth", "0.3"}.
using Slices = std::vector<std::pair<std::string, std::string>>;

/// One sample as text.
struct Sample {
  std::string src;              // what the model is given
  std::string tgt;              // what it must write
  Json facts = Json::object();  // further keys of the JSONL record (where the target stands, ...)
  Slices slices = {};
  std::vector<Slices> part_slices = {};  // of each part of the answer, where it has parts
  /// Hash of the part that no two samples of a data set share, and no train sample with a test
  /// sample.
  std::uint64_t context = 0;
};

/// One sample as tokens: the whole sequence, and which of its tokens are scored when they are
/// predicted.
struct Encoded {
  std::vector<std::int32_t> tokens;
  /// As long as tokens: 0 is not scored, 1 is scored, 1 + k is scored and belongs to part k of the
  /// answer (from 1), which is right or wrong by itself too. scored[0] is 0.
  std::vector<std::uint8_t> scored;
  /// What the model reads in place of `tokens`, as long, where answers are predicted without being
  /// shown; empty: the tokens.
  std::vector<std::int32_t> shown = {};
};

/// What every task has; the registry reads and writes it.
struct TaskCommon {
  std::string kind;
  /// Size of a fixed training set, gone through in epochs; nothing: fresh samples without end.
  std::optional<std::int64_t> samples;
};

/// Why a task with answers_at_once() false is not scored by free generation.
inline constexpr const char* kNoGreedy =
    "cannot be had for this task: its answers are spread over a text that is given, so there is "
    "nothing to write out; teacher-forced scores are exact for it";

class Task {
 public:
  virtual ~Task() = default;

  TaskCommon common;

  /// The task's own configuration keys, bound to its fields.
  virtual Description describe() = 0;
  /// Checks between keys, after reading; works out what is derived from them. Problems stand at
  /// `pointer` ("/task") + "/<key>".
  virtual void prepare(const std::string& pointer, Problems& problems) = 0;
  /// What a user should know about this configuration (a length that cuts targets off, ...), one
  /// line each.
  virtual std::vector<std::string> notices() const { return {}; }

  /// Sample `index` of a split: a pure function of the configuration and its arguments, callable
  /// from any thread. No sample of the train split is ever one of the test split, whatever the
  /// seeds.
  virtual Sample sample(std::uint64_t seed, Split split, std::uint64_t index) const = 0;

  /// The groups that a sample with these facts belongs to. Facts that are absent, as in a file made
  /// elsewhere, give no group.
  virtual Slices slices(const Json& facts) const {
    (void)facts;
    return {};
  }

  /// The groups that the parts of the answer belong to, one entry a part: how many of several
  /// things asked for were found, and where they stood. A group counts samples or parts, never
  /// both.
  virtual std::vector<Slices> part_slices(const Json& facts) const {
    (void)facts;
    return {};
  }

  /// log2 of a lower bound of the number of different contexts: tells whether a data set of some
  /// size may contain repeats that have to be looked for.
  virtual double log2_contexts() const { return std::numeric_limits<double>::infinity(); }

  /// The task that training batch `number` is drawn from: this one, unless it changes on the way.
  virtual const Task& at_batch(std::int64_t number) const {
    (void)number;
    return *this;
  }

  virtual std::int64_t vocabulary() const = 0;
  /// The longest sequence of encode(), in tokens.
  virtual std::int64_t max_tokens() const = 0;
  /// Throws UserError that names the place of a character without a token.
  virtual Encoded encode(const Sample& sample) const = 0;
  /// The tokens of a prompt, beginning-of-sequence token included.
  virtual std::vector<std::int32_t> encode_prompt(const std::string& text) const = 0;
  virtual std::string decode(std::span<const std::int32_t> tokens) const = 0;
  /// False when the answer is spread over a text that is given too, so that it can only be scored
  /// with that text before it, not written out by the model alone.
  virtual bool answers_at_once() const { return true; }
  /// True when a part of the answer counts as found wherever it stands in what the model writes, as
  /// RULER scores; else only in its place. What is teacher-forced has one place for it anyway.
  virtual bool parts_in_any_order() const { return false; }
  /// The token that ends an answer.
  virtual std::int32_t end_token() const = 0;
};

}  // namespace mta
