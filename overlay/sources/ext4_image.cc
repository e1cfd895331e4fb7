// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sources/ext4_image.h"

#include <algorithm>
#include <cstring>

#include "fsparse/printable.h"
#include "overlay/host/scope_exit.h"
#include "overlay/tree/attribute_names.h"

#include "overlay/sources/ext4_channel.h"

namespace unionfs {
namespace {

// Inode tables that are read beside the blocks of one directory.
constexpr uint64_t kMoreBlocksOfDirectory = 16;

struct FullInode {
  explicit FullInode(const Ext4Channel& channel)
      : bytes(std::max<size_t>(EXT2_INODE_SIZE(channel.file_system->super),
                               sizeof(ext2_inode_large))) {}

  ext2_inode_large& large() { return *reinterpret_cast<ext2_inode_large*>(bytes.data()); }
  ext2_inode* plain() { return reinterpret_cast<ext2_inode*>(bytes.data()); }

  std::vector<std::byte> bytes;
};

Result<FullInode> load_inode(Ext4Channel& channel, uint32_t number) {
  FullInode inode(channel);
  const int length = static_cast<int>(EXT2_INODE_SIZE(channel.file_system->super));
  UNIONFS_TRY(
      channel.check(ext2fs_read_inode_full(channel.file_system, number, inode.plain(), length),
                    channel.name_of(number)));
  return inode;
}

// ---- states ---------------------------------------------------------------------------

// Whether the record has this field, which is `end` bytes behind its beginning when it is over.
bool has_field(const Ext4Channel& channel, ext2_inode_large& inode, size_t end) {
  return EXT2_INODE_SIZE(channel.file_system->super) > EXT2_GOOD_OLD_INODE_SIZE &&
         size_t{EXT2_GOOD_OLD_INODE_SIZE} + inode.i_extra_isize >= end;
}

#define UNIONFS_END_OF_FIELD(field) \
  (offsetof(ext2_inode_large, field) + sizeof(ext2_inode_large::field))

void put_times(const Ext4Channel& channel, ext2_inode_large& inode, FileState& state) {
  const bool has_extra = has_field(channel, inode, UNIONFS_END_OF_FIELD(i_atime_extra));
  state.accessed = file_time_of(inode.i_atime, has_extra ? inode.i_atime_extra : 0);
  state.changed = file_time_of(inode.i_ctime, has_extra ? inode.i_ctime_extra : 0);
  state.modified = file_time_of(inode.i_mtime, has_extra ? inode.i_mtime_extra : 0);
  if (has_field(channel, inode, UNIONFS_END_OF_FIELD(i_crtime_extra))) {
    state.created = file_time_of(inode.i_crtime, inode.i_crtime_extra);
  }
}

// Puts the numbers of a device in place, from the kernel's old encoding or else its new one.
void put_device(const ext2_inode_large& inode, FileState& state) {
  const uint32_t old_number = inode.i_block[0];
  const uint32_t new_number = inode.i_block[1];
  if (old_number != 0) {
    state.device_major = old_number >> 8 & 0xff;
    state.device_minor = old_number & 0xff;
  } else {
    state.device_major = new_number >> 8 & 0xfff;
    state.device_minor = (new_number & 0xff) | (new_number >> 12 & 0xfff00);
  }
}

// ---- attributes -----------------------------------------------------------------------

// Without a value.  None for a prefix that is not known.
std::optional<Attribute> split_attribute_name(std::string_view full_name) {
  for (uint8_t index = ext2::kXattrIndexUser; index <= ext2::kXattrIndexSystem; ++index) {
    const std::string_view prefix = *xattr_prefix(index);
    const bool is_whole_name = !prefix.ends_with('.');
    if (is_whole_name ? full_name == prefix : full_name.starts_with(prefix)) {
      return Attribute{index, std::string(full_name.substr(prefix.size())), {}};
    }
  }
  return std::nullopt;
}

// What the iteration over attributes collects.
struct FoundAttributes {
  std::vector<Attribute> attributes;
  std::string unknown_name;
  uint64_t bytes = 0;
};

// libext2fs gives the prefix's name and the rest as one, and values as they are stored.
int keep_attribute(char* full_name, char* value, size_t length, void* found_place) {
  auto& found = *static_cast<FoundAttributes*>(found_place);
  const std::string_view name(full_name);
  if (name == "system.data") {
    return 0;  // inline data
  }
  const auto* bytes = reinterpret_cast<const std::byte*>(value);
  const std::optional<Attribute> attribute = split_attribute_name(name);
  if (!attribute) {
    found.unknown_name = name;
    return XATTR_ABORT;
  }
  found.attributes.push_back(*attribute);
  found.attributes.back().value.assign(bytes, bytes + length);
  found.bytes += name.size() + length;
  return 0;
}

Result<std::vector<Attribute>> load_attributes(Ext4Channel& channel, uint32_t number) {
  const std::string what = channel.name_of(number) + ": attributes";
  ext2_xattr_handle* handle = nullptr;
  UNIONFS_TRY(channel.check(ext2fs_xattrs_open(channel.file_system, number, &handle), what));
  const ScopeExit close([&] { ext2fs_xattrs_close(&handle); });
  UNIONFS_TRY(channel.check(ext2fs_xattrs_read(handle), what));
  FoundAttributes found;
  UNIONFS_TRY(channel.check(ext2fs_xattrs_iterate(handle, keep_attribute, &found), what));
  if (!found.unknown_name.empty()) {
    return unsupported("{}: {} is of an unknown kind", what, quoted_name(found.unknown_name));
  }
  // One inode can hold values for any number of others.
  if (found.bytes > channel.attribute_bytes_left) {
    return unsupported("{}: the attributes of all files are too much", what);
  }
  channel.attribute_bytes_left -= found.bytes;
  for (const Attribute& attribute : found.attributes) {
    const auto named = named_attribute(attribute);
    if (!named) {
      return corrupt("{}: {}", what, named.error().message);
    }
  }
  sort_attributes(found.attributes);
  return std::move(found.attributes);
}

// ---- names ----------------------------------------------------------------------------

struct FoundNames {
  const ext2_super_block* superblock = nullptr;
  std::vector<Ext4Name> names;
  std::string complaint;
};

bool is_of_file_system(const ext2_super_block& superblock, uint32_t inode) {
  return inode != 0 &&
         (inode == superblock.s_journal_inum || inode == superblock.s_usr_quota_inum ||
          inode == superblock.s_grp_quota_inum || inode == superblock.s_prj_quota_inum ||
          inode == superblock.s_orphan_file_inum);
}

int keep_entry(ext2_ino_t, int, ext2_dir_entry* entry, int, int, char*, void* found_place) {
  auto& found = *static_cast<FoundNames*>(found_place);
  const std::string name(entry->name, static_cast<size_t>(ext2fs_dirent_name_len(entry)));
  if (name == "." || name == "..") {
    return 0;
  }
  const ext2_super_block& superblock = *found.superblock;
  const uint32_t inode = entry->inode;
  if (name.empty() || name.find('/') != std::string::npos || name.find('\0') != std::string::npos) {
    found.complaint = fmt::format("no file can have the name {}", quoted_name(name));
  } else if (is_of_file_system(superblock, inode)) {
    return 0;
  } else if (inode > superblock.s_inodes_count || inode < EXT2_FIRST_INODE(&superblock)) {
    found.complaint =
        fmt::format("the name {} leads to inode {}, which is no file", quoted_name(name), inode);
  } else {
    found.names.push_back({name, inode});
    return 0;
  }
  return DIRENT_ABORT;
}

// ---- runs -----------------------------------------------------------------------------

// Collects runs of blocks of one file.
class RunBuilder {
 public:
  RunBuilder(Ext4Channel& channel, uint32_t inode, uint64_t size_bytes)
      : channel_(channel), inode_(inode), size_bytes_(size_bytes) {}

