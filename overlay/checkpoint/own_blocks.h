// SPDX-License-Identifier: BSD-3-Clause
//
// Which blocks an own inode owns.  The merged tree of a changed inode and its
// lower tree are walked side by side: a used block falls through if and only if
// it is the lower's, in the lower's role, and nothing was ever written to it.
#ifndef UNIONFS_OVERLAY_CHECKPOINT_OWN_BLOCKS_H
#define UNIONFS_OVERLAY_CHECKPOINT_OWN_BLOCKS_H

#include <map>
#include <set>

#include "fsparse/inode.h"
#include "fsparse/paired_walk.h"
#include "overlay/checkpoint/layer_sources.h"
#include "overlay/host/staged_file.h"

namespace unionfs {

// What the new layer owns and whites out.
struct LayerSets {
  // Begins as the old layer's.
  explicit LayerSets(const LayerSources& from);

  InodeSet own_inodes;
  BlockSet own_blocks;
  InodeSet inode_whiteouts;
  BlockSet block_whiteouts;
  std::map<BlockNumber, TranslatedBlock> translated;
  std::map<BlockNumber, KeptXattr> kept_xattrs;
};

// Which blocks inodes have that were looked at in this checkpoint, and had before.
struct BlockClaims {
  // Begins with the blocks that freed inodes gave up.
  BlockClaims(const Layout& layout, const BlockSet& given_up) : now(layout), before(given_up) {}

  BlockSet now;                  // of inodes that are formed
  std::set<BlockNumber> xattrs;  // of these, the xattr blocks, which may be shared
  BlockSet before;               // of inodes that are formed or were freed
};

// An own inode of the new layer.
struct OwnInode {
  InodeRecord record;       // the merged image's
  SlotPointers pointers;    // the layer's: none where a block falls through
  uint64_t own_blocks = 0;  // the xattr block among them
  // A block of the lower's file would show through a hole, as far as was known when the
  // holes were looked at.
  bool has_doubtful_holes = false;
};

// Makes the blocks of `record` the layer's own, or lets them fall through.  The
// new layer's indirect blocks, and content that does not lie in the upper yet,
// go to the stage; a directory's is formed later.  The xattr block is only counted.
Result<OwnInode> own_file_blocks(const LayerSources& from, InodeRecord record, LayerSets& sets,
                                 BlockClaims& claims, StagedFile& stage);
// The same once more, of an inode whose blocks must not fall through any more, because it
// was whited out since.
Result<OwnInode> own_file_blocks_again(const LayerSources& from, InodeRecord record,
                                       LayerSets& sets, BlockClaims& claims, StagedFile& stage);
// Whether nothing of the lower's file shows through the holes of `record`, which may fall
// through.
Result<bool> keeps_holes(const LayerSources& from, const InodeRecord& record,
                         const LayerSets& sets);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECKPOINT_OWN_BLOCKS_H
