// What a recorded step reads, and when it is recorded.
#include "lib/model/decode_step.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <exception>

namespace mta {
namespace {

/// Where the caches' numbers lie.
std::vector<const void*> memory_of(const std::vector<KvCache>& caches) {
  std::vector<const void*> all;
  for (const KvCache& cache : caches) {
    for (const at::Tensor* kept : {&cache.q, &cache.k, &cache.v}) {
      all.push_back(kept->defined() ? kept->const_data_ptr() : nullptr);
    }
  }
  return all;
}

/// Nothing can be recorded on the default stream of a GPU.
bool is_default_stream(at::Device device) {
  const c10::impl::VirtualGuardImpl streams(device.type());
  return streams.getStream(device) == streams.getDefaultStream(device);
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

}  // namespace

DecodeStep::DecodeStep(const LanguageModel& model, bool wanted) : model_(model) {
  const at::Device device = model.parameters().named().front().second.device();
  if (!wanted) {
    use_.reason = "recording is not wanted";
  } else if (device.is_cpu()) {
    use_.reason = "the device is the CPU";
  } else if (graph_recorder() == nullptr) {
    use_.reason = "this program is built without CUDA graphs";
  } else if (is_default_stream(device)) {
    use_.reason = "the current stream is the default one";
  } else {
    may_record_ = true;
  }
}

bool DecodeStep::covers(const at::Tensor& tokens, const std::vector<KvCache>& caches) {
  if (!may_record_ || tokens.size(1) != 1 || caches.empty() ||
      caches[0].tokens() >= caches[0].capacity()) {
    return false;
  }
  if (memory_of(caches) != memory_) prepare(tokens, caches);
  return may_record_;
}

void DecodeStep::prepare(const at::Tensor& tokens, const std::vector<KvCache>& caches) {
  graph_.reset();
  logits_ = at::Tensor();
  ran_ = false;
  memory_ = memory_of(caches);
  use_.reason = model_.no_decode_at_because(caches);
  may_record_ = use_.reason.empty();
  if (!may_record_) return;
  const auto options = tokens.options().device(caches[0].k.device());
  token_ = at::empty({caches[0].k.size(0), 1}, options.dtype(at::kLong));
  position_ = at::empty({1}, options.dtype(at::kLong));
  length_ = at::empty({1}, options.dtype(at::kInt));
}

at::Tensor DecodeStep::compute(const std::vector<KvCache>& caches) const {
  return model_.decode_at(token_, position_, length_, caches);
}

void DecodeStep::record(const std::vector<KvCache>& caches) {
  try {
    graph_ = graph_recorder()([&] { logits_ = compute(caches); }, /*beside=*/nullptr);
  } catch (const std::exception& error) {
    may_record_ = false;
    use_.reason = "the step cannot be recorded: " + first_line(error.what());
  }
}

at::Tensor DecodeStep::run(const at::Tensor& tokens, std::vector<KvCache>& caches) {
  const std::int64_t seen = caches.at(0).tokens();
  token_.copy_(tokens);
  position_.fill_(seen);
  length_.fill_(seen + 1);
  if (ran_ && !graph_ && may_record_) record(caches);
  at::Tensor logits;
  if (graph_) {
    graph_->replay();
    logits = logits_.clone();  // the next replay writes over them
    ++use_.replayed;
  } else {
    logits = compute(caches);
    ++use_.plain;
  }
  ran_ = true;
  for (KvCache& cache : caches) ++cache.seen;
  return logits;
}

}  // namespace mta
