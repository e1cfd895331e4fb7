// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/changes/ext2_io_manager.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include <ext2fs/ext2fs.h>

namespace unionfs {

static_assert(std::is_same_v<Ext2FileSystem*, ext2_filsys> && std::is_same_v<Ext2Code, errcode_t>);

// libext2fs's handle, and what is behind it.
struct MergedExt2::Channel {
  struct_io_channel handle = {};
  struct_io_manager manager = {};
  Disk* disk = nullptr;
  uint64_t size_bytes = 0;
  std::optional<Error> first_error;  // libext2fs carries only a number on
  std::vector<std::byte> scratch;
};

namespace {

using Channel = MergedExt2::Channel;

constexpr int kFirstBlockSizeBytes = 1024;

// open() of an io_manager gets a name and nothing else; the channel that is
// being opened waits here.
thread_local Channel* opening_channel = nullptr;

Channel& channel_of(io_channel handle) {
  return *static_cast<Channel*>(handle->private_data);
}

errcode_t keep(Channel& channel, Result<void> result) {
  if (result) {
    return 0;
  }
  const int error_number = result.error().error_number;
  if (!channel.first_error) {
    channel.first_error = std::move(result).error();
  }
  return error_number;
}

errcode_t open_channel(const char*, int, io_channel* handle) {
  if (opening_channel == nullptr) {
    return EINVAL;
  }
  *handle = &opening_channel->handle;
  return 0;
}

errcode_t close_channel(io_channel) {
  return 0;
}  // its owner frees it

errcode_t set_block_size(io_channel handle, int block_size) {
  handle->block_size = block_size;
  return 0;
}

// A negative count is a count of bytes.
struct ByteRange {
  uint64_t offset;
  uint64_t length;
};

ByteRange range_of(io_channel handle, unsigned long long block, int count) {
  const auto block_size = static_cast<uint64_t>(handle->block_size);
  return {block * block_size, count < 0 ? static_cast<uint64_t>(-int64_t{count})
                                        : static_cast<uint64_t>(count) * block_size};
}

bool is_inside(const Channel& channel, ByteRange range) {
  return range.offset <= channel.size_bytes && range.length <= channel.size_bytes - range.offset;
}

errcode_t read_blocks64(io_channel handle, unsigned long long block, int count, void* data) {
  Channel& channel = channel_of(handle);
  const ByteRange range = range_of(handle, block, count);
  if (!is_inside(channel, range)) {
    return EXT2_ET_SHORT_READ;
  }
  return keep(channel, channel.disk->read(range.offset,
                                          ByteSpan(static_cast<std::byte*>(data), range.length)));
}

errcode_t read_blocks(io_channel handle, unsigned long block, int count, void* data) {
  return read_blocks64(handle, block, count, data);
}

// libext2fs writes all bitmaps and descriptors back, changed or not; a block
// that stays as it is must not become part of the session.
errcode_t write_range(Channel& channel, ByteRange range, const void* data) {
  if (!is_inside(channel, range)) {
    return EXT2_ET_SHORT_WRITE;
  }
  channel.scratch.resize(range.length);
  if (const errcode_t code = keep(channel, channel.disk->read(range.offset, channel.scratch));
      code != 0) {
    return code;
  }
  if (std::memcmp(channel.scratch.data(), data, range.length) == 0) {
    return 0;
  }
  return keep(channel,
              channel.disk->write(
                  range.offset, ConstByteSpan(static_cast<const std::byte*>(data), range.length)));
}

errcode_t write_blocks64(io_channel handle, unsigned long long block, int count, const void* data) {
  return write_range(channel_of(handle), range_of(handle, block, count), data);
}

errcode_t write_blocks(io_channel handle, unsigned long block, int count, const void* data) {
  return write_blocks64(handle, block, count, data);
}

errcode_t write_bytes(io_channel handle, unsigned long offset, int count, const void* data) {
  return write_range(channel_of(handle), {offset, static_cast<uint64_t>(count)}, data);
}

// The session is flushed by its owner, once everything is in place.
errcode_t flush_channel(io_channel) {
  return 0;
}

void set_up(Channel& channel) {
  channel.manager.magic = EXT2_ET_MAGIC_IO_MANAGER;
  channel.manager.name = "session";
  channel.manager.open = open_channel;
  channel.manager.close = close_channel;
  channel.manager.set_blksize = set_block_size;
  channel.manager.read_blk = read_blocks;
  channel.manager.write_blk = write_blocks;
  channel.manager.flush = flush_channel;
  channel.manager.write_byte = write_bytes;
  channel.manager.read_blk64 = read_blocks64;
  channel.manager.write_blk64 = write_blocks64;
  channel.handle.magic = EXT2_ET_MAGIC_IO_CHANNEL;
  channel.handle.manager = &channel.manager;
  channel.handle.name = const_cast<char*>(channel.manager.name);
  channel.handle.block_size = kFirstBlockSizeBytes;
  channel.handle.refcount = 1;
  channel.handle.private_data = &channel;
}

}  // namespace

MergedExt2::MergedExt2() : channel_(std::make_unique<Channel>()) {
  set_up(*channel_);
}

MergedExt2::~MergedExt2() {
  if (file_system_ != nullptr) {
    ext2fs_free(file_system_);
  }
}

Result<std::unique_ptr<MergedExt2>> MergedExt2::open(Disk& disk, uint32_t now) {
  std::unique_ptr<MergedExt2> merged(new MergedExt2);
  merged->channel_->disk = &disk;
  merged->channel_->size_bytes = disk.geometry().size_bytes();
  opening_channel = merged->channel_.get();
  // The kernel, too, writes only the first superblock and descriptors.
  const errcode_t code =
      ext2fs_open("merged image", EXT2_FLAG_RW | EXT2_FLAG_64BITS | EXT2_FLAG_MASTER_SB_ONLY, 0, 0,
                  &merged->channel_->manager, &merged->file_system_);
  opening_channel = nullptr;
  UNIONFS_TRY(merged->check(code, "cannot open it"));
  merged->file_system_->flags |= EXT2_FLAG_MASTER_SB_ONLY;
  merged->file_system_->now = static_cast<time_t>(now);
  UNIONFS_TRY(merged->check(ext2fs_read_bitmaps(merged->file_system_), "cannot read its bitmaps"));
  return merged;
}

Result<void> MergedExt2::close() {
  const errcode_t code = ext2fs_close2(file_system_, EXT2_FLAG_FLUSH_NO_SYNC);
  if (code == 0) {
    file_system_ = nullptr;
  }
  return check(code, "cannot write its bitmaps and counters");
}

Result<void> MergedExt2::check(Ext2Code code, const std::string& what) const {
  if (code == 0) {
    return {};
  }
  if (channel_->first_error) {
    return Failure(*channel_->first_error);
  }
  switch (code) {
    case EXT2_ET_BLOCK_ALLOC_FAIL:
      return system_failure(ENOSPC, fmt::format("merged image: {}: no free block", what));
    case EXT2_ET_INODE_ALLOC_FAIL:
      return system_failure(ENOSPC, fmt::format("merged image: {}: no free inode", what));
    case EXT2_ET_EA_NO_SPACE:
      return system_failure(ENOSPC,
                            fmt::format("merged image: {}: no room for its attributes", what));
    case EXT2_ET_NO_MEMORY:
      return system_failure(ENOMEM, fmt::format("merged image: {}", what));
    default:
      return corrupt("merged image: {}: {}", what, error_message(code));
  }
}

}  // namespace unionfs
