// What a task has that is made of other tasks.
#pragma once

#include "lib/core/task.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace mta {

/// A key that holds a list of objects, each read and written as describe(item) says.
template <class Item>
Description::Field list_field(std::string key, std::vector<Item>& items, std::string doc) {
  return {.key = std::move(key),
          .doc = std::move(doc),
          .read =
              [&items](const Json& list, const std::string& pointer, Problems& problems) {
                if (!expect_type(list.is_array(), "a list", list, pointer, problems)) return;
                items.clear();
                for (std::size_t i = 0; i < list.size(); ++i) {
                  const std::string at = pointer + "/" + std::to_string(i);
                  if (!expect_type(list[i].is_object(), "an object", list[i], at, problems))
                    continue;
                  Item item;
                  describe(item).read(list[i], at, problems);
                  items.push_back(std::move(item));
                }
              },
          .write = [&items]() -> Json {
            Json list = Json::array();
            for (Item& item : items) list.push_back(describe(item).write());
            return list;
          },
          .schema = []() -> Json {
            Item example;
            return {{"type", "array"}, {"items", describe(example).schema()}};
          }};
}

/// Tokens are those of the first part; every part must have the same.
class CombinedTask : public Task {
 public:
  std::int64_t vocabulary() const override { return parts_.front()->vocabulary(); }
  std::int64_t max_tokens() const override;
  double log2_contexts() const override;
  Encoded encode(const Sample& sample) const override { return parts_.front()->encode(sample); }
  std::vector<std::int32_t> encode_prompt(const std::string& text) const override {
    return parts_.front()->encode_prompt(text);
  }
  std::string decode(std::span<const std::int32_t> tokens) const override {
    return parts_.front()->decode(tokens);
  }
  std::int32_t end_token() const override { return parts_.front()->end_token(); }
  bool answers_at_once() const override;
  bool parts_in_any_order() const override;
  std::vector<std::string> notices() const override;

 protected:
  using Part = std::shared_ptr<const Task>;

  const std::vector<Part>& parts() const { return parts_; }
  /// Takes the parts over and checks that they fit together; part i stands at `pointers[i]`.
  void combine(std::vector<Part> parts, const std::vector<std::string>& pointers,
               Problems& problems);

 private:
  std::vector<Part> parts_;
};

}  // namespace mta
