// SPDX-License-Identifier: BSD-3-Clause
//
// The ranges of one request, as pieces that the server takes.
#ifndef UNIONFS_OVERLAY_REMOTE_REMOTE_READS_H
#define UNIONFS_OVERLAY_REMOTE_REMOTE_READS_H

#include <chrono>
#include <string>
#include <vector>

#include "overlay/host/file.h"
#include "overlay/remote/chunk_cache.h"
#include "overlay/remote/remote_client.h"

namespace unionfs {

// Used by one thread.  Refers to all that it is made of.
class RemoteReads final : public PendingReads {
 public:
  struct Source {
    const std::string& name;
    const RemoteExport& about;
    RemoteClient& client;
    ChunkCache& cache;
  };

  explicit RemoteReads(const Source& source) : source_(source), holes_(source.client.holes()) {}
  ~RemoteReads() override;

  // Before send().  The range is inside the export.  What is kept is read by chunks, which go to
  // the cache.
  void add(const ReadRange& range, bool is_kept);
  // Within this time, or that of the client's options.
  void send(std::optional<std::chrono::milliseconds> time = {});
  Result<void> finish() override;

 private:
  // Where bytes are to go.
  struct Part {
    uint64_t offset = 0;
    ByteSpan target;
    bool is_kept = false;

    uint64_t end() const { return offset + target.size(); }
  };
  // What is read at once: parts that are near each other.
  struct Fetch {
    uint64_t begin = 0;
    uint64_t end = 0;
    bool is_kept = false;
    size_t first_part = 0;
    size_t part_count = 0;
    std::vector<std::byte> bytes;  // empty: the only part takes all of it
  };

  void wait();
  void plan();
  void add_part(size_t index);
  ByteSpan buffer_of(Fetch& fetch);
  Failure failure() const;

  const Source source_;
  const std::shared_ptr<const HoleMap> holes_;
  std::vector<Part> parts_;
  std::vector<Fetch> fetches_;
  std::vector<RemotePiece> pieces_;
  RemoteWait wait_;
  bool is_waited_for_ = true;
  const std::atomic<bool>* is_cancelled_ = nullptr;  // of the thread that sent them
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_REMOTE_REMOTE_READS_H
