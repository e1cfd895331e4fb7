// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/upper/session_bitmap.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>

#include "overlay/host/zero_bytes.h"

namespace unionfs {
namespace {

using upper_format::kPageBytes;

// The words are shared with another process's memory only after it died, and
// with the file: that takes plain 8-byte little-endian loads and stores.
static_assert(std::atomic<uint64_t>::is_always_lock_free);
static_assert(sizeof(std::atomic<uint64_t>) == 8);
static_assert(std::endian::native == std::endian::little,
              "the session bitmaps are mapped as they are");

// Takes space of the machine's only where something was written to it.
class ZeroedMemory final : public MappedRegion {
 public:
  static Result<std::unique_ptr<ZeroedMemory>> take(uint64_t length) {
    auto* memory = static_cast<std::byte*>(std::calloc(std::max<uint64_t>(length, 1), 1));
    if (memory == nullptr) {
      return system_failure(ENOMEM, "cannot copy the bitmap of a session");
    }
    return std::unique_ptr<ZeroedMemory>(new ZeroedMemory(memory, length));
  }
  ~ZeroedMemory() override { std::free(memory_); }
  ZeroedMemory(const ZeroedMemory&) = delete;
  ZeroedMemory& operator=(const ZeroedMemory&) = delete;

  ByteSpan bytes() override { return {memory_, length_}; }

 private:
  ZeroedMemory(std::byte* memory, uint64_t length) : memory_(memory), length_(length) {}

