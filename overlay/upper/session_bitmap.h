// SPDX-License-Identifier: BSD-3-Clause
//
// One bit per merged block: "written in this session, raw".  The bits live in
// memory shared with the upper (the live bitmap), so they outlive this process;
// flushes copy pages that gained bits to the durable bitmap, which outlives a
// power loss.  Bits are only ever set.
//
// Where the host copies on write (Btrfs, XFS with its reflinks), a store into shared memory
// may need space, and ends the process if there is none.  There each new bit is written to
// the live bitmap before it shows in memory.  That takes a lock and a microsecond or two.
#ifndef UNIONFS_OVERLAY_UPPER_SESSION_BITMAP_H
#define UNIONFS_OVERLAY_UPPER_SESSION_BITMAP_H

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "fsparse/numbers.h"
#include "overlay/host/file.h"
#include "overlay/host/mutex.h"
#include "overlay/upper/state_area.h"

namespace unionfs {

// Thread-safe, but for the static makers.  Tests are wait-free, and so are sets in shared
// memory; only the first bit in a page of 32768 blocks takes a lock, to reserve the page's
// space.
class SessionBitmap {
 public:
  // No bit is set, nor ever will be.
  static std::unique_ptr<SessionBitmap> make_empty(uint64_t size_bytes);
  // For reading only: a copy of the bits of `source`, whichever of the two sections that
  // is; nothing is ever written.  It is no shared memory, because somebody else may cut the
  // file meanwhile.
  static Result<std::unique_ptr<SessionBitmap>> open_for_reading(const ReadableFile& upper,
                                                                 FileRange source);
  // For writing.  The live section is believed (`live_is_current`), or made
  // anew from the durable one.
  static Result<std::unique_ptr<SessionBitmap>> open_for_writing(WritableFile& upper,
                                                                 FileRange live, FileRange durable,
                                                                 bool live_is_current);

  bool test(BlockNumber block) const { return (load_word(block) >> (block.value() % 64) & 1) != 0; }

  // The longest stretch from `begin` (< end) on, within [begin, end), whose
  // bits were all the same when looked at.  Bits said to be set stay so; bits
  // said to be clear may have been set meanwhile.  Never empty.
  struct BitRun {
    bool is_set = false;
    BlockNumber end;
  };
  BitRun run_at(BlockNumber begin, BlockNumber end) const;

  // How many bits are set in [0, end).
  uint64_t count_set(BlockNumber end) const;

  // Sets the bits of [begin, end).  Their space must have been reserved; a host that copies on
  // write may lack it all the same.  After an error some of the first bits may be set.
  Result<void> set(BlockNumber begin, BlockNumber end);
  // Reserves the space of both bitmaps' pages for [begin, end), so that no
  // acknowledged write can lack the space for its bit.
  Result<void> reserve(BlockNumber begin, BlockNumber end) UNIONFS_EXCLUDES(reserve_mutex_);

  // How many of its pages have a bit, or had space reserved for one.
  uint64_t touched_page_count() const { return touched_pages_.load(std::memory_order_relaxed); }

  bool is_empty() const { return touched_pages_.load(std::memory_order_acquire) == 0; }

  // Copies of the pages that gained bits since the last take; marks them clean.
  struct DirtyPage {
    uint64_t index = 0;
    std::vector<std::byte> bytes;
  };
  std::vector<DirtyPage> take_dirty();
  // Writes the copies to the durable bitmap.
  Result<void> write_durable(const std::vector<DirtyPage>& pages);
  // After a failure: they are dirty again.
  void put_back(const std::vector<DirtyPage>& pages);

  // Once no bit will be set any more: memory of our own with the same bits; nullptr where it is
  // that already.
  Result<std::unique_ptr<MappedRegion>> copy_of_mapping() const;
  // Takes such a copy, if there is one, in the place of the mapping, lets the file go, and gives
  // the mapping.  Must not run beside any other method, and no bit may be set any more.
  std::unique_ptr<MappedRegion> leave_file(std::unique_ptr<MappedRegion> copy);

 private:
  // Bits, and from kSetter on the number of threads that are setting bits.
  enum PageState : uint32_t { kUntouched = 0, kTouched = 1, kDirty = 2, kSetter = 4 };

  SessionBitmap(WritableFile* upper, FileRange durable, std::unique_ptr<MappedRegion> region);

  static uint64_t page_of(BlockNumber block) { return block.value() / kBlocksPerPage; }
  bool is_touched(uint64_t page) const {
    return states_[page].load(std::memory_order_acquire) != kUntouched;
  }
  // The word of the block; 0, without a look, in a page nothing was written to.
  uint64_t load_word(BlockNumber block) const {
    return is_touched(page_of(block)) ? word(block).load(std::memory_order_acquire) : 0;
  }
  std::atomic<uint64_t>& word(BlockNumber block) const { return words_[block.value() / 64]; }

  Result<void> find_touched(const ReadableFile& upper, FileRange section, uint32_t state);
  Result<void> copy_from_durable(FileRange live);
  Result<void> copy_to_memory(const ReadableFile& upper, FileRange source, uint32_t state);
  Result<void> set_in_word(BlockNumber block, uint64_t mask);

  static constexpr uint64_t kBlocksPerPage = upper_format::kPageBytes * 8;

  WritableFile* upper_;  // nullptr where no bit will ever be set
  FileRange live_;
  FileRange durable_;
  std::unique_ptr<MappedRegion> region_;  // the live bitmap itself, or a copy of one
  bool is_shared_ = false;                // the former
  std::atomic<uint64_t>* words_;
  std::vector<std::atomic<uint32_t>> states_;  // per page, PageState
  std::atomic<uint64_t> touched_pages_{0};
  Mutex reserve_mutex_;  // one thread at a time reserves the space of a page
  // One thread at a time writes a word, or an older value of it could be written last.
  std::array<Mutex, 64> word_mutexes_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_UPPER_SESSION_BITMAP_H
