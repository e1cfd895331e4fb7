// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/session/session.h"

#include <algorithm>
#include <cstring>
#include <exception>

#include "overlay/host/scope_exit.h"
#include "overlay/host/zero_bytes.h"

namespace unionfs {

// What goes into a range of the merged image.
struct Session::Change {
  const std::byte* bytes = nullptr;  // nullptr: zeros
  uint64_t length = 0;
  ZeroWay zero_way = ZeroWay::kWrite;

  bool is_zero() const { return bytes == nullptr; }
  void copy_to(ByteSpan block) const {
    if (is_zero()) {
      std::memset(block.data(), 0, length);
    } else {
      std::memcpy(block.data(), bytes, length);
    }
  }
  Change first(uint64_t count) const { return {bytes, std::min(count, length), zero_way}; }
  void drop(uint64_t count) {
    bytes = is_zero() ? nullptr : bytes + count;
    length -= count;
  }
};

Session::Session(WritableFile& upper, const StateArea& area, const MergedView& view,
                 SessionBitmap& bitmap, std::function<void()> on_sync_failure, LogSink log,
                 Clock& clock, Flusher* flusher)
    : upper_(upper),
      view_(view),
      bitmap_(bitmap),
      on_sync_failure_(std::move(on_sync_failure)),
      log_(std::move(log)),
      clock_(clock),
      block_size_(view.block_size_bytes()),
      given_flusher_(flusher) {
  probe_zero_ways(area);
}

Session::~Session() {
  stop();
}

// A fast zero must know before it starts whether the host has the means.  The
// rest of a header's page is zero and stays so.
void Session::probe_zero_ways(const StateArea& area) {
  const uint64_t spare = area.offset + sizeof(upper_format::Header);
  const uint64_t length = upper_format::kPageBytes - sizeof(upper_format::Header);
  can_punch_ = upper_.punch(spare, length).has_value();
  can_zero_range_ = upper_.zero_range(spare, length).has_value();
}

bool Session::can_zero_fast(bool may_trim) const {
  return can_zero_range_ || (may_trim && can_punch_);
}

Result<void> Session::check_alive() const {
  if (has_failed()) {
    return Failure(Error{
        ErrorKind::kSystem, EIO,
        fmt::format("{}: a sync failed earlier; restart to see what was flushed", upper_.name())});
  }
  return {};
}

// ---- reading and writing ---------------------------------------------------

Result<void> Session::write(uint64_t offset, ConstByteSpan bytes) {
  return apply(offset, {bytes.data(), bytes.size(), ZeroWay::kWrite});
}

Result<void> Session::zero(uint64_t offset, uint64_t length, ZeroOptions options) {
  if (options.must_be_fast && !can_zero_fast(options.may_trim)) {
    return Failure(Error{ErrorKind::kUnsupported, ENOTSUP, "no fast way to write zeros"});
  }
  return apply(offset, {nullptr, length, options.may_trim ? ZeroWay::kPunch : ZeroWay::kAllocated});
}

Result<void> Session::apply(uint64_t offset, Change change) {
  while (change.length > 0) {
    const BlockNumber block(offset / block_size_);
    const BlockNumber end(divide_round_up(offset + change.length, block_size_));
    const Run run = view_.run_at(block, end);
    uint64_t done = 0;
    if (run.source == Source::kZero && change.is_zero() && change.zero_way == ZeroWay::kPunch) {
      done = run.end.value() * block_size_ - offset;  // reads as zeros and has no space
    } else if (run.source == Source::kUpper) {
      UNIONFS_ASSIGN(done, apply_plain(offset, run, change));
      note_change();
    } else {
      UNIONFS_ASSIGN(done, apply_first_touch(offset, change));
      note_change();
    }
    done = std::min(done, change.length);
    offset += done;
    change.drop(done);
  }
  return {};
}

// The blocks lie home already, all of them: their bits are set, or they are the
// layer's own data.
Result<uint64_t> Session::apply_plain(uint64_t offset, const Run& run, const Change& change) {
  const BlockNumber block(offset / block_size_);
  const uint64_t skip = offset % block_size_;
  const Change piece = change.first((run.end - block) * block_size_ - skip);
  const BlockNumber end = block + divide_round_up(skip + piece.length, block_size_);
  const SessionBitmap::BitRun bits = bitmap_.run_at(block, end);
  const bool has_clear_bits = !bits.is_set || bits.end < end;
  if (has_clear_bits) {
    UNIONFS_TRY(bitmap_.reserve(block, end));
  }
  UNIONFS_TRY(write_home(run.offset + skip, piece));
  if (has_clear_bits) {
    UNIONFS_TRY(bitmap_.set(block, end));
  }
  if (piece.is_zero() && piece.zero_way == ZeroWay::kPunch) {
    give_back(block + (skip != 0 ? 1 : 0), BlockNumber((offset + piece.length) / block_size_));
  }
  return piece.length;
}

Result<uint64_t> Session::apply_first_touch(uint64_t offset, const Change& change) {
  const BlockNumber block(offset / block_size_);
  const size_t skip = offset % block_size_;
  const BlockNumber stripe_end((block.value() / kBlocksPerStripe + 1) * kBlocksPerStripe);
  const BlockNumber end(divide_round_up(offset + change.length, block_size_));
  const bool is_part = skip != 0 || change.length < block_size_;
  // What is below may be far away, so nobody waits for the stripe meanwhile.  It does not change.
  std::array<std::byte, ext2::kMaxBlockSizeBytes> scratch;
  const ByteSpan whole = ByteSpan(scratch).first(block_size_);
  if (is_part) {
    UNIONFS_TRY(view_.read(block.value() * block_size_, whole, ReadBy::kClient));
  }

  const MutexLock lock(stripe_of(block));
  const Run run = view_.run_at(block, std::min(end, stripe_end));
  if (run.source == Source::kUpper) {
    return uint64_t{0};  // another request touched it first
  }
  UNIONFS_TRY(bitmap_.reserve(block, run.end));
  if (is_part) {
    const Change piece = change.first(block_size_ - skip);
    piece.copy_to(whole.subspan(skip));
    UNIONFS_TRY(upper_.write(run.place.home, whole));
    UNIONFS_TRY(bitmap_.set(block, block + 1));
    return piece.length;
  }
  const uint64_t whole_blocks = std::min(run.end - block, change.length / block_size_);
  const Change piece = change.first(whole_blocks * block_size_);
  UNIONFS_TRY(write_home(run.place.home, piece));
  UNIONFS_TRY(bitmap_.set(block, block + whole_blocks));
  return piece.length;
}

Result<void> Session::write_home(uint64_t home_offset, const Change& change) {
  if (change.is_zero()) {
    return zero_bytes(upper_, home_offset, change.length, change.zero_way);
  }
  return upper_.write(home_offset, {change.bytes, change.length});
}

// Only the change that finds the flag clear comes here: one in two seconds at most.
void Session::wake_flusher() {
  const bool is_first = !has_new_changes_.exchange(true, std::memory_order_acq_rel);
  if (is_first && flusher_ != nullptr) {
    flusher_->wake(*this);
  }
}

// ---- trimming ----------------------------------------------------------------

Result<void> Session::trim(uint64_t offset, uint64_t length) {
  BlockNumber block(divide_round_up(offset, block_size_));
  const BlockNumber end((offset + length) / block_size_);
  while (block < end) {
    const Run run = view_.run_at(block, end);
    const uint64_t run_bytes = (run.end - block) * block_size_;
    const Result<void> zeroed =
        apply(block.value() * block_size_, {nullptr, run_bytes, ZeroWay::kPunch});
    // A block that the upper does not hold has no space to give back, and its bit may need
    // some.  Whoever trims because the host is full must not fail there.
    if (!zeroed && run.source == Source::kUpper) {
      return zeroed;
    }
    block = run.end;
  }
  return check_alive();
}

// Blocks smaller than the host's: the trimmed range may leave parts of host
// blocks whose other parts hold nothing either; those host blocks go too.
void Session::give_back(BlockNumber begin, BlockNumber end) {
  if (block_size_ >= kHostBlockBytes || begin >= end ||
      view_.place_of(begin, end).kind != Place::Kind::kData) {
    return;
  }
  const BlockRange trimmed{begin, end};
  const uint64_t per_host_block = kHostBlockBytes / block_size_;
  if (trimmed.begin.value() % per_host_block != 0) {
    punch_host_block_of(trimmed.begin, trimmed);
  }
  if (trimmed.end.value() % per_host_block != 0) {
    punch_host_block_of(trimmed.end - 1, trimmed);
  }
}

void Session::punch_host_block_of(BlockNumber block, BlockRange trimmed) {
  const uint64_t per_host_block = kHostBlockBytes / block_size_;
  const BlockNumber first(block.value() / per_host_block * per_host_block);
  // Nobody can start to use a dead neighbour while its stripe is held.
  const MutexLock lock(stripe_of(first));
  const BlockNumber image_end(view_.size_bytes() / block_size_);
  for (BlockNumber other = first; other < first + per_host_block; ++other) {
    if (trimmed.contains(other)) {
      continue;
    }
    if (other >= image_end || !view_.is_home_unused(other)) {
      return;
    }
  }
  // Only space is at stake: a refusal costs nothing.
  (void)upper_.punch(first.value() * block_size_, kHostBlockBytes);
}

// ---- flushing ------------------------------------------------------------------

Result<void> Session::flush() {
  const MutexLock lock(flush_mutex_);
  const uint64_t needed = rounds_started_ + 1;  // the first that starts from now on
  while (flushed_through_ < needed) {
    if (is_flushing_) {
      (void)clock_.wait(flush_mutex_, round_done_);
      continue;
    }
    is_flushing_ = true;
    const uint64_t round = ++rounds_started_;
    uint64_t through = 0;
    // However the round ends, the others must not wait for it for ever.
    const ScopeExit end_round([&] {
      flush_mutex_.assert_held();
      is_flushing_ = false;
      flushed_through_ = std::max(flushed_through_, through);
      round_done_.notify_all();
    });
    const MutexUnlock unlocked(flush_mutex_);
    UNIONFS_ASSIGN(through, flush_round(round));
  }
  return {};
}

// Returns the last round before whose start everything is durable now.
Result<uint64_t> Session::flush_round(uint64_t round) {
  UNIONFS_TRY(check_alive());
  std::vector<SessionBitmap::DirtyPage> pages = bitmap_.take_dirty();
  bool is_done = false;
  // Otherwise the next round must begin with the pages of this one and of the one before.
  const ScopeExit put_back([&] {
    if (!is_done) {
      bitmap_.put_back(pages);
      bitmap_.put_back(synced_pages_);
      synced_pages_.clear();
      synced_round_ = 0;
    }
  });
  UNIONFS_TRY(bitmap_.write_durable(synced_pages_));
  UNIONFS_TRY(sync());
  // Without new bits the data was all that this round had to make durable.
  const uint64_t through = pages.empty() ? round : synced_round_;
  synced_pages_ = std::move(pages);
  synced_round_ = round;
  is_done = true;
  return through;
}

// The host may have dropped what it could not write, so after one failure no
// later sync can be believed.  An exception may hide a failure, so it counts as one.
Result<void> Session::sync() {
  bool has_returned = false;
  const ScopeExit after_exception([&] {
    if (!has_returned) {
      (void)fail();
    }
  });
  Result<void> synced = upper_.sync();
  has_returned = true;
  if (!synced && fail()) {
    log_(
        fmt::format("{}; every request fails until a restart, "
                    "or, with dir=, until all of its clients have gone",
                    synced.error().message));
  }
  return synced;
}

bool Session::fail() {
  const bool is_first = !has_failed_.exchange(true, std::memory_order_acq_rel);
  if (is_first) {
    on_sync_failure_();
  }
  return is_first;
}

void Session::start() {
  if (given_flusher_ == nullptr && own_flusher_ == nullptr) {
    own_flusher_ = std::make_unique<Flusher>(clock_);
  }
  if (flusher_ == nullptr) {  // else requests may be looking at it
    flusher_ = given_flusher_ != nullptr ? given_flusher_ : own_flusher_.get();
  }
  flusher_->add(*this);
}

void Session::stop() {
  if (flusher_ != nullptr && flusher_->remove(*this)) {
    has_new_changes_.store(true, std::memory_order_release);  // start() looks at it
  }
}

// Tells why it went wrong, unless `has_complained` already, which it sets.  After a failed sync
// every request fails, and nothing is tried again.
bool Session::flush_by_itself(bool& has_complained) {
  try {
    const Result<void> done = flush();
    if (!done && !has_failed() && !has_complained) {
      log_(fmt::format("{}; flushing is tried again", done.error().message));
    }
    has_complained = !done;
    return done.has_value() || has_failed();
  } catch (const std::exception&) {
    return has_failed();  // there was no memory, not even to tell it
  }
}

}  // namespace unionfs
