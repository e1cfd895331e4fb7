// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/stack/structure_check.h"

#include <deque>

#include "fsparse/directory.h"
#include "fsparse/xattr.h"
#include "overlay/checkpoint/steady_image.h"

namespace unionfs {
namespace {

constexpr InodeNumber kResizeInode(7);

class StructureCheck {
 public:
  StructureCheck(const Volume& volume, const std::atomic<bool>& is_cancelled)
      : layout_(volume.layout()),
        steady_(volume.image(), layout_.block_size_bytes),
        volume_(volume.through(steady_)),
        is_cancelled_(is_cancelled),
        used_(volume_),
        claimed_(layout_),
        names_(layout_.inode_count() + 1),
        links_(layout_.inode_count() + 1),
        structure_(layout_) {}

  Result<Structure> run() {
    UNIONFS_TRY(look_at_inodes());
    UNIONFS_TRY(walk_directories());
    UNIONFS_TRY(check_links());
    UNIONFS_TRY(check_xattr_users());
    UNIONFS_TRY(check_groups());
    return std::move(structure_);
  }

 private:
  const std::string& name() const { return volume_.name(); }
  bool is_reserved(InodeNumber inode) const {
    return inode.value() < layout_.first_inode && inode != kRootDirectory;
  }

  Result<void> look_at_inodes() {
    for (uint64_t number = 1; number <= layout_.inode_count(); ++number) {
      const InodeNumber inode(static_cast<uint32_t>(number));
      UNIONFS_ASSIGN(const bool is_used, used_.is_used(inode));
      if (is_used) {
        UNIONFS_TRY(check_not_cancelled(is_cancelled_));
        UNIONFS_TRY(look_at(inode));
      }
    }
    return {};
  }

  Result<void> look_at(InodeNumber inode) {
    UNIONFS_ASSIGN(const InodeRecord record, read_inode(volume_, inode));
    if (is_reserved(inode) && record.raw().i_links_count == 0 && inode != kResizeInode) {
      UNIONFS_TRY(claim_blocks(record));  // bad blocks, or nothing
      return {};
    }
    if (!is_reserved(inode) && !record.has_known_type()) {
      return corrupt("{}: inode {}: is used, but of no known type", name(), inode);
    }
    links_[inode.value()] = record.raw().i_links_count;
    const bool is_orphan = !is_reserved(inode) && record.raw().i_links_count == 0;
    if (is_orphan) {
      structure_.orphans.push_back(inode);
    }
    if (record.is_directory()) {
      ++directories_in_[layout_.group_of(inode).value()];
    }
    UNIONFS_ASSIGN(uint64_t count, claim_blocks(record));
    UNIONFS_ASSIGN(const bool has_xattrs, claim_xattrs(record, is_orphan));
    count += has_xattrs ? 1 : 0;
    const uint64_t sectors = count * (layout_.block_size_bytes / ext2::kSectorSizeBytes);
    if (inode != kResizeInode && sectors != record.raw().i_blocks) {
      return corrupt("{}: inode {}: i_blocks is {}, but it has {} sectors", name(), inode,
                     record.raw().i_blocks, sectors);
    }
    return {};
  }

  // How many there are.
  Result<uint64_t> claim_blocks(const InodeRecord& record) {
    uint64_t count = 0;
    const bool is_metadata = record.is_directory() || record.is_symlink();
    UNIONFS_TRY(
        walk_block_map(volume_, record, [&](BlockRole role, BlockNumber block) -> Result<WalkStep> {
          ++count;
          UNIONFS_TRY(claim(record.number(), block));
          if (is_metadata || role.level > 0 || is_reserved(record.number())) {
            structure_.metadata.set(block);
          }
          return WalkStep::kContinue;
        }));
    return count;
  }

  Result<void> claim(InodeNumber inode, BlockNumber block) {
    UNIONFS_ASSIGN(const bool is_used, used_.is_used(block));
    if (!is_used) {
      return corrupt("{}: inode {}: block {} is marked free", name(), inode, block);
    }
    if (claimed_.test(block)) {
      return corrupt("{}: inode {}: block {} belongs to another file, too", name(), inode, block);
    }
    claimed_.set(block);
    return {};
  }

  Result<bool> claim_xattrs(const InodeRecord& record, bool is_orphan) {
    if (record.file_acl().is_none()) {
      return false;
    }
    const auto block = volume_.file_block(record.file_acl());
    if (!block) {
      return corrupt("{}: inode {}: xattr block {} is outside", name(), record.number(),
                     record.raw().i_file_acl);
    }
    UNIONFS_ASSIGN(const auto xattrs, read_xattr_block(volume_, record));
    const auto [users, is_new] = xattr_users_.try_emplace(*block);
    if (is_new) {
      UNIONFS_TRY(claim(record.number(), *block));
      structure_.metadata.set(*block);
      users->second.wanted = xattrs->reference_count;
    }
    ++users->second.found;
    if (is_orphan) {
      ++structure_.orphan_xattrs[*block];
    }
    return true;
  }

  struct Directory {
    InodeNumber inode;
    InodeNumber parent;
  };

  Result<void> walk_directories() {
    std::deque<Directory> queue = {{kRootDirectory, kRootDirectory}};
    names_[kRootDirectory.value()] = 0;
    while (!queue.empty()) {
      UNIONFS_TRY(check_not_cancelled(is_cancelled_));
      const Directory directory = queue.front();
      queue.pop_front();
      UNIONFS_ASSIGN(const InodeRecord record, read_inode(volume_, directory.inode));
      UNIONFS_ASSIGN(const std::vector<NamedEntry> entries, read_directory(volume_, record));
      UNIONFS_TRY(check_dots(directory, entries));
      for (size_t i = 2; i < entries.size(); ++i) {
        UNIONFS_TRY(take_name(directory, entries[i], queue));
      }
    }
    return {};
  }

