// SPDX-License-Identifier: BSD-3-Clause
//
// Whether a lower is what the records of a layer say: record by record, so that the
// caller decides how many of them an opening waits for.
#ifndef UNIONFS_OVERLAY_UPPER_LOWER_COMPARISON_H
#define UNIONFS_OVERLAY_UPPER_LOWER_COMPARISON_H

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "overlay/upper/layer.h"
#include "overlay/upper/lower_digest.h"

namespace unionfs {

// Thread-safe.  Refers to all of it.
class LowerComparison {
 public:
  // `upper` is the layer's ext2 part.
  LowerComparison(const Volume& lower, const Volume& upper, const Layer& layer,
                  const LowerRecords& records, const std::atomic<bool>& is_cancelled);

  // Records are numbered from 0.
  uint32_t count() const;
  // The inode that the record is of; nothing where it is of a group, or of an xattr block.
  std::optional<InodeNumber> inode_of(uint32_t index) const;
  // The record of an inode; nothing if there is none.
  std::optional<uint32_t> index_of(InodeNumber inode) const;
  // About how many bytes compare() reads.
  Result<uint64_t> cost_bytes(uint32_t index) const;
  // kInvalid if the lower is another one; the message says what differs, by its path.
  Result<void> compare(uint32_t index) const;
  // All of them, and whether there is one of everything that needs one: if not, the
  // upper is kCorrupt.
  Result<void> compare_all() const;

 private:
  Result<void> compare_inode(const LowerInode& record) const;
  Result<void> differs(const std::string& difference) const;
  std::string name_of(const LowerInode& record) const;

  const Volume& lower_;
  const Volume& upper_;
  const Layer& layer_;
  const LowerRecords& records_;
  const LowerDigests digests_;
  const std::atomic<bool>& is_cancelled_;
};

// What an opening does not wait for: the rest of the records, which somebody has to
// compare in the background.
//
// Compares all of up to 1,000 records, or 64 at random of more, as long as they read
// at most 16 MiB, and but for those of large inodes that `can_wait` holds for.  kInvalid as
// compare() has it.
Result<std::vector<uint32_t>> compare_some(const LowerComparison& comparison,
                                           const std::function<bool(InodeNumber)>& can_wait);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_UPPER_LOWER_COMPARISON_H
