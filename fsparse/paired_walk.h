// SPDX-License-Identifier: BSD-3-Clause
//
// The block maps of two inodes walked side by side: what one image has in a
// role, and what the other one has in the same role.  Neither image knows that
// it is a layer over the other; what the pair means is the visitor's business.
#ifndef UNIONFS_FSPARSE_PAIRED_WALK_H
#define UNIONFS_FSPARSE_PAIRED_WALK_H

#include <array>
#include <span>

#include "fsparse/block_map.h"

namespace unionfs {

// i_block as block pointers, none for a hole.
using SlotPointers = std::array<ClaimedBlock, ext2::kBlockSlots>;

// All are none for an inode without a block map, whose i_block holds something else.
SlotPointers slot_pointers(const InodeRecord& inode);

// One role in both maps.
struct PairedBlock {
  BlockRole role;
  BlockNumber block;   // in the walked map
  ClaimedBlock below;  // in the other map
};

enum class PairedStep {
  kContinue,
  kSkip,  // neither visit what the block leads to nor leave() it; the pointer to it is kept
};

// What is done at each role of a paired walk.  An error that a function returns
// ends the walk and is returned.  A visitor serves one walk at a time.
class PairedVisitor {
 public:
  virtual ~PairedVisitor() = default;

  // Called before the walk goes on to what the block leads to.  The pointer to
  // the block is checked; the block may have been entered before.
  virtual Result<PairedStep> enter(const PairedBlock& place) = 0;

  // Called after everything that the block leads to was left.  `kept` are the
  // pointers in an indirect block, 0 for a hole and for each block whose leave()
  // returned false; it is empty for a data block.  Returns whether the pointer
  // to the block itself is kept.
  virtual Result<bool> leave(const PairedBlock& place, std::span<const ClaimedBlock> kept);

  // Called where the walked map has a hole and the other map has a block, which
  // is not checked.  The walk does not go on to what that block leads to.
  virtual Result<void> hole(BlockRole role, ClaimedBlock below);
};

// Walks the map of `inode` in file order.  `below` are the slots of the other
// inode, whose blocks are in `other`; both images have blocks of one size.  An
// indirect block of the other map is read only where the walked map has one in
// the same role; one outside `other` leads to nothing.
//
// Returns the slots that are kept, as leave() says; all 0 without a block map.
// Ends with an error at a wrong pointer of the walked map, at an indirect block
// that the walk goes through twice, and after more blocks than the image has.
// These two come after enter(), which may have better words for them.
//
// Memory: three levels of pointers, and the numbers of the walked map's indirect
// blocks.  Reentrant.
Result<SlotPointers> walk_paired(const Volume& volume, const InodeRecord& inode,
                                 const Volume& other, const SlotPointers& below,
                                 PairedVisitor& visitor);

}  // namespace unionfs

#endif  // UNIONFS_FSPARSE_PAIRED_WALK_H
