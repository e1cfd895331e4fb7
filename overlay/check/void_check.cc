// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/check/void_check.h"

#include <algorithm>

#include "fsparse/bitmap.h"
#include "fsparse/directory.h"
#include "fsparse/inode.h"
#include "overlay/upper/layer.h"
#include "overlay/upper/session_bitmap.h"

namespace unionfs {
namespace {

// A new upper owns the root directory and nothing else; a table or bitmap that cannot be read is
// told by the check of the layer.
class VoidCheck {
 public:
  VoidCheck(const OpenedUpper& upper, Violations& violations)
      : upper_(upper), violations_(violations) {}

  Result<void> run() {
    check_whiteouts();
    const auto layer = Layer::load(upper_.volume, *upper_.geometry, upper_.tables);
    if (!layer) {
      return is_of_the_upper(layer.error()) ? Result<void>() : Failure(layer.error());
    }
    check_inodes(*layer);
    return violations_.take(check_root());
  }

 private:
  // An appended group releases the resize inode in a new upper, too.
  void check_whiteouts() {
    const auto& released = upper_.geometry->released();
    if (upper_.tables.block_whiteouts != released) {
      violations_.add("is void, and whites out blocks that a new upper does not");
    }
    for (const InodeRange& range : upper_.tables.inode_whiteouts) {
      for (InodeNumber inode = range.begin; inode < range.end; ++inode) {
        if (inode.value() != ext2::kResizeInode || released.empty()) {
          violations_.add("is void, and whites out inode {}", inode);
        }
      }
    }
  }

  void check_inodes(const Layer& layer) {
    const Layout& layout = upper_.geometry->merged();
    for (uint32_t number = 0; number < layout.group_count(); ++number) {
      const uint64_t first = uint64_t{number} * layout.inodes_per_group + 1;
      for_each_set_bit(layer.own_inodes().of(GroupNumber(number)), layout.inodes_per_group,
                       [&](uint64_t bit) {
                         const InodeNumber inode(static_cast<uint32_t>(first + bit));
                         if (inode != kRootDirectory) {
                           violations_.add("is void, and owns inode {}", inode);
                         }
                       });
    }
  }

  Result<void> check_root() {
    UNIONFS_ASSIGN(const InodeRecord root, read_inode(upper_.volume, kRootDirectory));
    if (root.is_opaque()) {
      violations_.add("is void, and its root directory is opaque");
    }
    UNIONFS_ASSIGN(const auto entries, read_directory(upper_.volume, root));
    for (const NamedEntry& entry : entries) {
      if (entry.kind != EntryKind::kFallthru && entry.name != "." && entry.name != "..") {
        violations_.add("is void, and has a name of its own, {}", quoted_name(entry.name));
      }
    }
    return {};
  }

  const OpenedUpper& upper_;
  Violations& violations_;
};

}  // namespace

Result<void> check_void(const OpenedUpper& upper, Violations& violations) {
  return VoidCheck(upper, violations).run();
}

void check_freeze_id(const StateArea& area, Violations& violations) {
  const auto& id = area.freeze_id;
  const bool has_id = std::any_of(id.begin(), id.end(), [](uint8_t byte) { return byte != 0; });
  if (area.is_frozen() && !has_id) {
    violations.add("is frozen without an id, so nothing can know that it stands on it");
  }
}

Result<void> check_session_bits(const OpenedUpper& upper, FileRange section, const char* what,
                                Violations& violations) {
  UNIONFS_ASSIGN(const auto bitmap, SessionBitmap::open_for_reading(*upper.file, section));
  const BlockNumber end(upper.geometry->merged().block_count);
  const uint64_t past_end =
      bitmap->count_set(BlockNumber(section.length * 8)) - bitmap->count_set(end);
  if (past_end > 0) {
    violations.add("the {} has bits of {} blocks past the last one, {}", what, past_end, end - 1);
  }
  return {};
}

}  // namespace unionfs