  // Blocks in all, of pointers too: what goes in circles or is there twice has more than the
  // image.
  Result<void> count() {
    if (++visited_ > 3 * channel_.block_count() + kMoreBlocksOfDirectory) {
      return corrupt("{}: has more blocks than the image", channel_.name_of(inode_));
    }
    return {};
  }

  Result<void> add(uint64_t file_block, uint64_t block, uint64_t length, bool is_written) {
    if (length == 0 || file_block < next_) {
      return corrupt("{}: block {} of the file comes out of order", channel_.name_of(inode_),
                     file_block);
    }
    next_ = file_block + length;
    const uint64_t count = channel_.block_count();
    if (block >= count || length > count - block ||
        block < channel_.file_system->super->s_first_data_block) {
      return corrupt("{}: block {} is outside the image ({} blocks)", channel_.name_of(inode_),
                     block + length - 1, count);
    }
    const uint64_t block_size = channel_.block_size_bytes();
    const uint64_t begin = file_block * block_size;
    if (!is_written || begin >= size_bytes_) {
      return {};
    }
    const Ext4Run run{begin, std::min((file_block + length) * block_size, size_bytes_),
                      block * block_size};
    if (!runs_.empty() && runs_.back().end == run.begin &&
        runs_.back().place + (run.begin - runs_.back().begin) == run.place) {
      runs_.back().end = run.end;
    } else {
      runs_.push_back(run);
    }
    return {};
  }

