// SPDX-License-Identifier: BSD-3-Clause
//
// What the numbers of owners and groups mean: an image's /etc/passwd and /etc/group.
#ifndef UNIONFS_OVERLAY_REBASE_OWNER_NAMES_H
#define UNIONFS_OVERLAY_REBASE_OWNER_NAMES_H

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "overlay/rebase/side_tree.h"

namespace unionfs {

// A value.  The first line counts where a name or a number has several, as for getpwnam(3).
struct OwnerNames {
  std::map<uint32_t, std::string> names;    // by number
  std::map<std::string, uint32_t> numbers;  // by name

  std::optional<std::string> name_of(uint32_t number) const;
  std::optional<uint32_t> number_of(const std::string& name) const;
};

// Of "/etc/passwd" or "/etc/group"; lines that say no name and number are passed over.  Empty
// where there is no such file, or where it is larger than 4 MiB.
Result<OwnerNames> read_owner_names(SideTree& tree, const std::string& path);

// A number that means something else in the new lower.
struct MovedOwner {
  uint32_t number = 0;
  std::string old_name;                 // in the old lower
  std::optional<std::string> new_name;  // that the number has in the new lower
  std::optional<uint32_t> new_number;   // that the old name has in the new lower
};

// Whether the new lower calls the number otherwise, or the name has another number there.
std::optional<MovedOwner> moved_owner(const OwnerNames& before, const OwnerNames& after,
                                      uint32_t number);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_REBASE_OWNER_NAMES_H
