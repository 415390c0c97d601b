// Parts of an answer: right in their place, or found anywhere in what was written.
#include "lib/train/answer_parts.h"

#include <gtest/gtest.h>

namespace mta {
namespace {

// "12, 34" with its end: two values, a comma and an end that belong to neither.
const std::vector<std::uint8_t> kScored = {2, 2, 1, 3, 3, 1};
const std::vector<std::int64_t> kAnswer = {1, 2, 9, 3, 4, 0};

std::vector<bool> anywhere(const std::vector<std::int32_t>& written) {
  return parts_anywhere(kScored, kAnswer, written, 2);
}

TEST(AnswerParts, InPlaceAWrongTokenSpoilsItsPartOnly) {
  const auto in_place = [](const std::vector<std::uint8_t>& wrong) {
    return parts_in_place(kScored, wrong, 2);
  };
  EXPECT_EQ(in_place({0, 0, 0, 0, 0, 0}), (std::vector<bool>{true, true}));
  EXPECT_EQ(in_place({0, 1, 0, 0, 0, 0}), (std::vector<bool>{false, true}));
  EXPECT_EQ(in_place({0, 0, 1, 0, 0, 1}), (std::vector<bool>{true, true})) << "comma and end";
  EXPECT_EQ(in_place({0, 0, 0, 1, 1, 1}), (std::vector<bool>{true, false}));
}

TEST(AnswerParts, AnywhereCountsWholeValuesInAnyOrder) {
  EXPECT_EQ(anywhere({1, 2, 9, 3, 4, 0}), (std::vector<bool>{true, true}));
  EXPECT_EQ(anywhere({3, 4, 9, 1, 2, 0}), (std::vector<bool>{true, true}));
  EXPECT_EQ(anywhere({3, 4, 0}), (std::vector<bool>{false, true}));
  EXPECT_EQ(anywhere({1, 3, 2, 4}), (std::vector<bool>{false, false})) << "not in one piece";
  EXPECT_EQ(anywhere({}), (std::vector<bool>{false, false}));
}

}  // namespace
}  // namespace mta
