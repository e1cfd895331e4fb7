// SPDX-License-Identifier: BSD-3-Clause
//
// The bytes of a level: a file of the host, or what an NBD server has.
#ifndef UNIONFS_OVERLAY_STACK_LEVEL_FILE_H
#define UNIONFS_OVERLAY_STACK_LEVEL_FILE_H

#include <memory>
#include <string>

#include "fsparse/volume.h"
#include "overlay/host/log.h"
#include "overlay/host/posix_file.h"
#include "overlay/remote/remote_file.h"
#include "overlay/upper/state_area.h"

namespace unionfs {

// Reading is thread-safe, but of a remote one only from start() on; nothing else is.
class LevelFile {
 public:
  // `path`: of a file, or an NBD address.  The lock is of a file; nobody can lock a remote image.
  // A remote one has no threads until start().
  static Result<std::unique_ptr<LevelFile>> open(const std::string& path, FileLock lock,
                                                 const RemoteOptions& remote, const LogSink& log);
  explicit LevelFile(std::unique_ptr<PosixFile> file) : host_(std::move(file)) {}

  const ReadableFile& bytes() const;
  // As it was given.
  const std::string& name() const { return bytes().name(); }
  // nullptr where it is remote.
  PosixFile* host() const { return host_.get(); }
  bool is_remote() const { return remote_ != nullptr; }
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

 private:
  explicit LevelFile(std::unique_ptr<RemoteFile> file) : remote_(std::move(file)) {}

  const std::unique_ptr<PosixFile> host_;
  const std::unique_ptr<RemoteFile> remote_;
  bool has_started_ = false;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_STACK_LEVEL_FILE_H
