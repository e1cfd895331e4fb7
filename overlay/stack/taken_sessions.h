// SPDX-License-Identifier: BSD-3-Clause
//
// What stands on frozen sessions, as an upper that has taken them over: its file as a checkpoint
// would find it, without a block being copied.  For looking.
#ifndef UNIONFS_OVERLAY_STACK_TAKEN_SESSIONS_H
#define UNIONFS_OVERLAY_STACK_TAKEN_SESSIONS_H

#include <memory>
#include <vector>

#include "overlay/disk.h"
#include "overlay/host/staged_file.h"

namespace unionfs {

// Stands on the layer below all sessions, and is neither void nor frozen.  Its bytes come from the
// upper's file, and the blocks of the frozen sessions from the disk's view, at the homes that they
// would be copied to.  Thread-safe.  Refers to the disk and its file.
class TakenSessions final : public WritableFile {
 public:
  // `disk` is void, and attached for reading; `upper` is its file.
  static Result<std::unique_ptr<TakenSessions>> make(const Disk& disk, const ReadableFile& upper);

  const std::string& name() const override { return gathered_.name(); }
  uint64_t size_bytes() const override { return gathered_.size_bytes(); }
  Result<void> read(uint64_t offset, ByteSpan buffer) const override {
    return stage_->read(offset, buffer);
  }

  // Nothing can be changed: kSystem with EROFS.
  Result<void> write(uint64_t offset, ConstByteSpan bytes) override;
  Result<void> punch(uint64_t offset, uint64_t length) override;
  Result<void> zero_range(uint64_t offset, uint64_t length) override;
  Result<void> allocate(uint64_t offset, uint64_t length) override;
  Result<void> resize(uint64_t size_bytes) override;
  Result<void> sync() override { return {}; }
  bool overwrites_in_place() const override { return true; }
  Result<std::unique_ptr<MappedRegion>> map(uint64_t offset, uint64_t length) override;

 private:
  // The file with the sessions' blocks and bits; its header is still the old one.
  class Gathered final : public ReadableFile {
   public:
    Gathered(const Disk& disk, const ReadableFile& upper);

    const std::string& name() const override { return upper_.name(); }
    uint64_t size_bytes() const override { return upper_.size_bytes(); }
    Result<void> read(uint64_t offset, ByteSpan buffer) const override;

   private:
    // What lies at an offset.
    struct Piece {
      enum class Kind : uint8_t { kFile, kBlock, kBits };
      Kind kind = Kind::kFile;
      uint64_t end = 0;   // of what is of this kind
      BlockNumber block;  // whose home it is, of kBlock
      uint64_t skip = 0;  // bytes before the offset in that block
    };

    Piece piece_at(uint64_t offset) const;
    Piece home_in_state_area(uint64_t offset) const;
    bool is_taken(BlockNumber block) const;

    const MergedView& view_;
    const Geometry& geometry_;
    const StateArea& area_;
    const ReadableFile& upper_;
    const uint32_t block_size_;
    std::vector<std::byte> bits_;  // of all sessions
  };

  TakenSessions(const Disk& disk, const ReadableFile& upper) : gathered_(disk, upper) {}
  Result<void> refuse() const;

  const Gathered gathered_;
  std::unique_ptr<StagedFile> stage_;  // with the new header
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_STACK_TAKEN_SESSIONS_H
