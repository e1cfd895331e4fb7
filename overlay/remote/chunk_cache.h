// SPDX-License-Identifier: BSD-3-Clause
//
// Chunks of a file that never changes, in memory; the one used longest ago goes first.
#ifndef UNIONFS_OVERLAY_REMOTE_CHUNK_CACHE_H
#define UNIONFS_OVERLAY_REMOTE_CHUNK_CACHE_H

#include <list>
#include <unordered_map>
#include <vector>

#include "fsparse/image.h"
#include "overlay/host/mutex.h"

namespace unionfs {

// Safe for concurrent use by multiple threads.
class ChunkCache {
 public:
  static constexpr uint64_t kChunkBytes = uint64_t{64} << 10;
  static constexpr size_t kMostChunks = 512;

  // Copies from the file's offset on what is there, up to the end of the buffer or the first
  // chunk that is missing.  Returns how much.
  size_t copy(uint64_t offset, ByteSpan buffer);
  // `bytes` is the whole of the chunk that begins at `offset`, or all up to the file's end.
  void insert(uint64_t offset, ConstByteSpan bytes);

 private:
  struct Chunk {
    uint64_t number = 0;
    std::vector<std::byte> bytes;
  };

  size_t copy_from_chunk(uint64_t offset, ByteSpan buffer);

  Mutex mutex_;
  std::list<Chunk> chunks_ UNIONFS_GUARDED_BY(mutex_);  // the one used last comes first
  std::unordered_map<uint64_t, std::list<Chunk>::iterator> by_number_ UNIONFS_GUARDED_BY(mutex_);
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_REMOTE_CHUNK_CACHE_H
