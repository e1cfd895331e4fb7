// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sources/ext4_channel.h"

#include <fmt/format.h>

namespace unionfs {
namespace {

constexpr int kFirstBlockBytes = 1024;
// Blocks of directories that are no names: those of inode tables that are read on the way.
constexpr uint64_t kMoreDirectoryBlocks = 1024;
constexpr uint64_t kMostAttributeBytes = uint64_t{1} << 30;

// open() of an io_manager gets a name and nothing else; the channel that is being opened waits
// here.
thread_local Ext4Channel* waiting_channel = nullptr;

Ext4Channel& channel_behind(io_channel handle) {
  return *static_cast<Ext4Channel*>(handle->private_data);
}

errcode_t open_reading(const char*, int, io_channel* handle) {
  if (waiting_channel == nullptr) {
    return EINVAL;
  }
  *handle = &waiting_channel->handle;
  return 0;
}

errcode_t close_reading(io_channel) {
  return 0;
}  // its owner frees it

errcode_t set_reading_block_size(io_channel handle, int block_size) {
  handle->block_size = block_size;
  return 0;
}

// A negative count is a count of bytes.
errcode_t read_image_blocks64(io_channel handle, unsigned long long block, int count, void* data) {
  Ext4Channel& channel = channel_behind(handle);
  const auto block_size = static_cast<uint64_t>(handle->block_size);
  const uint64_t length = count < 0 ? static_cast<uint64_t>(-int64_t{count})
                                    : static_cast<uint64_t>(count) * block_size;
  if (channel.blocks_left) {
    const uint64_t blocks = (length + block_size - 1) / block_size;
    if (*channel.blocks_left < blocks) {
      return EXT2_ET_DIR_CORRUPTED;
    }
    *channel.blocks_left -= blocks;
  }
  const uint64_t size = channel.image->size_bytes();
  if (block > size / block_size || length > size - block * block_size) {
    return EXT2_ET_SHORT_READ;
  }
  const Result<void> result =
      channel.image->read(block * block_size, ByteSpan(static_cast<std::byte*>(data), length));
  if (result) {
    return 0;
  }
  channel.first_error = result.error();
  return result.error().error_number;
}

errcode_t read_image_blocks(io_channel handle, unsigned long block, int count, void* data) {
  return read_image_blocks64(handle, block, count, data);
}

errcode_t refuse_blocks64(io_channel, unsigned long long, int, const void*) {
  return EXT2_ET_RO_FILSYS;
}

errcode_t refuse_blocks(io_channel, unsigned long, int, const void*) {
  return EXT2_ET_RO_FILSYS;
}

errcode_t refuse_bytes(io_channel, unsigned long, int, const void*) {
  return EXT2_ET_RO_FILSYS;
}

errcode_t flush_nothing(io_channel) {
  return 0;
}

}  // namespace

Ext4Channel::Ext4Channel(std::shared_ptr<const Image> read_image) : image(std::move(read_image)) {
  manager.magic = EXT2_ET_MAGIC_IO_MANAGER;
  manager.name = "image";
  manager.open = open_reading;
  manager.close = close_reading;
  manager.set_blksize = set_reading_block_size;
  manager.read_blk = read_image_blocks;
  manager.read_blk64 = read_image_blocks64;
  manager.write_blk = refuse_blocks;
  manager.write_blk64 = refuse_blocks64;
  manager.write_byte = refuse_bytes;
  manager.flush = flush_nothing;
  handle.magic = EXT2_ET_MAGIC_IO_CHANNEL;
  handle.manager = &manager;
  handle.name = const_cast<char*>(manager.name);
  handle.block_size = kFirstBlockBytes;
  handle.refcount = 1;
  handle.private_data = this;
}

Ext4Channel::~Ext4Channel() {
  if (file_system != nullptr) {
    ext2fs_free(file_system);
  }
}

Result<void> Ext4Channel::open() {
  static const bool has_messages = (initialize_ext2_error_table(), true);
  (void)has_messages;
  waiting_channel = this;
  const errcode_t code =
      ext2fs_open("image", EXT2_FLAG_64BITS | EXT2_FLAG_SKIP_MMP, 0, 0, &manager, &file_system);
  waiting_channel = nullptr;
  UNIONFS_TRY(check(code, image->name()));
  directory_blocks_left = 2 * block_count() + kMoreDirectoryBlocks;
  attribute_bytes_left = kMostAttributeBytes;
  return {};
}

Result<void> Ext4Channel::check(errcode_t code, const std::string& what) {
  if (code == 0) {
    return {};
  }
  if (first_error) {
    Failure failure(*first_error);
    first_error.reset();
    return failure;
  }
  switch (code) {
    case EXT2_ET_UNSUPP_FEATURE:
    case EXT2_ET_RO_UNSUPP_FEATURE:
      return unsupported("{}: {}", what, error_message(code));
    case EXT2_ET_NO_MEMORY:
      return system_failure(ENOMEM, what);
    default:
      return corrupt("{}: {}", what, error_message(code));
  }
}

std::string Ext4Channel::name_of(uint32_t inode) const {
  return fmt::format("{}: inode {}", image->name(), inode);
}

}  // namespace unionfs
