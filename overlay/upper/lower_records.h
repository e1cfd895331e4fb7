// SPDX-License-Identifier: BSD-3-Clause
//
// What the lower was like where a layer depends on it, so that another lower with
// the same superblock is told from it.  docs/design.md says what is covered and why.
#ifndef UNIONFS_OVERLAY_UPPER_LOWER_RECORDS_H
#define UNIONFS_OVERLAY_UPPER_LOWER_RECORDS_H

#include <vector>

#include "fsparse/volume.h"
#include "overlay/upper/state_area.h"
#include "overlay/upper/upper_format.h"

namespace unionfs {

using upper_format::Digest;

// An inode that the lower uses, and that the layer owns or whites out.
struct LowerInode {
  InodeNumber inode;
  uint32_t flags = 0;  // upper_format::kLowerInode...
  Digest metadata = {};
  Digest content = {};

  bool operator==(const LowerInode&) const = default;
};

// A group of the lower in which the layer owns or whites out anything.
struct LowerGroup {
  GroupNumber group;
  Digest bitmaps = {};

  bool operator==(const LowerGroup&) const = default;
};

// An xattr block of the lower of which only the count is the layer's.
struct LowerXattr {
  BlockNumber block;
  Digest content = {};

  bool operator==(const LowerXattr&) const = default;
};

struct LowerRecords {
  std::vector<LowerInode> inodes;  // ascending by inode
  std::vector<LowerGroup> groups;  // ascending by group
  std::vector<LowerXattr> xattrs;  // ascending by block

  bool operator==(const LowerRecords&) const = default;
};

// nullptr if there is none.
const LowerInode* find_record(const LowerRecords& records, InodeNumber inode);
const LowerGroup* find_record(const LowerRecords& records, GroupNumber group);
const LowerXattr* find_record(const LowerRecords& records, BlockNumber block);

std::vector<std::byte> encode_lower_records(const LowerRecords& records);
// Checks every number against the lower's layout, and nothing against its bytes.
// Memory follows what was found to be good.
Result<LowerRecords> read_lower_records(const Image& upper, FileRange range, const Layout& lower);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_UPPER_LOWER_RECORDS_H
