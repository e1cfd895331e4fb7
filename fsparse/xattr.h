// SPDX-License-Identifier: BSD-3-Clause
//
// Extended attributes: in the inode's own record and in its xattr block.
#ifndef UNIONFS_FSPARSE_XATTR_H
#define UNIONFS_FSPARSE_XATTR_H

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fsparse/inode.h"
#include "fsparse/volume.h"

namespace unionfs {
namespace ext2 {

constexpr uint8_t kXattrIndexUser = 1;
constexpr uint8_t kXattrIndexPosixAclAccess = 2;
constexpr uint8_t kXattrIndexPosixAclDefault = 3;
constexpr uint8_t kXattrIndexTrusted = 4;
constexpr uint8_t kXattrIndexLustre = 5;
constexpr uint8_t kXattrIndexSecurity = 6;
constexpr uint8_t kXattrIndexSystem = 7;
constexpr uint8_t kXattrIndexRichAcl = 8;

}  // namespace ext2

struct Attribute {
  uint8_t name_index = 0;  // e_name_index: says the name's prefix
  std::string name;        // without the prefix; may be empty, as of an ACL
  std::vector<std::byte> value;

  // "user.colour"; an unknown prefix reads "index 9.".
  std::string full_name() const;
  bool operator==(const Attribute&) const = default;
};

// "user.", "system.posix_acl_access", ...; nothing for an unknown index.
std::optional<std::string_view> xattr_prefix(uint8_t name_index);

struct XattrBlock {
  uint32_t reference_count = 0;  // h_refcount: inodes that share the block
  std::vector<Attribute> attributes;
};

// All parsing checks every offset and size, the end mark of the list, and that
// no two values overlap, nor a value the list.  `where` begins messages.
Result<XattrBlock> parse_xattr_block(ConstByteSpan block, std::string_view where);

// The attributes in the record itself; none in a record without that part.
Result<std::vector<Attribute>> inode_attributes(const Volume& volume, const InodeRecord& inode);

// The inode's xattr block, read and checked; nothing if i_file_acl is 0.
Result<std::optional<XattrBlock>> read_xattr_block(const Volume& volume, const InodeRecord& inode);

// All attributes of the inode, those of its record first.
Result<std::vector<Attribute>> read_attributes(const Volume& volume, const InodeRecord& inode);

}  // namespace unionfs

#endif  // UNIONFS_FSPARSE_XATTR_H
