// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/changes/merged_files.h"

#include <cstring>

#include "fsparse/block_map.h"
#include "fsparse/groups.h"

#include <ext2fs/ext2fs.h>

namespace unionfs {
namespace {

// What the kernel gives a new inode: all extra fields up to the project id.

// Closes the handle whatever happens.
class AttributeHandle {
 public:
  AttributeHandle() = default;
  ~AttributeHandle() {
    if (handle_ != nullptr) {
      ext2fs_xattrs_close(&handle_);
    }
  }
  AttributeHandle(const AttributeHandle&) = delete;
  AttributeHandle& operator=(const AttributeHandle&) = delete;

  ext2_xattr_handle** place() { return &handle_; }
  ext2_xattr_handle* get() const { return handle_; }

 private:
  ext2_xattr_handle* handle_ = nullptr;
};

int keep_name(char* name, char*, size_t, void* names) {
  static_cast<std::vector<std::string>*>(names)->emplace_back(name);
  return 0;
}

}  // namespace

Result<std::unique_ptr<MergedFiles>> MergedFiles::open(Disk& disk, uint32_t now) {
  std::unique_ptr<MergedFiles> files(new MergedFiles(disk));
  UNIONFS_ASSIGN(files->volume_, Volume::open(files->image_, SuperblockUse::kMerged));
  UNIONFS_ASSIGN(files->ext2_, MergedExt2::open(disk, now));
  return files;
}

// ---- inodes --------------------------------------------------------------------

bool MergedFiles::is_inode_used(InodeNumber inode) const {
  return inode.value() != 0 && inode.value() <= layout().inode_count() &&
         ext2fs_test_inode_bitmap2(ext2_->get()->inode_map, inode.value()) != 0;
}

Result<InodeNumber> MergedFiles::allocate_inode(InodeNumber parent, uint16_t mode) {
  ext2_ino_t number = 0;
  UNIONFS_TRY(ext2_->check(ext2fs_new_inode(ext2_->get(), parent.value(), mode, nullptr, &number),
                           "a new file"));
  const bool is_directory = (mode & ext2::kModeTypeMask) == ext2::kModeDirectory;
  ext2fs_inode_alloc_stats2(ext2_->get(), number, +1, is_directory ? 1 : 0);
  return InodeNumber(number);
}

Result<InodeRecord> MergedFiles::make_record(InodeNumber number) const {
  UNIONFS_ASSIGN(const InodeRecord last, read_inode(number));
  const std::vector<std::byte> zeros(layout().inode_size_bytes);
  InodeRecord record(number, zeros, layout().block_size_bytes);
  if (zeros.size() >= ext2::kGoodOldInodeSizeBytes + ext2::kUsualExtraSizeBytes) {
    const Le16 extra_size = ext2::kUsualExtraSizeBytes;
    std::memcpy(record.bytes().data() + ext2::kGoodOldInodeSizeBytes, &extra_size,
                sizeof(extra_size));
  }
  record.raw().i_generation = last.raw().i_generation + 1;
  return record;
}

Result<InodeRecord> MergedFiles::read_inode(InodeNumber number) const {
  return unionfs::read_inode(*volume_, number);
}

Result<void> MergedFiles::write_inode(const InodeRecord& record) {
  // libext2fs keeps some inodes, and the block it read last.
  ext2fs_flush_icache(ext2_->get());
  return disk_.write(inode_offset(layout(), volume_->groups(), record.number()), record.bytes());
}

Result<void> MergedFiles::drop_link(InodeNumber inode) {
  UNIONFS_ASSIGN(InodeRecord record, read_inode(inode));
  if (!is_inode_used(inode) || record.raw().i_links_count == 0) {
    return corrupt("merged image: inode {}: is free, but a name leads to it", inode);
  }
  record.raw().i_links_count = static_cast<uint16_t>(record.raw().i_links_count - 1);
  return record.raw().i_links_count == 0 ? free_inode(record) : write_inode(record);
}

Result<void> MergedFiles::free_file(const InodeRecord& file) {
  InodeRecord record = file;
  record.raw().i_links_count = uint16_t{0};
  return free_inode(record);
}

Result<void> MergedFiles::free_inode(InodeRecord& record) {
  const InodeNumber number = record.number();
  if (!is_inode_used(number) || number.value() < layout().first_inode) {
    return corrupt("merged image: inode {}: {}, so it cannot be deleted", number,
                   is_inode_used(number) ? "is reserved" : "is free");
  }
  UNIONFS_TRY(free_blocks(record));
  UNIONFS_TRY(free_attribute_block(record));
  record.raw().i_dtime = static_cast<uint32_t>(ext2_->get()->now);
  UNIONFS_TRY(write_inode(record));
  ext2fs_inode_alloc_stats2(ext2_->get(), number.value(), -1, record.is_directory() ? 1 : 0);
  return {};
}

// ---- blocks --------------------------------------------------------------------

Result<void> MergedFiles::free_blocks(const InodeRecord& record) {
  return walk_block_map(*volume_, record, [&](BlockRole, BlockNumber block) -> Result<WalkStep> {
    UNIONFS_TRY(free_block(record.number(), block));
    return WalkStep::kContinue;
  });
}

Result<void> MergedFiles::free_block(InodeNumber owner, BlockNumber block) {
  if (ext2fs_test_block_bitmap2(ext2_->get()->block_map, block.value()) == 0) {
    return corrupt("merged image: inode {}: block {} is marked free, or another file's too", owner,
                   block);
  }
  ext2fs_block_alloc_stats2(ext2_->get(), block.value(), -1);
  return {};
}

Result<void> MergedFiles::free_attribute_block(const InodeRecord& record) {
  if (record.file_acl().is_none()) {
    return {};
  }
  UNIONFS_ASSIGN(const BlockNumber block,
                 check_pointer(*volume_, record.number(), 0, record.file_acl()));
  uint32_t references = 0;
  UNIONFS_TRY(ext2_->check(ext2fs_adjust_ea_refcount3(ext2_->get(), block.value(), nullptr, -1,
                                                      &references, record.number().value()),
                           fmt::format("inode {}: xattr block {}", record.number(), block)));
  if (references == 0) {
    ext2fs_block_alloc_stats2(ext2_->get(), block.value(), -1);
  }
  return {};
}

Result<BlockNumber> MergedFiles::allocate_block(BlockNumber goal) {
  blk64_t block = 0;
  UNIONFS_TRY(ext2_->check(ext2fs_new_block3(ext2_->get(), goal.value(), nullptr, &block, nullptr),
                           "a new block"));
  ext2fs_block_alloc_stats2(ext2_->get(), block, +1);
  return BlockNumber(block);
}

BlockNumber MergedFiles::goal_for(InodeNumber inode) const {
  return BlockNumber(ext2fs_find_inode_goal(ext2_->get(), inode.value(), nullptr, 0));
}

Result<void> MergedFiles::append_block(InodeNumber directory, uint64_t index, ConstByteSpan bytes) {
  blk64_t block = 0;
  UNIONFS_TRY(ext2_->check(ext2fs_bmap2(ext2_->get(), directory.value(), nullptr, nullptr,
                                        BMAP_ALLOC, index, nullptr, &block),
                           fmt::format("inode {}: a block more", directory)));
  UNIONFS_TRY(disk_.write(layout().offset_of(BlockNumber(block)), bytes));
  UNIONFS_ASSIGN(InodeRecord record, read_inode(directory));
  record.raw().i_size = static_cast<uint32_t>((index + 1) * layout().block_size_bytes);
  return write_inode(record);
}

Result<void> MergedFiles::cut_directory(InodeNumber directory, uint64_t block_count) {
  UNIONFS_TRY(ext2_->check(
      ext2fs_punch(ext2_->get(), directory.value(), nullptr, nullptr, block_count, ~uint64_t{0}),
      fmt::format("inode {}: fewer blocks", directory)));
  UNIONFS_ASSIGN(InodeRecord record, read_inode(directory));
  record.raw().i_size = static_cast<uint32_t>(block_count * layout().block_size_bytes);
  return write_inode(record);
}

// ---- attributes ----------------------------------------------------------------

Result<void> MergedFiles::set_attributes(InodeNumber inode,
                                         const std::vector<Attribute>& attributes) {
  UNIONFS_ASSIGN(const InodeRecord record, read_inode(inode));
  UNIONFS_ASSIGN(const std::vector<Attribute> present, read_attributes(*volume_, record));
  if (attributes == present) {
    return {};
  }
  need_attributes();
  const std::string what = fmt::format("inode {}: its attributes", inode);
  ext2_filsys file_system = ext2_->get();
  ext2fs_flush_icache(file_system);
  AttributeHandle handle;
  UNIONFS_TRY(ext2_->check(ext2fs_xattrs_open(file_system, inode.value(), handle.place()), what));
  // ACLs are taken as they are on disk.
  unsigned int raw = XATTR_HANDLE_FLAG_RAW;
  UNIONFS_TRY(ext2_->check(ext2fs_xattrs_flags(handle.get(), &raw, nullptr), what));
  UNIONFS_TRY(ext2_->check(ext2fs_xattrs_read(handle.get()), what));
  std::vector<std::string> names;
  UNIONFS_TRY(ext2_->check(ext2fs_xattrs_iterate(handle.get(), keep_name, &names), what));
  for (const std::string& name : names) {
    UNIONFS_TRY(ext2_->check(ext2fs_xattr_remove(handle.get(), name.c_str()), what));
  }
  for (const Attribute& attribute : attributes) {
    UNIONFS_TRY(ext2_->check(
        ext2fs_xattr_set(handle.get(), attribute.full_name().c_str(), attribute.value.data(),
                         attribute.value.size()),
        fmt::format("inode {}: attribute {}", inode, quoted_name(attribute.full_name()))));
  }
  return ext2_->check(ext2fs_xattrs_write(handle.get()), what);
}

// ---- features ------------------------------------------------------------------

void MergedFiles::need_large_files() {
  ext2_filsys file_system = ext2_->get();
  if (!ext2fs_has_feature_large_file(file_system->super)) {
    ext2fs_update_dynamic_rev(file_system);
    ext2fs_set_feature_large_file(file_system->super);
    ext2fs_mark_super_dirty(file_system);
  }
}

void MergedFiles::need_attributes() {
  ext2_filsys file_system = ext2_->get();
  if (!ext2fs_has_feature_xattr(file_system->super)) {
    ext2fs_update_dynamic_rev(file_system);
    ext2fs_set_feature_xattr(file_system->super);
    ext2fs_mark_super_dirty(file_system);
  }
}

// ---- the image itself ------------------------------------------------------------

Result<void> MergedFiles::set_superblock(const PlannedSuperblock& planned) {
  ext2_filsys file_system = ext2_->get();
  ext2_super_block& super = *file_system->super;
  const auto set = [file_system](auto& field, const auto& value) {
    if (value && field != *value) {
      field = *value;
      ext2fs_mark_super_dirty(file_system);
    }
  };
  const auto set_bytes = [file_system](auto& field, const auto& value) {
    if (value && std::memcmp(field, value->data(), value->size()) != 0) {
      std::memcpy(field, value->data(), value->size());
      ext2fs_mark_super_dirty(file_system);
    }
  };
  static_assert(sizeof(super.s_volume_name) == 16 && sizeof(super.s_uuid) == 16);
  // More than half is more than e2fsck takes for sound.
  if (planned.reserved_blocks_count && *planned.reserved_blocks_count > super.s_blocks_count / 2) {
    return invalid("merged image: {} reserved blocks are more than half of {}",
                   *planned.reserved_blocks_count, super.s_blocks_count);
  }
  if (planned.boot_block && planned.boot_block->size() != ext2::kSuperblockOffsetBytes) {
    return invalid("merged image: a boot block of {} bytes", planned.boot_block->size());
  }
  set_bytes(super.s_volume_name, planned.volume_name);
  set_bytes(super.s_uuid, planned.uuid);
  set(super.s_default_mount_opts, planned.default_mount_options);
  set(super.s_r_blocks_count, planned.reserved_blocks_count);
  set(super.s_def_resuid, planned.reserved_user_id);
  set(super.s_def_resgid, planned.reserved_group_id);
  set(super.s_errors, planned.errors);
  return planned.boot_block ? disk_.write(0, *planned.boot_block) : Result<void>();
}

}  // namespace unionfs
