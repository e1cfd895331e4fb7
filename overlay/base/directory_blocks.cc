// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/base/directory_blocks.h"

#include <utility>

#include "fsparse/directory.h"

namespace unionfs {
namespace {

using DirectoryBlock = std::vector<std::byte>;

struct ListedName {
  std::string_view name;
  InodeNumber inode;
  uint8_t file_type;
};

// One after another; the last one of each block takes what is left of it.
std::vector<DirectoryBlock> list_of(const std::vector<ListedName>& names, uint32_t block_size) {
  std::vector<DirectoryBlock> blocks;
  size_t next = 0;
  while (next < names.size()) {
    DirectoryBlock& block = blocks.emplace_back(block_size);
    size_t offset = 0;
    const auto size_of = [&](size_t index) {
      return size_t{ext2::entry_size_bytes(static_cast<uint32_t>(names[index].name.size()))};
    };
    bool is_last = false;
    while (!is_last) {
      const size_t behind = offset + size_of(next);
      is_last = next + 1 == names.size() || behind + size_of(next + 1) > block_size;
      const ListedName& listed = names[next];
      put_entry(block, offset, is_last ? block_size - offset : behind - offset, listed.inode,
                listed.file_type, listed.name);
      offset = behind;
      ++next;
    }
  }
  return blocks;
}

}  // namespace

Result<DirectoryBlocks> directory_blocks(const ext2::Superblock& superblock,
                                         std::string_view image_name, NewDirectory directory) {
  const uint32_t block_size = ext2::kMinBlockSizeBytes << superblock.s_log_block_size;
  std::vector<ListedName> names = {{".", directory.inode, ext2::kFileTypeDirectory},
                                   {"..", directory.parent, ext2::kFileTypeDirectory}};
  for (const IndexedName& name : directory.names) {
    names.push_back({name.name, name.inode, name.file_type});
  }
  std::vector<DirectoryBlock> blocks = list_of(names, block_size);
  if (blocks.size() > 1) {
    UNIONFS_ASSIGN(std::vector<DirectoryBlock> indexed,
                   index_directory(superblock, image_name, directory.inode, directory.parent,
                                   ext2::kFileTypeDirectory, std::move(directory.names)));
    if (!indexed.empty()) {
      return DirectoryBlocks{std::move(indexed), true};
    }
  }
  while (blocks.size() < directory.least_block_count) {
    put_entry(blocks.emplace_back(block_size), 0, block_size, InodeNumber(0), 0, "");
  }
  return DirectoryBlocks{std::move(blocks), false};
}

}  // namespace unionfs
