// What a task is: a pure function from (configuration, seed, split, index) to a sample, and its
// tokens.
#pragma once

#include "lib/core/description.h"

#include <cstdint>
#include <memory>
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
  Slices slices;
};

/// One sample as tokens: the whole sequence, and which of its tokens are scored when they are
/// predicted.
struct Encoded {
  std::vector<std::int32_t> tokens;
  std::vector<std::uint8_t> scored;  // as long as tokens; scored[0] is 0
};

class Task {
 public:
  virtual ~Task() = default;

  /// The task's own configuration keys, bound to its fields.
  virtual Description describe() = 0;
  /// Checks between keys, after reading; works out what is derived from them. Problems stand at
  /// "/task/<key>".
  virtual void prepare(Problems& problems) = 0;
  /// What a user should know about this configuration (a length that cuts targets off, ...), one
  /// line each.
  virtual std::vector<std::string> notices() const { return {}; }

  /// Sample `index` of a split: a pure function of the configuration and its arguments, callable
  /// from any thread. No sample of the train split is ever one of the test split, whatever the
  /// seeds.
  virtual Sample sample(std::uint64_t seed, Split split, std::uint64_t index) const = 0;

  virtual std::int64_t vocabulary() const = 0;
  /// The longest sequence of encode(), in tokens.
  virtual std::int64_t max_tokens() const = 0;
  /// Throws UserError that names the place of a character without a token.
  virtual Encoded encode(const Sample& sample) const = 0;
  /// The tokens of a prompt, beginning-of-sequence token included.
  virtual std::vector<std::int32_t> encode_prompt(const std::string& text) const = 0;
  virtual std::string decode(std::span<const std::int32_t> tokens) const = 0;
  /// The token that ends an answer.
  virtual std::int32_t end_token() const = 0;
};

}  // namespace mta
