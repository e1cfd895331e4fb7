// SPDX-License-Identifier: BSD-3-Clause
//
// What clients of one disk of many had it do, for whoever asks which of them is busy.
#ifndef UNIONFS_OVERLAY_SERVICE_DISK_TRAFFIC_H
#define UNIONFS_OVERLAY_SERVICE_DISK_TRAFFIC_H

#include <atomic>
#include <cstdint>

namespace unionfs {

// Requests that were answered; bytes are the lengths of those without an error.
struct TrafficCounts {
  uint64_t reads = 0;
  uint64_t read_bytes = 0;
  uint64_t writes = 0;  // zeros and trims are none
  uint64_t written_bytes = 0;
  uint64_t errors = 0;  // of requests of any kind
};

// Thread-safe.  Small, because there is one for each disk: the threads of all its clients share it.
class DiskTraffic {
 public:
  void count_read(uint64_t bytes, bool has_succeeded) {
    add(reads_, 1);
    add(read_bytes_, has_succeeded ? bytes : 0);
  }
  void count_write(uint64_t bytes, bool has_succeeded) {
    add(writes_, 1);
    add(written_bytes_, has_succeeded ? bytes : 0);
  }
  void count_error() { add(errors_, 1); }

  TrafficCounts counts() const {
    return {reads_.load(std::memory_order_relaxed), read_bytes_.load(std::memory_order_relaxed),
            writes_.load(std::memory_order_relaxed), written_bytes_.load(std::memory_order_relaxed),
            errors_.load(std::memory_order_relaxed)};
  }

 private:
  static void add(std::atomic<uint64_t>& counter, uint64_t number) {
    counter.fetch_add(number, std::memory_order_relaxed);
  }

  std::atomic<uint64_t> reads_{0};
  std::atomic<uint64_t> read_bytes_{0};
  std::atomic<uint64_t> writes_{0};
  std::atomic<uint64_t> written_bytes_{0};
  std::atomic<uint64_t> errors_{0};
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SERVICE_DISK_TRAFFIC_H
