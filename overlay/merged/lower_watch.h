// SPDX-License-Identifier: BSD-3-Clause
//
// Compares in the background what the opening of a layer, and of those below it, did not: the
// records of the lower beyond the first ones.
#ifndef UNIONFS_OVERLAY_MERGED_LOWER_WATCH_H
#define UNIONFS_OVERLAY_MERGED_LOWER_WATCH_H

#include <atomic>
#include <thread>

#include "overlay/host/log.h"
#include "overlay/merged/layer_over_lower.h"

namespace unionfs {

// A thread that ends by itself, or with this object.  Thread-safe, but for the
// constructor.  Refers to the layer, which must outlive it.
class LowerWatch {
 public:
  // Begins at once.  `log` is told of a difference, and of a lower that cannot be read.
  LowerWatch(const LayerOverLower& layer, LogSink log);
  ~LowerWatch();
  LowerWatch(const LowerWatch&) = delete;
  LowerWatch& operator=(const LowerWatch&) = delete;

  // Fails with EIO once the lower was found to be another one; for every request.
  Result<void> check_same() const {
    return differs_.load(std::memory_order_acquire) ? refuse() : Result<void>();
  }
  // Whether everything was compared, and is the same.
  bool has_found_all_same() const { return is_all_same_.load(std::memory_order_acquire); }
  // Waits until the thread has come to its end.
  void wait();

 private:
  Result<void> refuse() const;
  void compare_all();
  // False where the comparison has ended.
  bool compare_layer(const LayerOverLower& layer, bool& was_read);
  bool compare(const LowerComparison& comparison, uint32_t index, bool& was_read);

  const LayerOverLower& layer_;
  const LogSink log_;
  std::atomic<bool> is_stopped_{false};
  std::atomic<bool> differs_{false};
  std::atomic<bool> is_all_same_{false};
  std::thread thread_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_MERGED_LOWER_WATCH_H