  std::vector<Ext4Run> take() { return std::move(runs_); }

 private:
  Ext4Channel& channel_;
  const uint32_t inode_;
  const uint64_t size_bytes_;
  uint64_t visited_ = 0;
  uint64_t next_ = 0;  // the least block of the file that may come
  std::vector<Ext4Run> runs_;
};

Result<void> walk_extents(Ext4Channel& channel, uint32_t number, FullInode& inode,
                          RunBuilder& builder) {
  const std::string what = channel.name_of(number) + ": extents";
  ext2_extent_handle_t handle = nullptr;
  UNIONFS_TRY(channel.check(
      ext2fs_extent_open2(channel.file_system, number, inode.plain(), &handle), what));
  const ScopeExit close([&] { ext2fs_extent_free(handle); });
  ext2fs_extent extent = {};
  errcode_t code = ext2fs_extent_get(handle, EXT2_EXTENT_ROOT, &extent);
  for (; code == 0; code = ext2fs_extent_get(handle, EXT2_EXTENT_NEXT, &extent)) {
    UNIONFS_TRY(builder.count());
    ext2_extent_info info = {};
    UNIONFS_TRY(channel.check(ext2fs_extent_get_info(handle, &info), what));
    if (info.num_entries == 0) {
      return corrupt("{}: a node without an entry", what);
    }
    if ((extent.e_flags & EXT2_EXTENT_FLAGS_LEAF) != 0) {
      const bool is_written = (extent.e_flags & EXT2_EXTENT_FLAGS_UNINIT) == 0;
      UNIONFS_TRY(builder.add(extent.e_lblk, extent.e_pblk, extent.e_len, is_written));
    }
  }
  return code == EXT2_ET_EXTENT_NO_NEXT ? Result<void>() : channel.check(code, what);
}

// What the iteration over blocks carries.
struct BlockWalk {
  RunBuilder* builder = nullptr;
  Result<void> result;
};

int keep_block(ext2_filsys, blk64_t* block, e2_blkcnt_t index, blk64_t, int, void* walk_place) {
  auto& walk = *static_cast<BlockWalk*>(walk_place);
  walk.result = walk.builder->count();
  if (walk.result && index >= 0) {
    walk.result = walk.builder->add(static_cast<uint64_t>(index), *block, 1, true);
  }
  return walk.result ? 0 : BLOCK_ABORT;
}

Result<void> walk_blocks(Ext4Channel& channel, uint32_t number, RunBuilder& builder) {
  BlockWalk walk{&builder, {}};
  const errcode_t code = ext2fs_block_iterate3(channel.file_system, number, BLOCK_FLAG_READ_ONLY,
                                               nullptr, keep_block, &walk);
  UNIONFS_TRY(walk.result);
  return channel.check(code, channel.name_of(number) + ": blocks");
}

Result<std::vector<Ext4Run>> load_runs(Ext4Channel& channel, uint32_t number, uint64_t size_bytes) {
  UNIONFS_ASSIGN(FullInode inode, load_inode(channel, number));
  RunBuilder builder(channel, number, size_bytes);
  if ((inode.large().i_flags & EXT4_EXTENTS_FL) != 0) {
    UNIONFS_TRY(walk_extents(channel, number, inode, builder));
  } else {
    UNIONFS_TRY(walk_blocks(channel, number, builder));
  }
  return builder.take();
}

// ---- targets --------------------------------------------------------------------------

Result<std::vector<std::byte>> load_inline_data(Ext4Channel& channel, uint32_t number,
                                                FullInode& inode) {
  const std::string what = channel.name_of(number) + ": inline data";
  size_t size = 0;
  UNIONFS_TRY(channel.check(ext2fs_inline_data_size(channel.file_system, number, &size), what));
  std::vector<std::byte> data(size);
  UNIONFS_TRY(channel.check(
      ext2fs_inline_data_get(channel.file_system, number, inode.plain(), data.data(), &size),
      what));
  data.resize(std::min(size, data.size()));
  const uint64_t file_size = EXT2_I_SIZE(&inode.large());
  if (file_size > EXT2_INODE_SIZE(channel.file_system->super)) {
    return corrupt("{}: {} bytes in an inode", what, file_size);
  }
  data.resize(file_size);
  return data;
}

Result<std::string> load_target(Ext4Channel& channel, uint32_t number, FullInode& inode) {
  const std::string what = channel.name_of(number);
  const uint64_t size = EXT2_I_SIZE(&inode.large());
  if (size == 0 || size >= channel.block_size_bytes()) {
    return corrupt("{}: a symlink's target of {} bytes", what, size);
  }
  std::vector<std::byte> bytes(size);
  if ((inode.large().i_flags & EXT4_INLINE_DATA_FL) != 0) {
    UNIONFS_ASSIGN(bytes, load_inline_data(channel, number, inode));
  } else if (ext2fs_is_fast_symlink(inode.plain()) != 0) {
    std::memcpy(bytes.data(), inode.large().i_block,
                std::min<size_t>(size, sizeof inode.large().i_block));
  } else {
    UNIONFS_ASSIGN(const std::vector<Ext4Run> runs, load_runs(channel, number, size));
    if (runs.size() != 1 || runs[0].begin != 0 || runs[0].end != size) {
      return corrupt("{}: the symlink has no target", what);
    }
    UNIONFS_TRY(channel.image->read(runs[0].place, bytes));
  }
  std::string target(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (target.find('\0') != std::string::npos) {
    return corrupt("{}: a zero byte in the symlink's target", what);
  }
  return target;
}

}  // namespace

// ---- the image ------------------------------------------------------------------------

Ext4Image::Ext4Image() = default;
Ext4Image::~Ext4Image() = default;

Result<std::shared_ptr<Ext4Image>> Ext4Image::open(std::shared_ptr<const Image> image) {
  std::shared_ptr<Ext4Image> opened(new Ext4Image);
  opened->channel_ = std::make_unique<Ext4Channel>(std::move(image));
  UNIONFS_TRY(opened->channel_->open());
  return opened;
}

const Image& Ext4Image::image() const {
  return *channel_->image;
}

Result<Ext4Inode> Ext4Image::read_inode(uint32_t number) {
  UNIONFS_ASSIGN(FullInode inode, load_inode(*channel_, number));
  ext2_inode_large& raw = inode.large();
  Ext4Inode read;
  FileState& state = read.state;
  state.mode = raw.i_mode;
  state.generation = raw.i_generation;
  if (file_type_of(state.mode) == ext2::kFileTypeUnknown || raw.i_links_count == 0) {
    return corrupt("{}: has a name, but is no file (mode {:#o}, {} links)",
                   channel_->name_of(number), state.mode, raw.i_links_count);
  }
  if ((raw.i_flags & EXT4_ENCRYPT_FL) != 0) {
    return unsupported("{}: is encrypted", channel_->name_of(number));
  }
  state.user_id = inode_uid(raw);
  state.group_id = inode_gid(raw);
  state.user_flags = raw.i_flags & kUserFlags;
  read.has_inline_data = (raw.i_flags & EXT4_INLINE_DATA_FL) != 0;
  put_times(*channel_, raw, state);
  if (state.is_regular()) {
    state.size_bytes = EXT2_I_SIZE(&raw);
  } else if (state.type() == ext2::kModeSymlink) {
    UNIONFS_ASSIGN(state.target, load_target(*channel_, number, inode));
  } else if (state.type() == ext2::kModeCharDevice || state.type() == ext2::kModeBlockDevice) {
    put_device(raw, state);
  }
  UNIONFS_ASSIGN(state.attributes, load_attributes(*channel_, number));
  return read;
}

Result<std::vector<Ext4Name>> Ext4Image::read_names(uint32_t directory) {
  FoundNames found;
  found.superblock = channel_->file_system->super;
  channel_->blocks_left = channel_->directory_blocks_left + kMoreBlocksOfDirectory;
  const errcode_t code =
      ext2fs_dir_iterate2(channel_->file_system, directory, 0, nullptr, keep_entry, &found);
  channel_->directory_blocks_left =
      std::min(*channel_->blocks_left, channel_->directory_blocks_left);
  channel_->blocks_left.reset();
  if (!found.complaint.empty()) {
    return corrupt("{}: {}", channel_->name_of(directory), found.complaint);
  }
  UNIONFS_TRY(channel_->check(code, channel_->name_of(directory)));
  return std::move(found.names);
}

Result<std::vector<std::byte>> Ext4Image::read_inline_data(uint32_t number) {
  UNIONFS_ASSIGN(FullInode inode, load_inode(*channel_, number));
  return load_inline_data(*channel_, number, inode);
}

Result<const std::vector<Ext4Run>*> Ext4Image::runs_of(uint32_t number, uint64_t size_bytes) {
  if (mapped_inode_ != number) {
    mapped_inode_ = 0;
    UNIONFS_ASSIGN(runs_, load_runs(*channel_, number, size_bytes));
    mapped_inode_ = number;
  }
  return &runs_;
}

}  // namespace unionfs
