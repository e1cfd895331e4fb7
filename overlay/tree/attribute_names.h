// SPDX-License-Identifier: BSD-3-Clause
//
// Extended attributes as system calls and archives name and write them, and as ext2 stores them.
// Names differ by their prefix, and ACLs by their bytes: the kernel's interface has 8 bytes for
// each entry (struct posix_acl_xattr_entry, version 2), ext2 has 4 where an entry has no id
// (struct ext2_acl_entry_short, version 1).
#ifndef UNIONFS_OVERLAY_TREE_ATTRIBUTE_NAMES_H
#define UNIONFS_OVERLAY_TREE_ATTRIBUTE_NAMES_H

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fsparse/xattr.h"

namespace unionfs {

// "user.colour", "system.posix_acl_access", "security.capability", ...
struct NamedAttribute {
  std::string name;
  std::vector<std::byte> value;

  bool operator==(const NamedAttribute&) const = default;
};

// As ext2 stores it.  None: ext2 has no place for names of this kind.  kInvalid for an ACL that
// is none.
Result<std::optional<Attribute>> stored_attribute(std::string_view name, ConstByteSpan value);

// kInvalid for a kind that has no name, and for an ACL that is none.
Result<NamedAttribute> named_attribute(const Attribute& attribute);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_TREE_ATTRIBUTE_NAMES_H
