// Which token is what: blocks, queries and answers, with and without facts; needles.
#include "lib/maps/roles.h"

#include "lib/core/batch.h"
#include "tests/support/task_of.h"

#include <gtest/gtest.h>

namespace mta::maps {
namespace {

/// One letter a token: the first of its role.
std::string roles_text(const LabelledSample& sample) {
  std::string text;
  for (const TokenLabel& label : sample.labels) text += label.role[0];
  return text;
}

Sample sample_of(const std::string& src, const std::string& tgt) {
  Sample sample;
  sample.src = src;
  sample.tgt = tgt;
  return sample;
}

TEST(Roles, OfBlockFindingComeFromTheTextAlone) {
  const auto task = check::task_of("block_finding", {"block_length=3", "length=17"});
  const LabelledSample labelled =
      label_sample(*task, "block_finding", sample_of("abc.dea.fbg#gb", "fbg"), 7);
  EXPECT_EQ(labelled.index, 7);
  EXPECT_EQ(roles_text(labelled),
            std::string("s") + "cccccccc" + "ttt" + "c" + "qq" + "aaa");  // #, then the query
  EXPECT_EQ(labelled.labels[0].text, "<bos>");
  EXPECT_EQ(labelled.labels[9].text, "f");
  ASSERT_EQ(labelled.spans.size(), 3u);
  EXPECT_EQ(labelled.spans[0].name, "block 0 (abc)");
  EXPECT_EQ(labelled.spans[0].role, "context");
  EXPECT_EQ(labelled.spans[0].begin, 1);
  EXPECT_EQ(labelled.spans[0].end, 4);
  EXPECT_EQ(labelled.spans[2].role, "target");
  EXPECT_EQ(labelled.spans[2].begin, 9);
  EXPECT_EQ(labelled.spans[2].end, 12);
  // The last query letter predicts the first letter of the answer, its last letter the end.
  EXPECT_EQ(labelled.answer_rows, (std::vector<std::int64_t>{14, 15, 16, 17}));
}

TEST(Roles, OfSeveralQueriesMarkSeveralTargets) {
  const auto task = check::task_of("block_finding",
                                   {"block_length=3", "query_length=2", "queries=2", "length=24"});
  const LabelledSample labelled =
      label_sample(*task, "block_finding", sample_of("abc.dea.fbg#gb#ac", "fbg.abc"), 0);
  EXPECT_EQ(roles_text(labelled).substr(0, 18),
            std::string("s") + "tttc" + "cccc" + "ttt" + "c" + "qq" + "c" + "qq");
}

TEST(Roles, OfOtherTasksAreContextAndAnswer) {
  const auto task = check::task_of("selective_copying", {"length=20", "letters=5"});
  const LabelledSample labelled =
      label_sample(*task, "selective_copying", sample_of("______i___p__go_b___#", "ipgob"), 0);
  EXPECT_TRUE(labelled.spans.empty());
  EXPECT_EQ(roles_text(labelled), "s" + std::string(21, 'c') + "aaaaa");
}

/// The text of the tokens [begin, end), as the task writes it.
std::string text_of(const Task& task, const LabelledSample& sample, const Span& span) {
  return task.decode(std::span(sample.tokens)
                         .subspan(std::size_t(span.begin), std::size_t(span.end - span.begin)));
}

TEST(Roles, TokensAreThoseThatTheModelReads) {
  for (const char* kind : {"associative_recall", "block_finding"}) {
    const auto task = check::task_of(kind, {});
    const Sample sample = task->sample(1, Split::Test, 0);
    const LabelledSample labelled = label_sample(*task, kind, sample, 0);
    EXPECT_EQ(labelled.tokens, make_batch(*task, {sample}).inputs) << kind;
  }
}

TEST(Roles, OfNeedlesCoverExactlyTheirText) {
  for (const char* tokenizer : {"words", "characters", "bytes"}) {
    SCOPED_TRACE(tokenizer);
    const auto task =
        check::task_of("needle", {"preset=multi_needle", "needles=3", "asked=1", "length=600",
                                  std::string("tokenizer=") + tokenizer});
    const Sample sample = task->sample(1, Split::Test, 0);
    const LabelledSample labelled = label_sample(*task, "needle", sample, 0);
    ASSERT_EQ(labelled.spans.size(), 3u);
    int targets = 0;
    for (std::size_t i = 0; i < 3; ++i) {
      const Json& needle = sample.facts.at("needles")[i];
      const auto start = needle.at("start").get<std::size_t>();
      const auto end = needle.at("end").get<std::size_t>();
      const Span& span = labelled.spans[i];
      EXPECT_EQ(text_of(*task, labelled, span), sample.src.substr(start, end - start));
      EXPECT_EQ(span.role == "target", needle.at("asked").get<bool>());
      targets += span.role == "target" ? 1 : 0;
    }
    EXPECT_EQ(targets, 1);
    EXPECT_NE(roles_text(labelled).find('q'), std::string::npos);
  }
}

}  // namespace
}  // namespace mta::maps
