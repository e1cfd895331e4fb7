// SPDX-License-Identifier: BSD-3-Clause
//
// Reads several ranges at once: one io_uring submission for all of them, so
// that a request whose runs lie in both files waits for the disk once.
#ifndef UNIONFS_OVERLAY_HOST_BATCH_READER_H
#define UNIONFS_OVERLAY_HOST_BATCH_READER_H

#include <atomic>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "overlay/host/file.h"
#include "overlay/host/log.h"

namespace unionfs {

struct ReadRange {
  const ReadableFile* file = nullptr;
  uint64_t offset = 0;
  ByteSpan buffer;
};

// Thread-safe.  Rings are made when first needed, so never before a fork, and
// kept for the next batch.
class BatchReader {
 public:
  explicit BatchReader(LogSink log);
  ~BatchReader();

  // Fills all buffers.  When it returns, also with an error, the kernel is
  // done with every one of them.
  Result<void> read(std::span<ReadRange> ranges);

  // Ranges of one submission; a longer batch is cut.
  static constexpr size_t kMaxBatch = 64;

 private:
  class Ring;

  std::unique_ptr<Ring> take_ring();
  void put_ring(std::unique_ptr<Ring> ring);
  void read_by_ring(std::span<ReadRange> ranges);

  LogSink log_;
  std::atomic<bool> has_rings_{true};  // cleared once the host refuses them
  std::mutex mutex_;                   // guards free_rings_
  std::vector<std::unique_ptr<Ring>> free_rings_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_HOST_BATCH_READER_H
