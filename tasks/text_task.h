// What tasks have in common whose sequence is BOS, the question, the answer, EOS.
#pragma once

#include "lib/core/task.h"
#include "lib/text/tokenizer.h"

#include <initializer_list>
#include <memory>

namespace mta {

/// Scored are the tokens of the answer and EOS. A task calls `use` in prepare().
class TextTask : public Task {
 public:
  std::int64_t vocabulary() const override;
  Encoded encode(const Sample& sample) const override;
  std::vector<std::int32_t> encode_prompt(const std::string& text) const override;
  std::string decode(std::span<const std::int32_t> tokens) const override;
  std::int32_t end_token() const override;

 protected:
  void use(std::shared_ptr<const Tokenizer> tokenizer) { tokenizer_ = std::move(tokenizer); }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  /// Makes each stretch of the answer between separators a part of it. A separator is scored, but
  /// belongs to no part; nor does EOS.
  void number_parts(Encoded& encoded, char separator) const;

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
};

/// {"length", "64"} for each of `keys` whose fact is a number.
Slices slices_of(const Json& facts, std::initializer_list<const char*> keys);
/// Adds the fact "length", if there is one, rounded up to a power of two.
void add_rounded_length(const Json& facts, Slices& slices);

}  // namespace mta
