// SPDX-License-Identifier: BSD-3-Clause
//
// A file with changes that are not made yet: what a checkpoint is going to
// write, readable as if it were there, so that the new layer can be proven
// before a byte of the old one is touched.
#ifndef UNIONFS_OVERLAY_HOST_STAGED_FILE_H
#define UNIONFS_OVERLAY_HOST_STAGED_FILE_H

#include <map>
#include <string>
#include <vector>

#include "overlay/host/file.h"

namespace unionfs {

// Pages of the base file that have been replaced.  Reading is thread-safe while
// nothing is staged.  Refers to the base, which must outlive it.
class StagedFile final : public File {
 public:
  // Granule of replacement; offsets and lengths of write() need not follow it.
  static constexpr uint64_t kPageBytes = 1024;

  explicit StagedFile(const File& base) : base_(base), size_bytes_(base.size_bytes()) {}

  // Replaced pages by offset, ascending.
  const std::map<uint64_t, std::vector<std::byte>>& pages() const { return pages_; }

  const std::string& name() const override { return base_.name(); }
  uint64_t size_bytes() const override { return size_bytes_; }
  Result<void> read(uint64_t offset, ByteSpan buffer) const override;
  size_t read_cached(uint64_t, ByteSpan) const override { return 0; }
  int descriptor() const override { return -1; }
  FileExtent extent_at(uint64_t) const override { return {false, size_bytes_}; }
  void prefetch(uint64_t, uint64_t) const override {}
  Result<void> write(uint64_t offset, ConstByteSpan bytes) override;
  Result<void> resize(uint64_t size_bytes) override;
  // A stage holds bytes, nothing else.
  Result<void> punch(uint64_t, uint64_t) override { return refused(); }
  Result<void> zero_range(uint64_t, uint64_t) override { return refused(); }
  Result<void> allocate(uint64_t, uint64_t) override { return refused(); }
  Result<void> sync() override { return refused(); }
  Result<std::unique_ptr<MappedRegion>> map(uint64_t, uint64_t) override { return refused(); }

 private:
  static Failure refused() { return invalid("a staged file cannot do this"); }
  Result<void> read_base(uint64_t offset, ByteSpan buffer) const;

  const File& base_;
  uint64_t size_bytes_;
  std::map<uint64_t, std::vector<std::byte>> pages_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_HOST_STAGED_FILE_H
