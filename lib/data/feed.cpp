// A bounded window of batches in the making, emptied in order.
#include "lib/data/feed.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace mta {

Feed::Feed(std::function<Batch(std::int64_t)> make, FeedOptions options)
    : make_(std::move(make)),
      ahead_(std::max<std::int64_t>(1, options.ahead)),
      next_claimed_(options.first),
      next_taken_(options.first) {
  for (int i = 0; i < std::max(1, options.threads); ++i) threads_.emplace_back([this] { work(); });
}

Feed::~Feed() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  taken_or_stopped_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

Batch Feed::next() {
  using Clock = std::chrono::steady_clock;
  std::unique_lock lock(mutex_);
  if (!made_.contains(next_taken_)) {
    const auto start = Clock::now();
    made_ready_.wait(lock, [&] { return made_.contains(next_taken_); });
    waited_seconds_ += std::chrono::duration<double>(Clock::now() - start).count();
  }
  Made made = std::move(made_.extract(next_taken_++).mapped());
  lock.unlock();
  taken_or_stopped_.notify_one();
  if (made.error) std::rethrow_exception(made.error);
  return std::move(made.batch);
}

/// The number of a batch to make, once there is room for it; nothing when the feed ends.
std::optional<std::int64_t> Feed::claim() {
  std::unique_lock lock(mutex_);
  taken_or_stopped_.wait(lock, [&] { return stopped_ || next_claimed_ < next_taken_ + ahead_; });
  if (stopped_) return std::nullopt;
  return next_claimed_++;
}

void Feed::work() {
  while (const auto number = claim()) {
    Made made;
    try {
      made.batch = make_(*number);
    } catch (...) {
      made.error = std::current_exception();
    }
    const std::lock_guard lock(mutex_);
    made_.emplace(*number, std::move(made));
    made_ready_.notify_one();
  }
}

}  // namespace mta
