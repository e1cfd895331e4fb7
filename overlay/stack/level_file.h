// SPDX-License-Identifier: BSD-3-Clause
//
// The bytes of a level: a file of the host, or what an NBD server has.
#ifndef UNIONFS_OVERLAY_STACK_LEVEL_FILE_H
#define UNIONFS_OVERLAY_STACK_LEVEL_FILE_H

#include <memory>
#include <string>

#include "fsparse/volume.h"
#include "overlay/cache/cached_file.h"
#include "overlay/host/log.h"
#include "overlay/host/posix_file.h"
#include "overlay/remote/remote_file.h"
#include "overlay/upper/state_area.h"

namespace unionfs {

// What is kept on the host of remote levels.  docs/cache.md has the why.
struct LevelCache {
  // Empty: nothing is kept.  Of a CacheFile, which is the lower's, or of a directory, where each
  // remote level has one that is called by its key.
  std::string path;
  bool is_directory = false;
  uint64_t most_bytes = 0;  // that one CacheFile may take; 0: what there is
  std::string id;           // images that differ in nothing else may differ in this word
  enum class Prefetch : uint8_t { kAuto, kOff, kList } prefetch = Prefetch::kAuto;
  std::string list_path;  // with kList: a trace of the lower as text, see boot_trace.h

  // The same for a level that is not the lower.
  LevelCache of_layer() const;
};

// Reading is thread-safe, but of a remote one only from start() on; nothing else is.
class LevelFile {
 public:
  // `path`: of a file, or an NBD address.  The lock is of a file; nobody can lock a remote image.
  // A remote one has no threads until start().
  static Result<std::unique_ptr<LevelFile>> open(const std::string& path, FileLock lock,
                                                 const RemoteOptions& remote, const LogSink& log);
  explicit LevelFile(std::unique_ptr<PosixFile> file) : host_(std::move(file)) {}
  ~LevelFile();

  const ReadableFile& bytes() const;
  // For messages: the path, or the address without what is secret in it.
  const std::string& name() const { return bytes().name(); }
  // As it was given.
  const std::string& location() const { return is_remote() ? remote_->uri() : host_->name(); }
  // nullptr where it is remote.
  PosixFile* host() const { return host_.get(); }
  bool is_remote() const { return remote_ != nullptr; }
  // nullptr where it is a file.
  const RemoteFile* remote() const { return remote_.get(); }
  bool is_same_file(const LevelFile& other) const;
  // The most that the mode of `upper` may be when it gets data of this.
  uint32_t mode_for_data_in(const PosixFile& upper) const;

  // Of a remote one, before start(): what it is, so that another image is known as one.
  Result<void> know_as_lower(const Volume& lower);
  Result<void> know_as_layer(const Volume& layer, const StateArea& area);
  // Of a remote one: closes its connection, so that the process can fork.  Until start() a read
  // connects anew.  Nothing after start().
  void suspend();
  // Of a remote one: starts its threads, if it has none.
  void start();
  // After start(): the process is to end, so nobody waits for long any more.  Thread-safe.
  void end_soon() const;

  // Whether `cache` can be one of this file: kInvalid where the file is not remote, or what is
  // wished makes no sense.  Changes nothing.
  Result<void> check_cache(const LevelCache& cache) const;
  // Of a remote level, after start() and before threads read: what cannot be kept is told in the
  // log, and read from the server.
  void use_cache(const LevelCache& cache, const LogSink& log);
  // For what is read first; see CachedFile.
  void client_came() const;
  void client_went() const;
  bool has_cache() const { return cached_ != nullptr && cached_->has_cache(); }
  // Zeros where there is no cache.
  CacheCounters cache_counters() const;

 private:
  explicit LevelFile(std::unique_ptr<RemoteFile> file);

  CacheOptions cache_options(const LevelCache& cache, const LogSink& log) const;
  Result<cache_format::Key> cache_key(const LevelCache& cache) const;
  void compare_by(SameImageCheck check);
  Result<void> open_cache(const LevelCache& cache, const LogSink& log);
  Result<std::vector<uint64_t>> clusters_ahead(const LevelCache& cache,
                                               const CacheFile& file) const;

  const std::unique_ptr<PosixFile> host_;
  const std::unique_ptr<RemoteFile> remote_;
  const std::unique_ptr<CachedFile> cached_;  // the remote one
  bool has_started_ = false;
  // Of a remote level, for the key of a cache: what is known of it, and what of it tells more.
  std::vector<std::byte> identity_;
  std::vector<KeptRange> digested_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_STACK_LEVEL_FILE_H
