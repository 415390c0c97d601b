// The word lists of the text tasks.
#include "tasks/text_words.h"

#include "lib/text/bytes.h"
#include "lib/text/characters.h"
#include "tasks/story_world.h"

#include <initializer_list>

namespace mta {
namespace {

// No word may consist of a to f only: it would be read as a part of a uuid.
// clang-format off
constexpr std::string_view kCities[] = {
    "Accra", "Adelaide", "Algiers", "Amsterdam", "Ankara", "Antwerp", "Athens", "Auckland",
    "Baku", "Bamako", "Bangkok", "Barcelona", "Basel", "Beirut", "Belgrade", "Bergen",
    "Berlin", "Bogota", "Bologna", "Boston", "Brasilia", "Bremen", "Brisbane", "Brussels",
    "Budapest", "Cairo", "Calgary", "Canberra", "Caracas", "Casablanca", "Chicago", "Cologne",
    "Copenhagen", "Cordoba", "Dakar", "Dallas", "Delhi", "Denver", "Detroit", "Dresden",
    "Dublin", "Durban", "Edinburgh", "Florence", "Frankfurt", "Geneva", "Genoa", "Ghent",
    "Glasgow", "Granada", "Hamburg", "Hanoi", "Harare", "Havana", "Helsinki", "Houston",
    "Istanbul", "Jakarta", "Kampala", "Kathmandu", "Kingston", "Kobe", "Krakow", "Kyoto",
    "Lagos", "Lahore", "Leipzig", "Lima", "Lisbon", "Liverpool", "Ljubljana", "London",
    "Luanda", "Lyon", "Madrid", "Malaga", "Manila", "Maputo", "Marseille", "Melbourne",
    "Miami", "Milan", "Montreal", "Moscow", "Mumbai", "Munich", "Nairobi", "Naples", "Nice",
    "Odessa", "Osaka", "Oslo", "Ottawa", "Palermo", "Paris", "Perth", "Porto", "Prague",
    "Quito", "Rabat", "Riga", "Rome", "Rotterdam", "Salzburg", "Santiago", "Seattle", "Seoul",
    "Seville", "Shanghai", "Singapore", "Sofia", "Stockholm", "Stuttgart", "Sydney",
    "Tallinn", "Tbilisi", "Tokyo", "Toronto", "Trieste", "Tunis", "Turin", "Utrecht",
    "Valencia", "Venice", "Vienna", "Vilnius", "Warsaw", "Wellington"};

constexpr std::string_view kKeyAdjectives[] = {
    "absent", "abstract", "active", "adverse", "agile", "alert", "ample", "ancient", "annual",
    "arctic", "arid", "atomic", "average", "basic", "binary", "blind", "brief", "brisk",
    "broad", "candid", "casual", "central", "cheap", "chief", "civil", "classic", "clever",
    "clinical", "cloudy", "coastal", "cosmic", "crisp", "crucial", "cubic", "curious",
    "cyclic", "daily", "dense", "digital", "direct", "distant", "double", "eager", "early",
    "eastern", "elastic", "elegant", "entire", "exact", "exotic", "famous", "federal",
    "fierce", "final", "finite", "firm", "fiscal", "fluent", "formal", "frank", "frequent",
    "frugal", "funny", "gentle", "genuine", "global", "golden", "grand", "handy", "hidden",
    "hollow", "honest", "humble", "humid", "ideal", "idle", "immense", "inner", "junior",
    "keen", "lawful", "lively", "local", "logical", "lonely", "loyal", "lucid", "lunar",
    "magnetic", "major", "manual", "marine", "mature", "mellow", "mental", "merry", "minor",
    "mobile", "modern", "modest", "mutual", "narrow", "native", "neutral", "nimble", "noble",
    "normal", "novel", "oblique", "optimal", "organic", "outer", "partial", "patient",
    "perfect", "plain", "polar", "polite", "popular", "precise"};

constexpr std::string_view kKeyNouns[] = {
    "actor", "agenda", "album", "alloy", "anchor", "angle", "ankle", "apron", "archive",
    "armor", "arrow", "artist", "aspect", "asset", "atlas", "auction", "author", "axis",
    "badge", "balance", "ballet", "banner", "barrel", "basin", "basket", "battery", "beacon",
    "bench", "bishop", "blanket", "blossom", "border", "bottle", "branch", "broker", "bronze",
    "bubble", "bucket", "budget", "buffer", "bullet", "bundle", "button", "cabin", "cable",
    "cactus", "camera", "canal", "candle", "canvas", "captain", "carbon", "carpet", "casino",
    "cattle", "ceiling", "cellar", "census", "cereal", "chamber", "channel", "chapter",
    "charter", "circuit", "citizen", "climate", "clinic", "closet", "coach", "coffee",
    "collar", "column", "comet", "compass", "concert", "copper", "cotton", "council",
    "courier", "cradle", "crater", "cricket", "crystal", "cursor", "curtain", "cushion",
    "custom", "cylinder", "dancer", "degree", "dentist", "desert", "diamond", "diary",
    "dinner", "doctor", "dolphin", "domain", "donor", "dragon", "drawer", "dragonfly",
    "eagle", "editor", "effect", "elbow", "election", "element", "engine", "entry", "envoy",
    "episode", "essay", "estate", "exhibit", "fabric", "factor", "fashion", "feather",
    "fiction"};

constexpr std::string_view kAdjectives[] = {
    "old", "young", "small", "large", "quiet", "loud", "bright", "dark", "slow", "quick",
    "heavy", "light", "clean", "dusty", "wooden", "painted", "broken", "empty", "full",
    "open", "tired", "happy", "careful", "strange", "simple", "common", "green", "blue",
    "red", "white", "black", "grey"};

constexpr std::string_view kNouns[] = {
    "farmer", "teacher", "baker", "sailor", "driver", "child", "neighbor", "visitor",
    "gardener", "boat", "cart", "lamp", "letter", "picture", "book", "table", "chair",
    "window", "door", "road", "field", "garden", "river", "hill", "tree", "stone", "horse",
    "dog", "cat", "bird", "box", "rope", "coat", "hat", "bell", "clock", "map", "coin", "cup",
    "plate", "knife", "bread", "apple", "pear", "cheese", "soup", "song", "story"};

constexpr std::string_view kPlaces[] = {
    "market", "square", "station", "harbor", "mill", "church", "school", "bridge", "forest",
    "valley", "kitchen", "barn", "shop", "inn", "tower", "wall", "gate", "well", "yard"};

constexpr std::string_view kVerbs[] = {
    "found", "lost", "carried", "cleaned", "moved", "washed", "saw", "watched", "followed",
    "bought", "sold", "mended", "dropped", "lifted", "hid", "counted", "liked", "missed",
    "needed", "remembered", "forgot", "kept", "borrowed", "returned", "admired", "touched",
    "pulled", "pushed"};

// clang-format on
constexpr std::string_view kNoise[] = {"The grass is green.", "The sky is blue.",
                                       "The sun is yellow.", "Here we go.",
                                       "There and back again."};

constexpr std::string_view kCharacters =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:;?!-'\"()\n";

/// Words of fixed sentences, questions and answers.
constexpr std::string_view kFixed[] = {
    "A",      "After",   "Here",      "In",   "Nobody", "One",     "The",  "There",
    "What",   "Where",   "again",     "all",  "and",    "are",     "at",   "back",
    "before", "behind",  "for",       "from", "go",     "grass",   "had",  "in",
    "is",     "magic",   "mentioned", "near", "number", "numbers", "of",   "provided",
    "sky",    "special", "sun",       "text", "that",   "the",     "then", "to",
    "took",   "uuid",    "uuids",     "was",  "we",     "went",    "with", "yellow"};

WordVocabulary make_vocabulary() {
  WordVocabulary vocabulary;
  for (const auto& list :
       {std::span<const std::string_view>(kFixed), cities(), key_adjectives(), key_nouns(),
        adjectives(), nouns(), places(), verbs(), actors(), objects(), rooms()}) {
    vocabulary.words.insert(vocabulary.words.end(), list.begin(), list.end());
  }
  vocabulary.pieces = kCharacters.substr(0, 62);
  vocabulary.punctuation = ".,:;?!-'\"()";
  return vocabulary;
}

}  // namespace

std::span<const std::string_view> cities() { return kCities; }
std::span<const std::string_view> key_adjectives() { return kKeyAdjectives; }
std::span<const std::string_view> key_nouns() { return kKeyNouns; }
std::span<const std::string_view> adjectives() { return kAdjectives; }
std::span<const std::string_view> nouns() { return kNouns; }
std::span<const std::string_view> places() { return kPlaces; }
std::span<const std::string_view> verbs() { return kVerbs; }
std::span<const std::string_view> noise_sentences() { return kNoise; }

const WordVocabulary& text_vocabulary() {
  static const WordVocabulary vocabulary = make_vocabulary();
  return vocabulary;
}

std::string_view text_characters() { return kCharacters; }

const std::vector<std::pair<TextTokens, std::string>> kTextTokens = {
    {TextTokens::Words, "words"},
    {TextTokens::Characters, "characters"},
    {TextTokens::Bytes, "bytes"}};

std::shared_ptr<const Tokenizer> text_tokenizer(TextTokens tokens) {
  switch (tokens) {
    case TextTokens::Characters:
      return std::make_shared<CharacterTokenizer>(std::string(text_characters()));
    case TextTokens::Bytes:
      return std::make_shared<ByteTokenizer>();
    case TextTokens::Words:
      break;
  }
  return std::make_shared<WordTokenizer>(text_vocabulary());
}

}  // namespace mta
