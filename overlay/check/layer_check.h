// SPDX-License-Identifier: BSD-3-Clause
//
// Whether an upper keeps the contract of a layer over its lower: one walk over
// what the layer owns, compared with what it says of itself.
//
//   groups    bitmaps, descriptors, superblock                 check_groups.cc
//   inodes    own inodes, their blocks, the translated table   check_inodes.cc
//   names     own directories, up from the root                check_names.cc
//   tables    whiteouts, kept counts, counters                 check_tables.cc
#ifndef UNIONFS_OVERLAY_CHECK_LAYER_CHECK_H
#define UNIONFS_OVERLAY_CHECK_LAYER_CHECK_H

#include <map>
#include <set>
#include <string>
#include <vector>

#include "fsparse/block_map.h"
#include "fsparse/directory.h"
#include "overlay/geometry/number_sets.h"
#include "overlay/merged/below.h"
#include "overlay/upper/layer.h"
#include "overlay/upper/state_area.h"

namespace unionfs {

struct CheckSources {
  const Below& below;
  const Volume& lower;  // its volume
  const Volume& upper;
  const ReadableFile& upper_file;
  const Geometry& geometry;
  const LayerTables& tables;
  const StateArea& area;
};

struct Violation {
  std::string message;
  bool can_repair = false;
};

class LayerCheck {
 public:
  explicit LayerCheck(const CheckSources& sources);

  // Finds all violations.  What can only be said of the merged image is left
  // out while the layer itself is not sound.
  void run();

  const std::vector<Violation>& violations() const { return violations_; }
  // Whether the blocks of every own inode are known; otherwise nobody can say which
  // blocks are free.
  bool has_all_blocks() const { return has_all_blocks_; }

  // What the walk found, which is what the layer ought to say.
  const BlockSet& walked_blocks() const { return claimed_; }
  const InodeSet& own_inodes() const { return own_inodes_; }
  const std::map<BlockNumber, TranslatedBlock>& translated() const { return translated_; }
  const std::map<BlockNumber, uint32_t>& xattr_users() const { return xattr_users_; }
  const std::set<BlockNumber>& missing_whiteouts() const { return missing_whiteouts_; }
  uint32_t directories_in(GroupNumber group) const;
  // Own inodes: blocks and links in the layer, and in the merged image.
  struct Counts {
    uint64_t block_count = 0;
    uint32_t links = 0;
    uint32_t merged_links = 0;
    bool is_directory = false;
  };
  const std::map<InodeNumber, Counts>& counts() const { return counts_; }
  // Merged values, computed from the merged image that the layer gives.
  Result<std::vector<KeptInode>> merged_inodes(const Volume& merged) const;
  Result<std::vector<KeptXattr>> merged_xattrs() const;
  Result<GroupCounters> merged_counters(const Volume& merged, GroupNumber group) const;
  bool is_group_touched(GroupNumber group) const;

 private:
  template <typename... Args>
  void violation(fmt::format_string<Args...> format, Args&&... args) {
    violations_.push_back({fmt::format(format, std::forward<Args>(args)...), false});
  }
  template <typename... Args>
  void mendable(fmt::format_string<Args...> format, Args&&... args) {
    violations_.push_back({fmt::format(format, std::forward<Args>(args)...), true});
  }
  void take(const Result<void>& result) {
    if (!result) {
      violations_.push_back({result.error().message, false});
    }
  }

  // check_groups.cc
  Result<void> check_group(GroupNumber group);
  void check_superblock();
  Result<void> check_free_slots(GroupNumber group);

  // check_inodes.cc
  struct Walk {
    InodeNumber inode;
    TranslatedKind data_kind = TranslatedKind::kDirectory;
    bool is_plain_data = false;
  };
  Result<void> check_inode(InodeNumber inode);
  Result<void> visit(const Walk& walk, BlockRole role, BlockNumber block, BlockNumber below,
                     uint64_t& block_count);
  Result<void> check_xattr_block(const InodeRecord& record);
  void check_claims();
  void check_translated();
  Result<void> check_xattr_counts();

  // check_names.cc
  struct Place {
    InodeNumber parent;
    std::string name;
  };
  void check_names();
  Result<void> check_directory(InodeNumber directory);
  Result<void> check_entry(InodeNumber directory, const NamedEntry& entry, bool keeps_place);
  Result<void> check_real(InodeNumber directory, const NamedEntry& entry);
  void check_links();
  Result<bool> keeps_place(InodeNumber directory);
  // Names of the lower directory of that number; nullptr if there is none.
  Result<const std::map<std::string, InodeNumber>*> lower_names(InodeNumber directory);

  // check_tables.cc
  void check_area();
  void check_features();
  Result<void> check_whiteouts();
  Result<void> check_freed_below();
  Result<void> check_merged();
  Result<void> check_counters(const Volume& merged);

  std::vector<InodeNumber> own_inode_list() const;
  const std::string& name() const { return from_.upper.name(); }

  const CheckSources from_;
  const Layout& layout_;
  mutable UsedNumbers used_below_;
  BlockSet own_blocks_;
  InodeSet own_inodes_;
  BlockSet block_whiteouts_;
  InodeSet inode_whiteouts_;
  std::vector<Violation> violations_;
  bool has_all_blocks_ = true;

  BlockSet claimed_;
  std::set<BlockNumber> claimed_xattrs_;
  std::set<BlockNumber> missing_whiteouts_;
  std::map<BlockNumber, uint32_t> xattr_users_;
  std::map<BlockNumber, TranslatedBlock> translated_;
  std::map<InodeNumber, Counts> counts_;
  std::map<InodeNumber, Place> places_;  // of directories, in the order of the walk
  std::vector<InodeNumber> directories_;
  std::map<InodeNumber, uint32_t> names_;
  std::map<InodeNumber, std::map<std::string, InodeNumber>> lower_names_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECK_LAYER_CHECK_H
