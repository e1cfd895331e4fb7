// SPDX-License-Identifier: BSD-3-Clause
//
// Where everything of a tree lies in its image, known before anything is written.
#ifndef UNIONFS_OVERLAY_BASE_BASE_PLAN_H
#define UNIONFS_OVERLAY_BASE_BASE_PLAN_H

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "overlay/base/base_layout.h"
#include "overlay/base/base_tree.h"
#include "overlay/base/directory_blocks.h"

namespace unionfs {

// Blocks that follow one another.
struct DataRange {
  DataPosition begin;
  uint64_t count = 0;

  DataPosition end() const { return begin + count; }
};

// One file of the tree in the image.
struct BaseInode {
  InodeNumber number;             // 0: no name leads to the file
  TreeFileId parent = kTreeRoot;  // of directories
  uint32_t links_count = 0;
  uint32_t generation = 0;
  DataRange names;  // of a directory its blocks, of a long symlink its target
  DataRange maps;   // indirect blocks
  DataRange data;   // of a regular file, but for holes
  std::optional<uint32_t> attribute_block;  // indexes BasePlan::attribute_blocks
  std::array<uint8_t, 16> digest = {};      // of a regular file
};

// A block of attributes, of one inode or several.
struct BaseAttributeBlock {
  DataRange place;
  uint32_t reference_count = 0;
};

struct BasePlan {
  BaseTree ready;
  std::vector<BaseInode> inodes;                     // by TreeFileId
  std::vector<BaseAttributeBlock> attribute_blocks;  // in path order
  std::vector<DataRange> used;                       // all of the above: ascending, apart
  std::vector<InodeRange> used_inodes;               // ascending, apart; the reserved ones too
  std::array<uint8_t, 16> uuid = {};                 // of the content
  std::optional<std::string> rounded_path;           // see BaseFacts
};

// The end of the last range.
inline InodeNumber end_of_inodes(const BasePlan& plan) {
  return plan.used_inodes.back().end;
}

// Reads all contents once.  Errors as make_base().
Result<BasePlan> plan_base(BaseTree ready, const BaseOptions& options);

// Whether a file with these many blocks of data lies among the large ones.
bool is_large_file(uint64_t block_count, const BaseOptions& options);

// What the superblock of every base says, whatever the tree is.
ext2::Superblock constant_superblock(const BaseOptions& options);

// A directory of the plan.  While it is made, the numbers of files that were not met are 0.
NewDirectory planned_directory(const BaseTree& ready, const std::vector<BaseInode>& inodes,
                               TreeFileId id, const BaseOptions& options);

// Bytes of an inode's record behind its extra fields.
uint64_t attribute_room(const BaseOptions& options);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_BASE_BASE_PLAN_H
