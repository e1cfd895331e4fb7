// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/host/batch_reader.h"

#include <liburing.h>

#include <algorithm>
#include <functional>
#include <system_error>
#include <utility>

namespace unionfs {
namespace {

// Orders the ranges so that those for which the predicate holds come first.
template <typename Predicate>
std::pair<std::span<ReadRange>, std::span<ReadRange>> split(std::span<ReadRange> ranges,
                                                            Predicate predicate) {
  const auto rest = std::partition(ranges.begin(), ranges.end(), predicate);
  const auto count = static_cast<size_t>(rest - ranges.begin());
  return {ranges.first(count), ranges.subspan(count)};
}

// File by file, as far as it is at hand.
void read_what_is_cached(std::span<ReadRange> ranges) {
  std::sort(ranges.begin(), ranges.end(), [](const ReadRange& a, const ReadRange& b) {
    return a.file != b.file ? std::less<>()(a.file, b.file) : a.offset < b.offset;
  });
  while (!ranges.empty()) {
    const ReadableFile* file = ranges.front().file;
    const auto end = std::find_if(ranges.begin(), ranges.end(),
                                  [file](const ReadRange& range) { return range.file != file; });
    const auto count = static_cast<size_t>(end - ranges.begin());
    file->read_cached_ranges(ranges.first(count));
    ranges = ranges.subspan(count);
  }
}

// One after another, without what has been read already.
Result<void> read_plainly(std::span<const ReadRange> ranges) {
  for (const ReadRange& range : ranges) {
    if (!range.buffer.empty()) {
      UNIONFS_TRY(range.file->read(range.offset, range.buffer));
    }
  }
  return {};
}

Result<void> call(const BatchReader::Meanwhile& meanwhile) {
  return meanwhile ? meanwhile() : Result<void>();
}

}  // namespace

// One io_uring, used by one thread at a time.
class BatchReader::Ring {
 public:
  ~Ring() {
    if (is_open_) {
      ::io_uring_queue_exit(&ring_);
    }
  }

  // 0, or an errno value.
  int open() {
    const int result = ::io_uring_queue_init(kMaxBatch, &ring_, 0);
    is_open_ = result == 0;
    return -result;
  }

  // Reads what it can; each range is advanced past what was read.  False when
  // the ring holds leftovers and must not be used again.  All completions of
  // what was submitted have been reaped in either case.
  bool read(std::span<ReadRange> ranges) {
    for (size_t i = 0; i < ranges.size(); ++i) {
      io_uring_sqe* entry = ::io_uring_get_sqe(&ring_);
      if (entry == nullptr) {
        ranges = ranges.first(i);
        break;
      }
      const ReadRange& range = ranges[i];
      ::io_uring_prep_read(entry, range.file->descriptor(), range.buffer.data(),
                           static_cast<unsigned>(range.buffer.size()), range.offset);
      ::io_uring_sqe_set_data64(entry, i);
    }
    size_t submitted = 0;
    while (submitted < ranges.size()) {
      const int result =
          ::io_uring_submit_and_wait(&ring_, static_cast<unsigned>(ranges.size() - submitted));
      if (result == -EINTR) {
        continue;
      }
      if (result <= 0) {
        break;
      }
      submitted += static_cast<size_t>(result);
    }
    reap(ranges, submitted);
    return submitted == ranges.size();
  }

 private:
  void reap(std::span<ReadRange> ranges, size_t count) {
    while (count > 0) {
      io_uring_cqe* completion = nullptr;
      if (::io_uring_wait_cqe(&ring_, &completion) != 0) {
        continue;  // interrupted: the buffers are still the kernel's
      }
      ReadRange& range = ranges[::io_uring_cqe_get_data64(completion)];
      if (completion->res > 0) {
        range.advance(static_cast<size_t>(completion->res));
      }
      ::io_uring_cqe_seen(&ring_, completion);
      --count;
    }
  }

