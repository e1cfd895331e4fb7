// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/remote/chunk_cache.h"

#include <algorithm>
#include <cstring>

namespace unionfs {

size_t ChunkCache::copy_from_chunk(uint64_t offset, ByteSpan buffer) {
  const MutexLock lock(mutex_);
  const auto found = by_number_.find(offset / kChunkBytes);
  if (found == by_number_.end()) {
    return 0;
  }
  chunks_.splice(chunks_.begin(), chunks_, found->second);
  const std::vector<std::byte>& bytes = chunks_.front().bytes;
  const size_t skip = offset % kChunkBytes;
  const size_t count = skip < bytes.size() ? std::min(buffer.size(), bytes.size() - skip) : 0;
  if (count > 0) {
    std::memcpy(buffer.data(), bytes.data() + skip, count);
  }
  return count;
}

size_t ChunkCache::copy(uint64_t offset, ByteSpan buffer) {
  size_t done = 0;
  while (done < buffer.size()) {
    const size_t count = copy_from_chunk(offset + done, buffer.subspan(done));
    if (count == 0) {
      break;
    }
    done += count;
  }
  return done;
}

void ChunkCache::insert(uint64_t offset, ConstByteSpan bytes) {
  const uint64_t number = offset / kChunkBytes;
  std::list<Chunk> made;
  made.push_back({number, {bytes.begin(), bytes.end()}});
  const MutexLock lock(mutex_);
  if (!by_number_.try_emplace(number, made.begin()).second) {
    return;  // by another thread meanwhile
  }
  chunks_.splice(chunks_.begin(), made);
  if (chunks_.size() > kMostChunks) {
    by_number_.erase(chunks_.back().number);
    chunks_.pop_back();
  }
}

}  // namespace unionfs
