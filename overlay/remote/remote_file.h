// SPDX-License-Identifier: BSD-3-Clause
//
// An NBD export as a file that can be read.
//
// What read() takes comes through a cache, in chunks: it is what the program itself asks for, which
// is metadata.  What begin_reads() takes is sent as it is, but for the ranges that
// keep_in_memory() names.
#ifndef UNIONFS_OVERLAY_REMOTE_REMOTE_FILE_H
#define UNIONFS_OVERLAY_REMOTE_REMOTE_FILE_H

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "overlay/host/file.h"
#include "overlay/host/log.h"
#include "overlay/host/mutex.h"
#include "overlay/remote/chunk_cache.h"
#include "overlay/remote/nbd_uri.h"
#include "overlay/remote/remote_client.h"

namespace unionfs {

// The ranges of one request, as pieces that the server takes.  See remote_file.cc.
class RemoteReads;

// Bytes of a file, from `begin` on up to `end`.
struct KeptRange {
  uint64_t begin = 0;
  uint64_t end = 0;
};

class RemoteFile final : public ReadableFile {
 public:
  // Connects once.  `uri` is absolute, or the files that it names are seen from the working
  // directory.  kSystem where the server cannot be reached, kUnsupported where its export cannot
  // be read as a whole.
  static Result<std::unique_ptr<RemoteFile>> open(const std::string& uri,
                                                  const RemoteOptions& options, const LogSink& log);
  ~RemoteFile() override;

  // Before start(), and before others read: how to tell that the image is the same, and
  // which ranges are metadata: ascending, apart from each other.
  void compare_by(SameImageCheck check) { check_ = std::move(check); }
  void keep_in_memory(std::vector<KeptRange> ranges) { kept_ = std::move(ranges); }
  // Closes the connection, so that the process can fork.  Until start() a read connects anew.
  void suspend() UNIONFS_EXCLUDES(direct_mutex_);
  // Starts threads; once.  Nobody reads meanwhile.
  void start();
  // The process is to end: see RemoteClient.  Thread-safe, after start().
  void end_soon() const;
  // Before it ends: whoever still waits gets ECANCELED.  Thread-safe, after start().
  void give_up();

  // The address, without what is secret in it.
  const std::string& name() const override { return shown_; }
  // All of it.
  const std::string& uri() const { return uri_; }
  uint64_t size_bytes() const override { return about_.size_bytes; }
  // Thread-safe, and so is all that follows.  Before start() one read waits for the other, and when
  // one has failed the later ones have its error at once: a server that does not answer is waited
  // for once.
  Result<void> read(uint64_t offset, ByteSpan buffer) const override;
  size_t read_cached(uint64_t offset, ByteSpan buffer) const override;
  std::unique_ptr<PendingReads> begin_reads(std::span<const ReadRange> ranges) const override;
  FileExtent extent_at(uint64_t offset) const override;
  // The error of the reads before start(), if there was one.
  Result<void> check_no_read_failed() const UNIONFS_EXCLUDES(direct_mutex_);
  // Whether what read() takes before start() is kept in memory.
  bool keeps_chunks() const { return chunk_unit() == ChunkCache::kChunkBytes; }
  // Before start(), for who reads only to have it in memory: while this holds, a read that would
  // fetch more than half of what is kept gets ECANCELED, so that nothing is pushed out.
  void read_only_ahead(bool is_ahead) const UNIONFS_EXCLUDES(direct_mutex_);
  // What the server said when it was opened.
  const RemoteExport& about() const { return about_; }
  // Of the server as it is now, all ranges together, within this time; only after start().
  Result<void> read_uncached(std::span<const ReadRange> ranges,
                             std::chrono::milliseconds time) const;
  Result<void> check_not_replaced() const override;
  Result<void> check_same() const override;

 private:
  RemoteFile(std::string uri, const RemoteOptions& options, LogSink log)
      : uri_(std::move(uri)),
        shown_(shown_nbd_uri(uri_)),
        options_(options),
        log_(std::move(log)) {}

  Result<void> connect() const UNIONFS_REQUIRES(direct_mutex_);
  Result<void> check_inside(uint64_t offset, size_t length) const;
  Result<void> read_directly(uint64_t offset, ByteSpan buffer) const
      UNIONFS_EXCLUDES(direct_mutex_);
  uint64_t chunk_unit() const {
    return std::max<uint64_t>(ChunkCache::kChunkBytes, about_.minimum_bytes);
  }
  Result<std::vector<std::byte>> fetch_chunk(uint64_t begin, size_t length) const
      UNIONFS_REQUIRES(direct_mutex_);
  bool is_kept(uint64_t begin, uint64_t end) const;

  friend class RemoteReads;

  const std::string uri_;
  const std::string shown_;
  const RemoteOptions options_;
  const LogSink log_;
  RemoteExport about_;
  SameImageCheck check_;
  std::vector<KeptRange> kept_;
  mutable ChunkCache cache_;

  WakeEvent never_;  // nobody signals it
  mutable Mutex direct_mutex_;
  mutable std::unique_ptr<NbdHandle> handle_ UNIONFS_GUARDED_BY(direct_mutex_);  // until start()
  mutable std::optional<Error> failed_ UNIONFS_GUARDED_BY(direct_mutex_);
  mutable size_t fetched_chunks_ UNIONFS_GUARDED_BY(direct_mutex_) = 0;
  mutable bool is_ahead_ UNIONFS_GUARDED_BY(direct_mutex_) = false;
  std::unique_ptr<RemoteClient> client_;  // from then on
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_REMOTE_REMOTE_FILE_H