  io_uring ring_ = {};
  bool is_open_ = false;
};

BatchReader::BatchReader(LogSink log) : log_(std::move(log)) {}
BatchReader::~BatchReader() = default;

void BatchReader::use_log(const LogSink& log) {
  const MutexLock lock(mutex_);
  if (!log_) {
    log_ = log;
  }
}

std::unique_ptr<BatchReader::Ring> BatchReader::take_ring() {
  if (!has_rings_.load(std::memory_order_relaxed)) {
    return nullptr;
  }
  {
    const MutexLock lock(mutex_);
    if (!free_rings_.empty()) {
      std::unique_ptr<Ring> ring = std::move(free_rings_.back());
      free_rings_.pop_back();
      return ring;
    }
  }
  auto ring = std::make_unique<Ring>();
  const int error = ring->open();
  if (error != 0) {
    const bool is_first = has_rings_.exchange(false);
    const MutexLock lock(mutex_);
    if (is_first && log_) {
      log_(fmt::format("io_uring is refused ({}): reading with pread",
                       std::generic_category().message(error)));
    }
    return nullptr;
  }
  return ring;
}

// A ring beyond the number goes when the lock has gone.
void BatchReader::put_ring(std::unique_ptr<Ring> ring) {
  const MutexLock lock(mutex_);
  if (free_rings_.size() < kMaxFreeRings) {
    free_rings_.push_back(std::move(ring));
  }
}

void BatchReader::read_by_ring(std::span<ReadRange> ranges) {
  std::unique_ptr<Ring> ring = take_ring();
  if (ring && ring->read(ranges)) {
    put_ring(std::move(ring));
  }
}

// Files of the host.
Result<void> BatchReader::read_host(std::span<ReadRange> ranges) {
  while (!ranges.empty()) {
    const std::span<ReadRange> batch = ranges.first(std::min(ranges.size(), kMaxBatch));
    ranges = ranges.subspan(batch.size());
    // A lone range gains nothing from a ring: it is one system call either way.
    if (batch.size() > 1) {
      read_by_ring(batch);
    }
    // What the ring left (short reads, errors, no ring), with its error if any.
    UNIONFS_TRY(read_plainly(batch));
  }
  return {};
}

// Begins the other files' reads, one file a call, before it reads the host's and
// waits.  Whatever goes wrong meanwhile, `pending` waits when it is destroyed.
Result<void> BatchReader::read_all(std::span<ReadRange> others, std::span<ReadRange> host,
                                   const Meanwhile& meanwhile) {
  if (others.empty()) {
    UNIONFS_TRY(read_host(host));
    return call(meanwhile);
  }
  const ReadableFile& file = *others.front().file;
  const auto [same, rest] =
      split(others, [&file](const ReadRange& range) { return range.file == &file; });
  const std::unique_ptr<PendingReads> pending = file.begin_reads(same);
  UNIONFS_TRY(read_all(rest, host, meanwhile));
  return pending ? pending->finish() : read_plainly(same);
}

Result<void> BatchReader::read(std::span<ReadRange> ranges, ReadBy by, const Meanwhile& meanwhile) {
  const bool is_plain =
      ranges.size() == 1 && (by == ReadBy::kProgram || ranges.front().file->descriptor() != -1);
  if (ranges.empty() || is_plain) {
    UNIONFS_TRY(read_plainly(ranges));
    return call(meanwhile);
  }
  const auto [host, others] =
      split(ranges, [](const ReadRange& range) { return range.file->descriptor() != -1; });
  return read_all(others, host, meanwhile);
}

Result<void> BatchReader::read_cached_first(std::span<ReadRange> ranges, ReadBy by,
                                            const Meanwhile& meanwhile) {
  if (ranges.size() == 1) {
    ReadRange& range = ranges.front();
    range.advance(range.file->read_cached(range.offset, range.buffer));
    return read(range.buffer.empty() ? std::span<ReadRange>() : ranges, by, meanwhile);
  }
  read_what_is_cached(ranges);
  const auto [waiting, whole] =
      split(ranges, [](const ReadRange& range) { return !range.buffer.empty(); });
  return read(waiting, by, meanwhile);
}

}  // namespace unionfs
