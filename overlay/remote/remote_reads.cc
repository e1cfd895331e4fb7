// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/remote/remote_reads.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "overlay/host/cancellation.h"

namespace unionfs {
namespace {

// A gap that is shorter costs less than a request of its own.
constexpr uint64_t kLongestGap = uint64_t{64} << 10;
// What is joined is copied once more, so it does not grow without a bound.
constexpr uint64_t kMostJoined = uint64_t{1} << 20;

uint64_t aligned_down(uint64_t offset, uint64_t unit) {
  return offset / unit * unit;
}

}  // namespace

RemoteReads::~RemoteReads() {
  wait();
}

void RemoteReads::wait() {
  if (std::exchange(is_waited_for_, true)) {
    return;
  }
  bool is_over = false;
  bool has_told = is_cancelled_ == nullptr;
  while (!is_over && !has_told) {
    is_over = wait_.wait_for(kLookAtCancellation);
    if (!is_over && is_cancelled_->load(std::memory_order_relaxed)) {
      source_.client.look_again();
      has_told = true;
    }
  }
  if (!is_over) {
    wait_.wait();
  }
}

void RemoteReads::add(const ReadRange& range, bool is_kept) {
  ReadRange rest = range;
  while (!rest.buffer.empty()) {
    const uint64_t size = source_.about.size_bytes;
    const FileExtent extent =
        holes_ != nullptr ? holes_->extent_at(rest.offset, size) : FileExtent{false, size};
    const size_t count = std::min<uint64_t>(rest.buffer.size(), extent.end - rest.offset);
    if (extent.is_hole) {
      std::memset(rest.buffer.data(), 0, count);
    } else {
      parts_.push_back({rest.offset, rest.buffer.first(count), is_kept});
    }
    rest.advance(count);
  }
}

void RemoteReads::add_part(size_t index) {
  const Part& part = parts_[index];
  const uint64_t minimum = source_.about.minimum_bytes;
  const uint64_t unit = part.is_kept ? std::max(ChunkCache::kChunkBytes, minimum) : minimum;
  const uint64_t begin = aligned_down(part.offset, unit);
  const uint64_t end =
      std::min(aligned_down(part.end() + unit - 1, unit), source_.about.size_bytes);
  if (!fetches_.empty()) {
    Fetch& last = fetches_.back();
    const bool is_near = begin < last.end + kLongestGap && last.is_kept == part.is_kept;
    const uint64_t joined_end = std::max(last.end, end);
    if (is_near && (joined_end == last.end || joined_end - last.begin <= kMostJoined)) {
      last.end = joined_end;
      ++last.part_count;
      return;
    }
  }
  fetches_.push_back({begin, end, part.is_kept, index, 1, {}});
}

void RemoteReads::plan() {
  std::sort(parts_.begin(), parts_.end(),
            [](const Part& a, const Part& b) { return a.offset < b.offset; });
  for (size_t i = 0; i < parts_.size(); ++i) {
    add_part(i);
  }
}

ByteSpan RemoteReads::buffer_of(Fetch& fetch) {
  const Part& part = parts_[fetch.first_part];
  if (fetch.part_count == 1 && part.offset == fetch.begin && part.end() == fetch.end) {
    return part.target;
  }
  if (fetch.bytes.empty()) {
    fetch.bytes.resize(fetch.end - fetch.begin);
  }
  return fetch.bytes;
}

void RemoteReads::send(std::optional<std::chrono::milliseconds> time) {
  plan();
  is_cancelled_ = CancellableWaits::current();
  for (Fetch& fetch : fetches_) {
    uint64_t offset = fetch.begin;
    ByteSpan buffer = buffer_of(fetch);
    while (!buffer.empty()) {
      RemotePiece& piece = pieces_.emplace_back();
      piece.offset = offset;
      piece.buffer = buffer.first(std::min<size_t>(buffer.size(), source_.about.maximum_bytes));
      piece.wait = &wait_;
      piece.is_cancelled = is_cancelled_;
      offset += piece.buffer.size();
      buffer = buffer.subspan(piece.buffer.size());
    }
  }
  if (!pieces_.empty()) {
    wait_.expect(pieces_.size());
    is_waited_for_ = false;
    source_.client.send(pieces_, time);
  }
}

Result<void> RemoteReads::finish() {
  wait();
  if (wait_.error() != 0) {
    return failure();
  }
  for (Fetch& fetch : fetches_) {
    const ConstByteSpan bytes = buffer_of(fetch);
    for (size_t i = 0; i < fetch.part_count && !fetch.bytes.empty(); ++i) {
      const Part& part = parts_[fetch.first_part + i];
      std::memcpy(part.target.data(), bytes.data() + (part.offset - fetch.begin),
                  part.target.size());
    }
    const uint64_t most = ChunkCache::kChunkBytes;
    for (uint64_t at = 0; fetch.is_kept && at < bytes.size(); at += most) {
      source_.cache.insert(fetch.begin + at,
                           bytes.subspan(at, std::min<uint64_t>(most, bytes.size() - at)));
    }
  }
  return {};
}

// One line, and EIO whatever it was: a client of a disk knows nothing else.
Failure RemoteReads::failure() const {
  if (Result<void> same = source_.client.check_same(); !same) {
    return Failure(std::move(same).error());
  }
  if (is_cancelled_ != nullptr) {
    if (Result<void> wanted = check_not_cancelled(*is_cancelled_); !wanted) {
      return Failure(std::move(wanted).error());
    }
  }
  const std::string why = wait_.error() == ETIMEDOUT
                              ? "there is no answer in time"
                              : std::generic_category().message(wait_.error());
  return make_failure(ErrorKind::kSystem, EIO,
                      fmt::format("{}: the range from {} to {} cannot be read: {}", source_.name,
                                  parts_.front().offset, parts_.back().end(), why));
}

}  // namespace unionfs
