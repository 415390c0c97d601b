// A step of decoding, one token for each text, recorded once for a cache and replayed.
#pragma once

#include "lib/model/language_model.h"
#include "lib/nn/device_graph.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace mta {

/// How the steps so far were made, and why not all were replayed.
struct DecodeUse {
  std::int64_t plain = 0, replayed = 0;  // calls of the model
  std::string reason;                    // empty where nothing stands against recording
};

class DecodeStep {
 public:
  /// `model` outlives this. `wanted`: whether to record at all.
  DecodeStep(const LanguageModel& model, bool wanted);

  /// Whether run() takes these tokens [B, n] after those in the caches.
  bool covers(const at::Tensor& tokens, const std::vector<KvCache>& caches);
  /// Logits [B, V] after one more token [B, 1] for each text, for which the caches have room. The
  /// first step with the memory of some caches is not replayed: libraries set themselves up in it.
  at::Tensor run(const at::Tensor& tokens, std::vector<KvCache>& caches);

  const DecodeUse& use() const { return use_; }
  void count_plain() { ++use_.plain; }

 private:
  /// Makes ready for caches whose memory is other than the last ones'.
  void prepare(const at::Tensor& tokens, const std::vector<KvCache>& caches);
  at::Tensor compute(const std::vector<KvCache>& caches) const;
  void record(const std::vector<KvCache>& caches);

  const LanguageModel& model_;
  bool may_record_ = false;
  DecodeUse use_;
  std::vector<const void*> memory_;       // of the caches that the step is for
  at::Tensor token_, position_, length_;  // what it reads: [B, 1], [1], [1]
  bool ran_ = false;                      // with this memory
  std::unique_ptr<DeviceGraph> graph_;
  at::Tensor logits_;  // of the graph
};

}  // namespace mta
