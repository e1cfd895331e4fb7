// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/changes/block_map_editor.h"

#include <algorithm>

namespace unionfs {

BlockMapEditor::BlockMapEditor(MergedFiles& files, InodeRecord& record)
    : files_(files),
      record_(record),
      pointers_per_block_(files.layout().pointers_per_block()),
      goal_(files.goal_for(record.number())) {}

Result<BlockPath> BlockMapEditor::path_to(FileBlock file_block) const {
  const std::optional<BlockPath> path = path_of(pointers_per_block_, file_block);
  if (!path) {
    return system_failure(EFBIG, fmt::format("block {} of a file is more than blocks of {} bytes "
                                             "can lead to",
                                             file_block, files_.layout().block_size_bytes));
  }
  return *path;
}

// ---- pointers -------------------------------------------------------------------

// What the pointer at this depth of the path leads to; the way has so many blocks.
Result<std::optional<BlockNumber>> BlockMapEditor::pointer(const BlockPath& path,
                                                           uint32_t depth) const {
  const uint32_t index = index_at(path, depth);
  const ClaimedBlock claimed =
      depth == 0 ? record_.pointer(index) : ClaimedBlock(way_[depth - 1].pointers[index].value());
  if (claimed.is_none()) {
    return std::optional<BlockNumber>();
  }
  UNIONFS_ASSIGN(const BlockNumber block,
                 check_pointer(files_.volume(), record_.number(), path.depth - depth, claimed));
  return std::optional<BlockNumber>(block);
}

void BlockMapEditor::set_pointer(uint32_t depth, uint32_t index, uint32_t value) {
  if (depth == 0) {
    record_.raw().i_block[index] = value;
  } else {
    way_[depth - 1].pointers[index] = value;
    way_[depth - 1].is_changed = true;
  }
}

Result<BlockNumber> BlockMapEditor::allocate() {
  UNIONFS_ASSIGN(const BlockNumber block, files_.allocate_block(goal_));
  goal_ = block + 1;
  ++block_change_;
  return block;
}

Result<void> BlockMapEditor::give_back(BlockNumber block) {
  --block_change_;
  return files_.free_block(record_.number(), block);
}

// ---- the way to a place -----------------------------------------------------------

// Makes the block the next one of the way.
Result<void> BlockMapEditor::enter(const BlockPath& path, BlockNumber block, bool is_new) {
  const auto depth = static_cast<uint32_t>(way_.size());
  Indirect next{block, index_at(path, depth), std::vector<Le32>(pointers_per_block_), is_new};
  if (!is_new) {
    UNIONFS_TRY(
        files_.volume().read_block(block, std::as_writable_bytes(std::span(next.pointers))));
  }
  way_.push_back(std::move(next));
  return {};
}

// Makes the way that of the path, as far as there are indirect blocks; returns how many.
Result<uint32_t> BlockMapEditor::follow(const BlockPath& path) {
  uint32_t same = 0;
  while (same < way_.size() && same < path.depth && way_[same].index == index_at(path, same)) {
    ++same;
  }
  UNIONFS_TRY(leave(same));
  while (way_.size() < path.depth) {
    UNIONFS_ASSIGN(const auto block, pointer(path, static_cast<uint32_t>(way_.size())));
    if (!block) {
      break;
    }
    UNIONFS_TRY(enter(path, *block, false));
  }
  return static_cast<uint32_t>(way_.size());
}

Result<void> BlockMapEditor::leave(size_t depth) {
  while (way_.size() > depth) {
    const Indirect last = std::move(way_.back());
    way_.pop_back();
    const bool is_empty = std::all_of(last.pointers.begin(), last.pointers.end(),
                                      [](const Le32& pointer) { return pointer == 0; });
    if (!last.is_changed) {
      continue;
    }
    if (is_empty) {
      set_pointer(static_cast<uint32_t>(way_.size()), last.index, 0);
      UNIONFS_TRY(give_back(last.block));
    } else {
      UNIONFS_TRY(files_.disk().write(files_.layout().offset_of(last.block),
                                      std::as_bytes(std::span(last.pointers))));
    }
  }
  return {};
}

// ---- places -------------------------------------------------------------------------

Result<std::optional<BlockNumber>> BlockMapEditor::find(FileBlock file_block) {
  UNIONFS_ASSIGN(const BlockPath path, path_to(file_block));
  UNIONFS_ASSIGN(const uint32_t depth, follow(path));
  if (depth < path.depth) {
    return std::optional<BlockNumber>();
  }
  UNIONFS_ASSIGN(const auto block, pointer(path, depth));
  if (block) {
    goal_ = *block + 1;
  }
  return block;
}

Result<BlockNumber> BlockMapEditor::add(FileBlock file_block) {
  UNIONFS_ASSIGN(const BlockPath path, path_to(file_block));
  UNIONFS_ASSIGN(uint32_t depth, follow(path));
  for (; depth < path.depth; ++depth) {
    UNIONFS_ASSIGN(const BlockNumber block, allocate());
    set_pointer(depth, index_at(path, depth), static_cast<uint32_t>(block.value()));
    UNIONFS_TRY(enter(path, block, true));
  }
  UNIONFS_ASSIGN(const BlockNumber block, allocate());
  set_pointer(depth, index_at(path, depth), static_cast<uint32_t>(block.value()));
  return block;
}

Result<void> BlockMapEditor::clear(FileBlock begin, FileBlock end, const Keeps& keeps) {
  FileBlock place = begin;
  while (place < end) {
    UNIONFS_ASSIGN(const BlockPath path, path_to(place));
    UNIONFS_ASSIGN(const uint32_t depth, follow(path));
    if (depth < path.depth) {
      // Behind all that the missing indirect block would lead to.
      const uint64_t first = role_of_slot(pointers_per_block_, path.slot).first.value();
      const uint64_t span = blocks_below(pointers_per_block_, path.depth - depth);
      place = FileBlock(first + ((place.value() - first) / span + 1) * span);
      continue;
    }
    UNIONFS_ASSIGN(const auto block, pointer(path, depth));
    if (block) {
      UNIONFS_ASSIGN(const bool is_kept, keeps(*block));
      if (!is_kept) {
        set_pointer(depth, index_at(path, depth), 0);
        UNIONFS_TRY(give_back(*block));
      }
    }
    ++place;
  }
  return {};
}

Result<void> BlockMapEditor::finish() {
  UNIONFS_TRY(leave(0));
  const auto sectors_per_block =
      static_cast<int64_t>(files_.layout().block_size_bytes / ext2::kSectorSizeBytes);
  const int64_t sectors = record_.raw().i_blocks.value() + block_change_ * sectors_per_block;
  if (sectors < 0) {
    return corrupt("merged image: inode {}: has more blocks than i_blocks counts",
                   record_.number());
  }
  if (sectors > UINT32_MAX) {
    return system_failure(EFBIG, fmt::format("{} blocks are more than an inode can count",
                                             sectors / sectors_per_block));
  }
  record_.raw().i_blocks = static_cast<uint32_t>(sectors);
  return {};
}

}  // namespace unionfs