  std::byte* memory_;
  uint64_t length_;
};

}  // namespace

SessionBitmap::SessionBitmap(WritableFile* upper, FileRange durable,
                             std::unique_ptr<MappedRegion> region)
    : upper_(upper),
      durable_(durable),
      region_(std::move(region)),
      words_(region_ ? reinterpret_cast<std::atomic<uint64_t>*>(region_->bytes().data()) : nullptr),
      states_(durable.length / kPageBytes) {}

std::unique_ptr<SessionBitmap> SessionBitmap::make_empty(uint64_t size_bytes) {
  return std::unique_ptr<SessionBitmap>(new SessionBitmap(nullptr, {0, size_bytes}, nullptr));
}

Result<std::unique_ptr<SessionBitmap>> SessionBitmap::open_for_reading(const ReadableFile& upper,
                                                                       FileRange source) {
  UNIONFS_ASSIGN(auto memory, ZeroedMemory::take(source.length));
  std::unique_ptr<SessionBitmap> bitmap(new SessionBitmap(nullptr, source, std::move(memory)));
  UNIONFS_TRY(bitmap->copy_to_memory(upper, source, kTouched));
  return bitmap;
}

Result<std::unique_ptr<SessionBitmap>> SessionBitmap::open_for_writing(WritableFile& upper,
                                                                       FileRange live,
                                                                       FileRange durable,
                                                                       bool live_is_current) {
  const bool is_shared = upper.overwrites_in_place();
  std::unique_ptr<MappedRegion> region;
  if (is_shared) {
    UNIONFS_ASSIGN(region, upper.map(live.offset, live.length));
  } else {
    UNIONFS_ASSIGN(region, ZeroedMemory::take(live.length));
  }
  std::unique_ptr<SessionBitmap> bitmap(new SessionBitmap(&upper, durable, std::move(region)));
  bitmap->is_shared_ = is_shared;
  bitmap->live_ = live;
  if (!live_is_current) {
    UNIONFS_TRY(bitmap->copy_from_durable(live));
  }
  // What the live bitmap has the durable one may lack: all of it is dirty.
  const uint32_t state = live_is_current ? kTouched | kDirty : kTouched;
  UNIONFS_TRY(is_shared ? bitmap->find_touched(upper, live, state)
                        : bitmap->copy_to_memory(upper, live, state));
  return bitmap;
}

Result<void> SessionBitmap::copy_from_durable(FileRange live) {
  UNIONFS_TRY(zero_bytes(*upper_, live.offset, live.length, ZeroWay::kPunch));
  std::vector<std::byte> page(kPageBytes);
  uint64_t offset = durable_.offset;
  while (offset < durable_.end()) {
    const FileExtent extent = upper_->extent_at(offset);
    const uint64_t end = std::min(std::max(extent.end, offset + 1), durable_.end());
    if (extent.is_hole) {
      offset = end;
      continue;
    }
    for (offset -= (offset - durable_.offset) % kPageBytes; offset < end; offset += kPageBytes) {
      UNIONFS_TRY(upper_->read(offset, page));
      if (!all_zeros(page)) {
        const uint64_t place = live.offset + (offset - durable_.offset);
        UNIONFS_TRY(upper_->write(place, page));
      }
    }
  }
  return {};
}

Result<void> SessionBitmap::copy_to_memory(const ReadableFile& upper, FileRange source,
                                           uint32_t state) {
  const ByteSpan bytes = region_->bytes();
  std::vector<std::byte> page(kPageBytes);
  uint64_t offset = source.offset;
  while (offset < source.end()) {
    const FileExtent extent = upper.extent_at(offset);
    const uint64_t end = std::min(std::max(extent.end, offset + 1), source.end());
    if (extent.is_hole) {
      offset = end;
      continue;
    }
    for (offset -= (offset - source.offset) % kPageBytes; offset < end; offset += kPageBytes) {
      const uint64_t index = (offset - source.offset) / kPageBytes;
      const bool is_new = states_[index].load(std::memory_order_relaxed) == kUntouched;
      UNIONFS_TRY(upper.read(offset, page));
      if (is_new && !all_zeros(page)) {
        std::copy(page.begin(), page.end(),
                  bytes.begin() + static_cast<ptrdiff_t>(index * kPageBytes));
        states_[index].store(state, std::memory_order_relaxed);
        touched_pages_.fetch_add(1, std::memory_order_relaxed);
      }
    }
  }
  return {};
}

// Holes are skipped without a look, so the cost follows what was written.
Result<void> SessionBitmap::find_touched(const ReadableFile& upper, FileRange section,
                                         uint32_t state) {
  const ConstByteSpan bytes = region_->bytes();
  uint64_t offset = section.offset;
  while (offset < section.end()) {
    const FileExtent extent = upper.extent_at(offset);
    const uint64_t end = std::min(std::max(extent.end, offset + 1), section.end());
    if (!extent.is_hole) {
      const uint64_t last_page = (end - 1 - section.offset) / kPageBytes;
      for (uint64_t page = (offset - section.offset) / kPageBytes; page <= last_page; ++page) {
        if (states_[page].load(std::memory_order_relaxed) == kUntouched &&
            !all_zeros(bytes.subspan(page * kPageBytes, kPageBytes))) {
          states_[page].store(state, std::memory_order_relaxed);
          touched_pages_.fetch_add(1, std::memory_order_relaxed);
        }
      }
    }
    offset = end;
  }
  return {};
}

SessionBitmap::BitRun SessionBitmap::run_at(BlockNumber begin, BlockNumber end) const {
  uint64_t bits = load_word(begin);
  const bool is_set = (bits >> (begin.value() % 64) & 1) != 0;
  BlockNumber block = begin;
  while (true) {
    const uint64_t in_word = block.value() % 64;
    const uint64_t different = (is_set ? ~bits : bits) >> in_word;
    if (different != 0) {
      const BlockNumber found = block + static_cast<uint64_t>(std::countr_zero(different));
      return {is_set, std::min(found, end)};
    }
    block += 64 - in_word;
    if (!is_set && block < end && !is_touched(page_of(block))) {
      block = BlockNumber((page_of(block) + 1) * kBlocksPerPage);
    }
    if (block >= end) {
      return {is_set, end};
    }
    bits = load_word(block);
  }
}

uint64_t SessionBitmap::count_set(BlockNumber end) const {
  uint64_t count = 0;
  for (BlockNumber block(0); block < end;) {
    const BitRun run = run_at(block, end);
    count += run.is_set ? run.end - block : 0;
    block = run.end;
  }
  return count;
}

Result<void> SessionBitmap::set(BlockNumber begin, BlockNumber end) {
  BlockNumber block = begin;
  while (block < end) {
    const uint64_t in_word = block.value() % 64;
    const uint64_t count = std::min<uint64_t>(64 - in_word, end - block);
    const uint64_t mask = (count == 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1) << in_word;
    if ((word(block).load(std::memory_order_acquire) & mask) != mask) {
      std::atomic<uint32_t>& state = states_[page_of(block)];
      // Whoever sees the new bits writes without setting any, and may flush
      // before the mark below is made: the page counts as dirty from now on.
      state.fetch_add(kSetter, std::memory_order_acq_rel);
      const Result<void> done = set_in_word(block, mask);
      // After the bits, so that a flush which takes the mark also sees them.
      state.fetch_or(kTouched | kDirty, std::memory_order_acq_rel);
      state.fetch_sub(kSetter, std::memory_order_acq_rel);
      UNIONFS_TRY(done);
    }
    block += count;
  }
  return {};
}

Result<void> SessionBitmap::set_in_word(BlockNumber block, uint64_t mask) {
  if (is_shared_) {
    word(block).fetch_or(mask, std::memory_order_acq_rel);
    return {};
  }
  const uint64_t index = block.value() / 64;
  const MutexLock lock(word_mutexes_[index % word_mutexes_.size()]);
  const uint64_t value = word(block).load(std::memory_order_acquire) | mask;
  // First in the file: whoever sees a bit may acknowledge a write that relies on it.
  UNIONFS_TRY(
      upper_->write(live_.offset + index * sizeof(value), std::as_bytes(std::span(&value, 1))));
  word(block).fetch_or(mask, std::memory_order_acq_rel);
  return {};
}

Result<void> SessionBitmap::reserve(BlockNumber begin, BlockNumber end) {
  for (uint64_t page = page_of(begin); page <= page_of(end - 1); ++page) {
    if (is_touched(page)) {
      continue;
    }
    const MutexLock lock(reserve_mutex_);
    if (is_touched(page)) {
      continue;
    }
    for (const FileRange& section : {durable_, live_}) {
      // Zeros over a hole: takes the space now, on every host, and leaves no
      // unwritten extents to be converted under a sync.
      UNIONFS_TRY(
          zero_bytes(*upper_, section.offset + page * kPageBytes, kPageBytes, ZeroWay::kWrite));
    }
    touched_pages_.fetch_add(1, std::memory_order_release);
    states_[page].fetch_or(kTouched, std::memory_order_release);
  }
  return {};
}

std::vector<SessionBitmap::DirtyPage> SessionBitmap::take_dirty() {
  // Room first: where there is no memory, no page may be marked clean.
  std::vector<DirtyPage> pages;
  for (uint64_t page = 0; page < states_.size(); ++page) {
    const uint32_t state = states_[page].load(std::memory_order_acquire);
    if ((state & kDirty) != 0 || state >= kSetter) {
      pages.push_back({page, std::vector<std::byte>(kPageBytes)});
    }
  }
  for (DirtyPage& page : pages) {
    states_[page.index].fetch_and(~uint32_t{kDirty}, std::memory_order_acq_rel);
    const BlockNumber first(page.index * kBlocksPerPage);
    for (uint64_t i = 0; i < kPageBytes / 8; ++i) {
      const uint64_t value = word(first + i * 64).load(std::memory_order_acquire);
      std::memcpy(page.bytes.data() + i * 8, &value, sizeof(value));
    }
  }
  return pages;
}

Result<void> SessionBitmap::write_durable(const std::vector<DirtyPage>& pages) {
  for (const DirtyPage& page : pages) {
    UNIONFS_TRY(upper_->write(durable_.offset + page.index * kPageBytes, page.bytes));
  }
  return {};
}

Result<std::unique_ptr<MappedRegion>> SessionBitmap::copy_of_mapping() const {
  if (!is_shared_) {
    return std::unique_ptr<MappedRegion>();
  }
  UNIONFS_ASSIGN(auto memory, ZeroedMemory::take(region_->bytes().size()));
  auto* copy = reinterpret_cast<uint64_t*>(memory->bytes().data());
  constexpr uint64_t kWordsPerPage = kPageBytes / sizeof(uint64_t);
  for (uint64_t page = 0; page < states_.size(); ++page) {
    for (uint64_t i = page * kWordsPerPage; is_touched(page) && i < (page + 1) * kWordsPerPage;
         ++i) {
      copy[i] = words_[i].load(std::memory_order_acquire);
    }
  }
  return std::unique_ptr<MappedRegion>(std::move(memory));
}

std::unique_ptr<MappedRegion> SessionBitmap::leave_file(std::unique_ptr<MappedRegion> copy) {
  if (copy != nullptr) {
    region_.swap(copy);
    words_ = reinterpret_cast<std::atomic<uint64_t>*>(region_->bytes().data());
  }
  is_shared_ = false;
  upper_ = nullptr;
  return copy;
}

void SessionBitmap::put_back(const std::vector<DirtyPage>& pages) {
  for (const DirtyPage& page : pages) {
    states_[page.index].fetch_or(kDirty, std::memory_order_acq_rel);
  }
}

}  // namespace unionfs
