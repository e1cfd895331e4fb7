// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/base/make_base.h"

#include <bit>
#include <utility>

#include "overlay/base/base_writer.h"

namespace unionfs {
namespace {

Result<void> check_options(const BaseOptions& options) {
  const uint32_t block_size = options.block_size_bytes;
  if (!std::has_single_bit(block_size) || block_size < ext2::kMinBlockSizeBytes ||
      block_size > ext2::kMaxBlockSizeBytes) {
    return invalid("a block size of {} bytes is not 1024, 2048 or 4096", block_size);
  }
  const uint32_t inode_size = options.inode_size_bytes;
  if (!std::has_single_bit(inode_size) || inode_size < ext2::kGoodOldInodeSizeBytes ||
      inode_size > block_size) {
    return invalid("an inode size of {} bytes is not a power of two from {} to the block size {}",
                   inode_size, ext2::kGoodOldInodeSizeBytes, block_size);
  }
  if (options.inode_ratio_bytes < kLeastInodeRatioBytes ||
      options.inode_ratio_bytes > kMostInodeRatioBytes) {
    return invalid("an inode ratio of {} bytes is not from {} to {}", options.inode_ratio_bytes,
                   kLeastInodeRatioBytes, kMostInodeRatioBytes);
  }
  if (options.label.size() > sizeof(ext2::Superblock::s_volume_name)) {
    return invalid("the label {} has {} bytes, and ext2 has room for {}",
                   quoted_name(options.label), options.label.size(),
                   sizeof(ext2::Superblock::s_volume_name));
  }
  return {};
}

}  // namespace

Result<BaseFacts> make_base(FileTree tree, WritableFile& out, const BaseOptions& options) {
  UNIONFS_TRY(check_options(options));
  UNIONFS_ASSIGN(BaseTree ready, make_ready(std::move(tree), options));
  UNIONFS_ASSIGN(const BasePlan plan, plan_base(std::move(ready), options));
  UNIONFS_ASSIGN(const BaseLayout layout, BaseLayout::make(options, end_of_inodes(plan).value() - 1,
                                                           plan.used.back().end()));
  UNIONFS_TRY(write_base(plan, layout, options, out));
  const ext2::Superblock superblock = make_superblock(plan, layout, options);
  BaseFacts facts;
  facts.size_bytes = layout.layout().size_bytes();
  facts.block_count = superblock.s_blocks_count;
  facts.free_block_count = superblock.s_free_blocks_count;
  facts.inode_count = superblock.s_inodes_count;
  facts.free_inode_count = superblock.s_free_inodes_count;
  facts.uuid = superblock.s_uuid;
  facts.rounded_path = plan.rounded_path;
  return facts;
}

}  // namespace unionfs
