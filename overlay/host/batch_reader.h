// SPDX-License-Identifier: BSD-3-Clause
//
// Reads several ranges of any files at once, so that a request whose runs lie
// in several files takes as long as its slowest run, not as long as all of them.
//
// What no descriptor leads to is begun first, file by file; then the host's
// files are read, by one io_uring submission; then comes what the caller has to do; then the
// others are waited for.
#ifndef UNIONFS_OVERLAY_HOST_BATCH_READER_H
#define UNIONFS_OVERLAY_HOST_BATCH_READER_H

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "overlay/host/file.h"
#include "overlay/host/log.h"
#include "overlay/host/mutex.h"

namespace unionfs {

// Who wants the bytes.  What the program itself looks at is metadata, which it will look at again,
// so a file that is not the host's may read more than was asked for, and keep it.
enum class ReadBy : uint8_t { kProgram, kClient };

// Safe for concurrent use by multiple threads.  Rings are made when first needed,
// so never before a fork, and kept for the next batch.
class BatchReader {
 public:
  explicit BatchReader(LogSink log = {});
  ~BatchReader();

  // Who is told, once, that the host refuses rings; of several the first.
  void use_log(const LogSink& log);

  // Fills all buffers.  When it returns, also with an error, nobody touches any
  // of them any more.  Orders and changes `ranges` as it likes.  Allocates no
  // memory for files of the host, once there are rings.
  // `meanwhile` is called once, unless a read has failed before; its error is the batch's.
  using Meanwhile = std::function<Result<void>()>;
  Result<void> read(std::span<ReadRange> ranges, ReadBy by = ReadBy::kProgram,
                    const Meanwhile& meanwhile = {});
  // The same, but what is at hand is read first, file by file, and the batch is what would have
  // to wait.  No two ranges overlap in a file.
  Result<void> read_cached_first(std::span<ReadRange> ranges, ReadBy by,
                                 const Meanwhile& meanwhile = {});

  // Ranges of one submission to a ring; more of them are cut.
  static constexpr size_t kMaxBatch = 64;
  // Rings that are kept; what a moment needs beyond them is made for it.
  static constexpr size_t kMaxFreeRings = 64;

 private:
  class Ring;

  std::unique_ptr<Ring> take_ring();
  void put_ring(std::unique_ptr<Ring> ring);
  void read_by_ring(std::span<ReadRange> ranges);
  Result<void> read_host(std::span<ReadRange> ranges);
  Result<void> read_all(std::span<ReadRange> others, std::span<ReadRange> host,
                        const Meanwhile& meanwhile);

  std::atomic<bool> has_rings_{true};  // cleared once the host refuses them
  Mutex mutex_;
  LogSink log_ UNIONFS_GUARDED_BY(mutex_);
  // kMaxFreeRings at most.
  std::vector<std::unique_ptr<Ring>> free_rings_ UNIONFS_GUARDED_BY(mutex_);
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_HOST_BATCH_READER_H
