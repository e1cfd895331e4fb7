// SPDX-License-Identifier: BSD-3-Clause
//
// Extended attributes as bytes: which of them go into the inode's own record and which into a
// block, and how the two look.  Source of the hashes: the kernel's fs/ext4/xattr.c.
#ifndef UNIONFS_FSPARSE_XATTR_FORM_H
#define UNIONFS_FSPARSE_XATTR_FORM_H

#include <cstdint>
#include <optional>
#include <vector>

#include "fsparse/image.h"
#include "fsparse/xattr.h"

namespace unionfs {
namespace ext2 {

// Inodes that share a block, at most: the kernel makes no more (EXT4_XATTR_REFCOUNT_MAX).
constexpr uint32_t kMaxXattrReferences = 1024;

}  // namespace ext2

struct PlacedAttributes {
  std::vector<Attribute> in_inode;
  std::vector<Attribute> in_block;  // in the order that a block has them in
};

// `room_in_inode` are the bytes of the record behind its extra fields, 0 to 4096.  Each
// attribute goes into the record if there is still room, or else into the block: first in the
// given order, and where that does not fit, the largest first.  None: they do not fit.
std::optional<PlacedAttributes> place_attributes(const std::vector<Attribute>& attributes,
                                                 uint64_t room_in_inode, uint32_t block_size_bytes);

// Fills the room behind the extra fields of a record, which is zeros.  The attributes must fit.
void put_inode_attributes(ByteSpan room, const std::vector<Attribute>& attributes);

// The block; the attributes must fit and be in a block's order.
std::vector<std::byte> make_xattr_block(const std::vector<Attribute>& attributes,
                                        uint32_t block_size_bytes, uint32_t reference_count);

}  // namespace unionfs

#endif  // UNIONFS_FSPARSE_XATTR_FORM_H
