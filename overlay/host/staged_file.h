// SPDX-License-Identifier: BSD-3-Clause
//
// A file with changes that are not made yet: what a checkpoint is going to
// write, readable as if it were there, so that the new layer can be proven
// before a byte of the old one is touched.
#ifndef UNIONFS_OVERLAY_HOST_STAGED_FILE_H
#define UNIONFS_OVERLAY_HOST_STAGED_FILE_H

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "overlay/host/file.h"

namespace unionfs {

// Holds the pages of a file that are replaced, in memory, and reads the others
// from the file, which must outlive it.  Never writes to the file.
//
// Safe for concurrent reading by multiple threads while no thread calls write(),
// show(), show_zeros() or resize().
class StagedFile final : public ReadableFile, public ByteSink {
 public:
  // Granule of replacement.  Offsets and lengths of write() need not follow it.
  static constexpr uint64_t kPageBytes = 1024;

  explicit StagedFile(const ReadableFile& base) : base_(base), size_bytes_(base.size_bytes()) {}

  // Replaced pages by offset, ascending.
  const std::map<uint64_t, std::vector<std::byte>>& pages() const { return pages_; }

  const std::string& name() const override { return base_.name(); }
  uint64_t size_bytes() const override { return size_bytes_; }
  Result<void> read(uint64_t offset, ByteSpan buffer) const override;

  // Replaces the bytes; fails only when the rest of a page cannot be read.
  Result<void> write(uint64_t offset, ConstByteSpan bytes) override;
  // Replaces `length` bytes at `offset` by those that the file has at `source`,
  // without reading them.  Ranges come in ascending order, do not overlap, and
  // come before anything is written.
  void show(uint64_t offset, uint64_t length, uint64_t source);
  // Replaces them by zeros.  The same order of ranges holds for both.
  void show_zeros(uint64_t offset, uint64_t length);
  // Past the end of the file the stage reads as zeros.
  void resize(uint64_t size_bytes) { size_bytes_ = size_bytes; }

 private:
  struct Elsewhere {
    uint64_t offset = 0;
    uint64_t length = 0;
    std::optional<uint64_t> source;  // offset in the base; nothing: zeros
  };

  Result<void> read_base(uint64_t offset, ByteSpan buffer) const;
  Result<void> read_elsewhere(uint64_t offset, ByteSpan buffer) const;
  void add_elsewhere(const Elsewhere& range);

  const ReadableFile& base_;
  uint64_t size_bytes_;
  std::vector<Elsewhere> elsewhere_;  // ascending by offset
  std::map<uint64_t, std::vector<std::byte>> pages_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_HOST_STAGED_FILE_H
