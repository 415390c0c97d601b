// Batches made ahead of time in other threads, so that training does not wait for them.
#pragma once

#include "lib/core/batch.h"

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace mta {

struct FeedOptions {
  std::int64_t first = 0;  // number of the first batch: the step at which a run goes on
  int threads = 1;
  std::int64_t ahead = 8;  // batches that may be made before they are asked for
};

/// Delivers make(first), make(first + 1), ... in this order, whatever the number of threads.
class Feed {
 public:
  /// `make` is called from several threads at a time.
  Feed(std::function<Batch(std::int64_t)> make, FeedOptions options);
  /// Waits for the batches that are being made, and drops them.
  ~Feed();
  Feed(const Feed&) = delete;
  Feed& operator=(const Feed&) = delete;

  /// The next batch. Throws what make() threw for it, then goes on with the one after.
  Batch next();
  /// Time that next() has spent waiting for a batch to be ready.
  double waited_seconds() const { return waited_seconds_; }

 private:
  struct Made {
    Batch batch;
    std::exception_ptr error;
  };

  void work();
  std::optional<std::int64_t> claim();

  std::function<Batch(std::int64_t)> make_;
  std::int64_t ahead_;
  double waited_seconds_ = 0;

  std::mutex mutex_;
  std::condition_variable made_ready_, taken_or_stopped_;
  std::int64_t next_claimed_;          // the next batch that a thread starts on
  std::int64_t next_taken_;            // the next batch that the consumer gets
  std::map<std::int64_t, Made> made_;  // finished, not yet taken
  bool stopped_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace mta
