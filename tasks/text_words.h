// The words of the text tasks, and the vocabulary that all of them share.
#pragma once

#include "lib/text/words.h"

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mta {

/// Names for needles: none of them is a word of a haystack sentence.
std::span<const std::string_view> cities();
std::span<const std::string_view> key_adjectives();
std::span<const std::string_view> key_nouns();

/// Words for haystack sentences.
std::span<const std::string_view> adjectives();
std::span<const std::string_view> nouns();
std::span<const std::string_view> places();
std::span<const std::string_view> verbs();  // past tense, with an object

/// The sentences of the noise haystack, in order.
std::span<const std::string_view> noise_sentences();

/// Every word of every text task; other words are spelled with letters and digits. One vocabulary
/// for all of them, so that tasks can be mixed.
const WordVocabulary& text_vocabulary();
/// The characters that the text tasks can have: letters, digits, punctuation, space, new line.
std::string_view text_characters();

enum class TextTokens { Words, Characters, Bytes };
extern const std::vector<std::pair<TextTokens, std::string>> kTextTokens;
std::shared_ptr<const Tokenizer> text_tokenizer(TextTokens tokens);

}  // namespace mta
