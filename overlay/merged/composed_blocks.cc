// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/merged/composed_blocks.h"

#include <algorithm>
#include <cstring>

namespace unionfs {

ComposedBlocks::ComposedBlocks(uint32_t block_size_bytes, uint64_t most_bytes)
    : block_size_(block_size_bytes),
      sets_(std::max<uint64_t>(
          1, most_bytes / block_size_bytes / std::tuple_size_v<decltype(Set::slots)>)) {}

bool ComposedBlocks::find(BlockNumber block, ByteSpan out) {
  Set& set = set_of(block);
  const MutexLock lock(set.mutex);
  for (Slot& slot : set.slots) {
    if (slot.last_use != 0 && slot.block == block) {
      slot.last_use = ++set.uses;
      std::memcpy(out.data(), slot.bytes.get(), block_size_);
      return true;
    }
  }
  return false;
}

// Two threads may have composed the same.
void ComposedBlocks::keep(BlockNumber block, ConstByteSpan bytes) {
  Set& set = set_of(block);
  const MutexLock lock(set.mutex);
  Slot* oldest = &set.slots.front();
  for (Slot& slot : set.slots) {
    if (slot.last_use != 0 && slot.block == block) {
      return;
    }
    oldest = slot.last_use < oldest->last_use ? &slot : oldest;
  }
  if (oldest->bytes == nullptr) {
    oldest->bytes = std::make_unique<std::byte[]>(block_size_);
  }
  oldest->block = block;
  oldest->last_use = ++set.uses;
  std::memcpy(oldest->bytes.get(), bytes.data(), block_size_);
}

uint64_t ComposedBlocks::memory_bytes() {
  uint64_t bytes = 0;
  for (Set& set : sets_) {
    const MutexLock lock(set.mutex);
    for (const Slot& slot : set.slots) {
      bytes += slot.bytes != nullptr ? block_size_ : 0;
    }
  }
  return bytes;
}

}  // namespace unionfs
