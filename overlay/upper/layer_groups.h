// SPDX-License-Identifier: BSD-3-Clause
//
// The layer's bitmaps, descriptors and superblocks, as bytes of an ext2 image.
//
// A layer with RO_COMPAT_GDT_CSUM says in the descriptor of a group in which
// nothing is its own that the group's bitmaps mean nothing, so they need not be
// written.  Their blocks are holes, or right as well: whoever does not believe
// a descriptor may read them.
#ifndef UNIONFS_OVERLAY_UPPER_LAYER_GROUPS_H
#define UNIONFS_OVERLAY_UPPER_LAYER_GROUPS_H

#include <functional>

#include "fsparse/group_checksum.h"
#include "overlay/geometry/geometry.h"
#include "overlay/geometry/group_bits.h"
#include "overlay/host/file.h"

namespace unionfs {

// Sets the bits of the group's F-blocks; bits are numbered within the group.
void set_fixed_bits(const Geometry& geometry, GroupNumber group, ByteSpan bits);
void clear_fixed_bits(const Geometry& geometry, GroupNumber group, ByteSpan bits);

// One group of a layer.  A whole block each; padding is set.
struct LayerBitmaps {
  std::vector<std::byte> blocks;
  std::vector<std::byte> inodes;
  ext2::GroupDescriptor descriptor;  // bg_used_dirs_count is 0; not finished
};
LayerBitmaps make_layer_bitmaps(const Geometry& geometry, GroupNumber group,
                                const GroupBits& own_blocks, const GroupBits& own_inodes);

// How a layer's superblock wants its descriptors.  Immutable, so thread-safe;
// refers to the geometry.
class DescriptorForm {
 public:
  DescriptorForm(const Geometry& geometry, const ext2::Superblock& layer);

  // Sets what follows from places and counters: flags and checksum.
  void finish(GroupNumber group, ext2::GroupDescriptor& descriptor) const;
  // Which bitmaps have to be written beside a finished descriptor.  `former` is
  // the group as it was, if it was there: a bitmap that it had stays right.
  struct NeededBitmaps {
    bool blocks = true;
    bool inodes = true;
  };
  static NeededBitmaps needed_bitmaps(const ext2::GroupDescriptor& descriptor, const Group* former);

 private:
  const Geometry& geometry_;
  bool has_checksums_;
  GroupChecksum checksum_;
};

// Writes the bitmaps of all groups that need them, and the descriptors and
// superblocks that count them, each with its copies.  `superblock` has
// everything but counters.  `former` are the groups that the upper had; empty
// in a new one.
Result<void> write_layer_groups(ByteSink& upper, const Geometry& geometry,
                                const GroupBits& own_blocks, const GroupBits& own_inodes,
                                const std::function<uint32_t(GroupNumber)>& used_dirs_count,
                                ext2::Superblock superblock, const std::vector<Group>& former);
// Writes these bitmaps of the group.
Result<void> write_layer_bitmaps(ByteSink& upper, const Geometry& geometry, GroupNumber group,
                                 LayerBitmaps made, DescriptorForm::NeededBitmaps needed);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_UPPER_LAYER_GROUPS_H
