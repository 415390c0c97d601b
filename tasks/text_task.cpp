// BOS, the question, the answer, EOS as tokens.
#include "tasks/text_task.h"

#include "lib/core/error.h"

#include <bit>

namespace mta {
namespace {

/// The tokenizer names the place inside the text; this adds which text.
void append(const Tokenizer& tokenizer, const char* key, const std::string& text,
            std::vector<std::int32_t>& tokens) {
  try {
    tokenizer.encode(text, tokens);
  } catch (const UserError& error) {
    const Problem& problem = error.problems().front();
    throw UserError(key + (" " + problem.place), problem.message, problem.hint);
  }
}

}  // namespace

std::int64_t TextTask::vocabulary() const { return tokenizer_->size(); }

Encoded TextTask::encode(const Sample& sample) const {
  Encoded encoded;
  encoded.tokens.reserve(sample.src.size() + sample.tgt.size() + 2);
  encoded.tokens.push_back(tokenizer_->begin_token());
  append(*tokenizer_, "src", sample.src, encoded.tokens);
  encoded.scored.assign(encoded.tokens.size(), 0);
  append(*tokenizer_, "tgt", sample.tgt, encoded.tokens);
  encoded.tokens.push_back(tokenizer_->end_token());
  encoded.scored.resize(encoded.tokens.size(), 1);
  return encoded;
}

void TextTask::number_parts(Encoded& encoded, char separator) const {
  std::vector<std::int32_t> separators;
  tokenizer_->encode({&separator, 1}, separators);
  std::uint8_t part = 1;
  for (std::size_t t = 0; t + 1 < encoded.tokens.size(); ++t) {
    if (encoded.scored[t] == 0) continue;
    if (encoded.tokens[t] == separators[0]) {
      ++part;
    } else {
      encoded.scored[t] = static_cast<std::uint8_t>(1 + part);
    }
  }
}

std::vector<std::int32_t> TextTask::encode_prompt(const std::string& text) const {
  std::vector<std::int32_t> tokens = {tokenizer_->begin_token()};
  append(*tokenizer_, "prompt", text, tokens);
  return tokens;
}

std::string TextTask::decode(std::span<const std::int32_t> tokens) const {
  return tokenizer_->decode(tokens);
}

std::int32_t TextTask::end_token() const { return tokenizer_->end_token(); }

Slices slices_of(const Json& facts, std::initializer_list<const char*> keys) {
  Slices slices;
  for (const char* key : keys) {
    const auto fact = facts.find(key);
    if (fact != facts.end() && fact->is_number()) slices.emplace_back(key, fact->dump());
  }
  return slices;
}

void add_rounded_length(const Json& facts, Slices& slices) {
  const auto length = facts.find("length");
  if (length == facts.end() || !length->is_number_integer()) return;
  slices.emplace_back("length", std::to_string(std::bit_ceil(length->get<std::uint64_t>())));
}

}  // namespace mta
