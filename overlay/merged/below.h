// SPDX-License-Identifier: BSD-3-Clause
//
// What a layer stands on: the lower image, or the merged image of another layer.
//
// A layer asks by items (one inode, one block of pointers, one name, one bitmap)
// and takes whole blocks only where they fall through as they are.  Composing a
// block to get one item out of it would multiply: a block of 32 inodes asks for
// 32 items, and each of these would be a composed block of the level below.
// docs/stacks.md does the sum.
#ifndef UNIONFS_OVERLAY_MERGED_BELOW_H
#define UNIONFS_OVERLAY_MERGED_BELOW_H

#include <memory>
#include <optional>
#include <vector>

#include "fsparse/block_map.h"
#include "fsparse/directory.h"
#include "fsparse/inode.h"
#include "fsparse/volume.h"
#include "overlay/geometry/geometry.h"
#include "overlay/host/file.h"
#include "overlay/upper/parent.h"

namespace unionfs {

class BatchReader;
class FlatRuns;
class LayerOverLower;

// An indirect block that an inode has, and the pointers in it; none for a hole.
struct PointerBlock {
  BlockNumber block;
  std::vector<ClaimedBlock> pointers;
};

// What a name stands for.
struct NameBelow {
  InodeNumber inode;
  uint8_t file_type = 0;  // ext2::kFileType...; unknown in an image that keeps no types
};

// The names of one directory, asked for by the entries of one block of the layer
// above.  One thread.  Refers to the Below it is from.
class NamesBelow {
 public:
  virtual ~NamesBelow() = default;
  // `wanted` is the entry of the layer above: its name counts, and its place in the
  // block is where the same name mostly lies here too.  Nothing if there is no such
  // name.
  virtual Result<std::optional<NameBelow>> find(const EntryView& wanted) = 0;
};

// Immutable; thread-safe.  All numbers given must be inside this image's layout;
// what an image's bytes say is checked, and an error names image and number.
class Below {
 public:
  virtual ~Below() = default;

  // The whole image, for blocks that fall through: at their own offset.
  virtual const ReadableFile& file() const = 0;
  // The same as an ext2 image: superblock, layout, places of the groups.
  virtual const Volume& volume() const = 0;

  // What a layer above records of it: nothing of a plain image or of a layer that may change.
  virtual LevelIdentity identity() const { return {}; }
  // Of this image and all that is below it.
  virtual upper_format::Digest chain_digest() const = 0;

  // The layer whose merged image this is; nullptr for a plain image.
  virtual const LayerOverLower* layer() const { return nullptr; }
  // For reads of several ranges at once, by all that stands on it.  Thread-safe.
  virtual BatchReader& reader() const = 0;
  // Where its blocks lie in the files of all levels; nullptr for a plain image, whose blocks
  // lie in file() at their own offset.
  virtual const FlatRuns* flat_runs() const { return nullptr; }

  // Of the merged image of a new upper over this one, in bytes: room is made once, above the
  // plain image.
  uint64_t default_merged_size() const {
    return layer() != nullptr ? layout().size_bytes() : Geometry::default_size_bytes(layout());
  }

  const std::string& name() const { return volume().name(); }
  const Layout& layout() const { return volume().layout(); }

  // The group's bitmap; `out` is one block.  Bits behind the image's end mean nothing.
  virtual Result<void> used_blocks(GroupNumber group, ByteSpan out) const = 0;
  virtual Result<void> used_inodes(GroupNumber group, ByteSpan out) const = 0;
  // The inode's record, used or not.
  virtual Result<InodeRecord> inode_at(InodeNumber inode) const = 0;
  // The indirect block in that role (level > 0) of a regular file; nothing where the file
  // has none, and where the inode is no regular file here.
  virtual Result<std::optional<PointerBlock>> pointers_at(InodeNumber inode,
                                                          BlockRole role) const = 0;
  // The names of a directory; kCorrupt where the inode is none.  They are going to be
  // asked for by a block that the layer above has as block `file_block` of it.
  virtual Result<std::unique_ptr<NamesBelow>> names_of(InodeNumber directory, BlockNumber block,
                                                       FileBlock file_block) const = 0;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_MERGED_BELOW_H