  Result<void> check_dots(const Directory& directory, const std::vector<NamedEntry>& entries) {
    const bool has_both = entries.size() >= 2 && entries[0].name == "." && entries[1].name == "..";
    if (!has_both || entries[0].inode != directory.inode || entries[1].inode != directory.parent) {
      return corrupt("{}: directory {}: \".\" and \"..\" are not what they must be", name(),
                     directory.inode);
    }
    ++names_[directory.inode.value()];
    ++names_[directory.parent.value()];
    return {};
  }

  Result<void> take_name(const Directory& directory, const NamedEntry& entry,
                         std::deque<Directory>& queue) {
    UNIONFS_ASSIGN(const bool is_used, used_.is_used(entry.inode));
    if (!is_used) {
      return corrupt("{}: directory {}: a name leads to inode {}, which is free", name(),
                     directory.inode, entry.inode);
    }
    UNIONFS_ASSIGN(const InodeRecord record, read_inode(volume_, entry.inode));
    if (layout_.has_file_types && entry.file_type != record.file_type()) {
      return corrupt("{}: directory {}: the type of the name of inode {} is wrong", name(),
                     directory.inode, entry.inode);
    }
    if (record.is_directory()) {
      if (names_[entry.inode.value()] != 0 || entry.inode == kRootDirectory) {
        return corrupt("{}: directory {}: has more than one name", name(), entry.inode);
      }
      queue.push_back({entry.inode, directory.inode});
    }
    ++names_[entry.inode.value()];
    return {};
  }

  // An inode that no name leads to has none to count.
  Result<void> check_links() {
    for (uint64_t number = 1; number <= layout_.inode_count(); ++number) {
      if (names_[number] == links_[number] ||
          is_reserved(InodeNumber(static_cast<uint32_t>(number)))) {
        continue;
      }
      return corrupt("{}: inode {}: has {} links, but {} names lead to it", name(), number,
                     links_[number], names_[number]);
    }
    return {};
  }

  Result<void> check_xattr_users() {
    for (const auto& [block, users] : xattr_users_) {
      if (users.wanted != users.found) {
        return corrupt("{}: xattr block {}: its count is {}, but {} inodes have it", name(), block,
                       users.wanted, users.found);
      }
    }
    return {};
  }

  Result<void> check_groups() {
    uint64_t free_blocks = 0;
    uint64_t free_inodes = 0;
    for (uint32_t number = 0; number < layout_.group_count(); ++number) {
      UNIONFS_TRY(check_not_cancelled(is_cancelled_));
      UNIONFS_TRY(check_group(GroupNumber(number)));
      free_blocks += volume_.group(GroupNumber(number)).free_blocks_count;
      free_inodes += volume_.group(GroupNumber(number)).free_inodes_count;
    }
    const ext2::Superblock& superblock = volume_.superblock().raw();
    if (superblock.s_free_blocks_count != free_blocks ||
        superblock.s_free_inodes_count != free_inodes) {
      return corrupt(
          "{}: superblock: {} free blocks and {} free inodes, but the groups have {}, {}", name(),
          superblock.s_free_blocks_count, superblock.s_free_inodes_count, free_blocks, free_inodes);
    }
    return {};
  }

  Result<void> check_group(GroupNumber number) {
    uint64_t free_blocks = 0;
    const BlockRange blocks = layout_.blocks_of(number);
    for (BlockNumber block = blocks.begin; block < blocks.end; ++block) {
      UNIONFS_ASSIGN(const bool is_used, used_.is_used(block));
      const bool is_wanted = claimed_.test(block) || volume_.is_metadata(block);
      if (is_used != is_wanted) {
        return corrupt("{}: block {}: is marked {}, but {}", name(), block,
                       is_used ? "used" : "free",
                       is_used ? "no file has it" : "it is the file system's own");
      }
      free_blocks += is_used ? 0 : 1;
    }
    UNIONFS_ASSIGN(const uint64_t free_inodes, count_free_inodes(number));
    const uint64_t directories = directories_in_[number.value()];
    const Group& group = volume_.group(number);
    if (group.free_blocks_count != free_blocks || group.free_inodes_count != free_inodes ||
        group.used_dirs_count != directories) {
      return corrupt(
          "{}: group {}: the counters are {} free blocks, {} free inodes, {} directories, but it "
          "has {}, {}, {}",
          name(), number, group.free_blocks_count, group.free_inodes_count, group.used_dirs_count,
          free_blocks, free_inodes, directories);
    }
    return {};
  }

  Result<uint64_t> count_free_inodes(GroupNumber number) {
    std::vector<std::byte> bits(layout_.block_size_bytes);
    UNIONFS_TRY(volume_.read_block(volume_.group(number).inode_bitmap, bits));
    return layout_.inodes_per_group - count_bits(bits, 0, layout_.inodes_per_group);
  }

  struct XattrUsers {
    uint32_t wanted = 0;
    uint32_t found = 0;
  };

  const Layout& layout_;
  const SteadyImage steady_;
  const Volume volume_;
  const std::atomic<bool>& is_cancelled_;
  UsedNumbers used_;
  BlockSet claimed_;             // by a file
  std::vector<uint32_t> names_;  // by inode: that lead to it
  std::vector<uint32_t> links_;  // by inode: as it says
  std::map<BlockNumber, XattrUsers> xattr_users_;
  std::map<uint32_t, uint64_t> directories_in_;  // by group
  Structure structure_;
};

}  // namespace

Result<Structure> check_structure(const Volume& volume, const std::atomic<bool>& is_cancelled) {
  return StructureCheck(volume, is_cancelled).run();
}

}  // namespace unionfs
