// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/base/block_map_form.h"

#include <algorithm>
#include <span>
#include <utility>

namespace unionfs {
namespace {

// How many indirect blocks, from the inode on, both paths go through.
uint32_t shared_depth(const std::optional<BlockPath>& one, const BlockPath& other) {
  if (!one || one->slot != other.slot) {
    return 0;
  }
  // Of one slot, so of one depth; the last index is not the way to an indirect block.
  uint32_t depth = 1;
  while (depth < other.depth && one->indices[depth - 1] == other.indices[depth - 1]) {
    ++depth;
  }
  return std::min(depth, other.depth);
}

BlockPath path_to(uint32_t pointers_per_block, FileBlock block) {
  const std::optional<BlockPath> path = path_of(pointers_per_block, block);
  assert(path);
  return *path;
}

}  // namespace

void IndirectBlockCounter::add(FileBlock block) {
  const BlockPath path = path_to(pointers_, block);
  count_ += path.depth - shared_depth(last_, path);
  last_ = path;
}

BlockMapForm::BlockMapForm(uint32_t pointers_per_block, TakeBlock take, WriteBlock write)
    : pointers_(pointers_per_block), take_(std::move(take)), write_(std::move(write)) {}

void BlockMapForm::point(const BlockPath& path, uint32_t depth, BlockNumber place) {
  Le32& pointer =
      depth == 0 ? slots_[path.slot] : nodes_[depth - 1].pointers[path.indices[depth - 1]];
  pointer = static_cast<uint32_t>(place.value());
}

Result<void> BlockMapForm::add(FileBlock block, BlockNumber place) {
  const BlockPath path = path_to(pointers_, block);
  const uint32_t shared = shared_depth(last_, path);
  UNIONFS_TRY(close_below(shared));
  for (uint32_t depth = shared; depth < path.depth; ++depth) {
    UNIONFS_ASSIGN(const BlockNumber taken, take_());
    nodes_[depth] = {taken, std::vector<Le32>(pointers_, Le32(0))};
    point(path, depth, nodes_[depth].place);
  }
  point(path, path.depth, place);
  last_ = path;
  return {};
}

Result<void> BlockMapForm::close_below(uint32_t depth) {
  for (uint32_t open = last_ ? last_->depth : 0; open > depth; --open) {
    const Node& node = nodes_[open - 1];
    UNIONFS_TRY(write_(node.place, std::as_bytes(std::span(node.pointers))));
  }
  return {};
}

Result<void> BlockMapForm::finish() {
  UNIONFS_TRY(close_below(0));
  last_.reset();
  return {};
}

}  // namespace unionfs
