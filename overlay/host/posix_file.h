// SPDX-License-Identifier: BSD-3-Clause
//
// A WritableFile over a file descriptor of the host.  What makes new files is in new_file.cc.
#ifndef UNIONFS_OVERLAY_HOST_POSIX_FILE_H
#define UNIONFS_OVERLAY_HOST_POSIX_FILE_H

#include <sys/types.h>
#include <sys/uio.h>

#include <atomic>
#include <memory>
#include <string>

#include "overlay/host/file.h"
#include "overlay/host/file_names.h"

namespace unionfs {

enum class FileLock {
  kNone,         // for looking: somebody else may change, cut or replace the file at any time
  kShared,       // of who reads: a lower, which may be a block device
  kSharedUpper,  // of who only reads an upper
  kExclusive     // of who may write
};

// Whether a symbolic link may lead to a file.
enum class FileLinks {
  kFollow,
  kRefuse,  // none on the whole path
};

// Whether the directory a file is to be made in is there, and the name is not that of a
// symbolic link.
Result<void> check_can_appear(const std::string& path);
// The path of the file itself, where `path` leads through symlinks.
Result<std::string> real_path_of(const std::string& path);

// What a file takes of its host, and what is left there.
struct HostSpace {
  uint64_t used_bytes = 0;  // of this file, without its holes
  uint64_t free_bytes = 0;  // of its file system, for this user
};

class PosixFile final : public WritableFile {
 public:
  // Opens the file and takes the lock (flock, which survives a fork).  It must
  // be a regular file or, with kNone or kShared, a block device.  Never waits for a lock.  Fails
  // when another process holds a lock that excludes ours.  With kExclusive it is opened for writing
  // where that is allowed, but see make_writable().
  static Result<std::unique_ptr<PosixFile>> open(const std::string& path, FileLock lock,
                                                 FileLinks links = FileLinks::kFollow);
  // A new empty file, locked exclusively, in the directory of `path` but without
  // a name (or under a hidden one) until publish() gives it its name.  Its mode is 0644,
  // less the process's umask.  `purpose` is a part of the hidden name; see file_names.h.
  static Result<std::unique_ptr<PosixFile>> create_for(const std::string& path,
                                                       std::string_view purpose = {});
  // A nameless file in `directory`, gone when closed.
  static Result<std::unique_ptr<PosixFile>> create_temporary(const std::string& directory);

  // A file that never touches a disk.
  static Result<std::unique_ptr<PosixFile>> create_in_memory();

  ~PosixFile() override;
  PosixFile(const PosixFile&) = delete;
  PosixFile& operator=(const PosixFile&) = delete;

  // Whether make_writable() would succeed.
  Result<void> check_can_write() const;
  // Allows the writing methods; until then map() gives a private copy.  Fails
  // when the file could only be opened for reading.  Not thread-safe.
  Result<void> make_writable();
  // After create_for(): makes contents durable, gives the file its name
  // without replacing another, and makes that durable; else nothing.  Not
  // thread-safe.
  Result<void> publish();
  // The same under a name of the same directory that was not known at create_for().
  Result<void> publish_as(const std::string& path);
  // As publish(), but in the place of `old`, which must still be what the name
  // stands for.  Until the end the name stands for the old file; then the old file is
  // kept under the name that is returned.  The path must be a real one.
  Result<std::string> publish_over(const PosixFile& old, KeepWay way, const KeptName& kept);
  // The same, but the old file is not kept.
  Result<void> publish_instead_of(const PosixFile& old);
  // In two steps, of which the second writes nothing but a name: makes the contents durable, and
  // the hidden name of these digits; then takes the place of what has the name, whatever
  // that is.  sync_name() makes that durable.  `purpose` is create_for()'s.
  Result<void> publish_hidden(uint64_t digits);
  Result<void> take_name();
  // The hidden name stays when the file is closed.
  void keep_hidden_name() { hidden_path_.clear(); }
  // Whether one of these has given the file its name, even if it failed then.
  bool is_published() const { return is_published_; }
  // Makes that name durable, if it is not yet.
  Result<void> sync_name();
  bool is_same_file(const PosixFile& other) const;
  // Whether the path leads to this file now.
  bool is_named(const std::string& path) const;

  // May be called by any thread at any time.
  Result<HostSpace> space() const;

  // What messages call it from now on.  Not thread-safe.
  void set_name(std::string name) { name_ = std::move(name); }
  // Takes this lock instead of the one it has, with kNone none.  After an error it may have
  // none.  Not thread-safe.
  Result<void> change_lock(FileLock lock);

  // How many names the file has; 0 if the host does not tell.
  uint64_t name_count() const;
  // Takes mode, owner (where the host allows it; that takes root) and extended attributes, and so
  // the access control list.
  Result<void> take_looks_of(const PosixFile& other);

  // Permission bits, without those of sets and stickiness; 0 if the host does not tell.
  uint32_t mode() const;
  Result<void> set_mode(uint32_t mode);
  // Where the host allows it; that takes root.
  void take_owner_of(const PosixFile& other);
  // The most that mode() may be when this file gets data of `source`: the owner reads and
  // writes; the group and others do what the source lets the same people do.
  uint32_t mode_for_data_of(const PosixFile& source) const;

  const std::string& name() const override { return name_; }
  uint64_t size_bytes() const override { return size_bytes_; }
  Result<void> read(uint64_t offset, ByteSpan buffer) const override;
  size_t read_cached(uint64_t offset, ByteSpan buffer) const override;
  // One system call for ranges that are near each other: what lies between them is thrown away.
  void read_cached_ranges(std::span<ReadRange> ranges) const override;
  int descriptor() const override { return descriptor_; }
  FileExtent extent_at(uint64_t offset) const override;
  FileIdentity identity() const override;
  void prefetch(uint64_t offset, uint64_t length) const override;
  Result<void> write(uint64_t offset, ConstByteSpan bytes) override;
  Result<void> punch(uint64_t offset, uint64_t length) override;
  Result<void> zero_range(uint64_t offset, uint64_t length) override;
  Result<void> allocate(uint64_t offset, uint64_t length) override;
  Result<void> resize(uint64_t size_bytes) override;
  Result<void> sync() override;
  bool overwrites_in_place() const override;
  Result<std::unique_ptr<MappedRegion>> map(uint64_t offset, uint64_t length) override;

 private:
  PosixFile(std::string name, int descriptor) : name_(std::move(name)), descriptor_(descriptor) {}

  static Result<std::unique_ptr<PosixFile>> open_once(const std::string& path, FileLock lock,
                                                      FileLinks links);
  Result<void> prepare_replacing(const PosixFile& old);
  Result<void> has_got_name();
  Result<void> take_lock(FileLock lock);
  Result<void> learn_size(bool block_device_allowed);
  size_t read_at_hand(uint64_t offset, std::span<const iovec> parts) const;
  size_t count_joined(std::span<const ReadRange> ranges) const;
  size_t read_joined(std::span<ReadRange> ranges) const;
  Result<void> change_space(int mode, uint64_t offset, uint64_t length, const char* what);

  std::string name_;
  std::string purpose_;       // of the hidden name
  std::string hidden_path_;   // until published, where there are no nameless files
  bool is_nameless_ = false;  // until published
  bool is_published_ = false;
  bool needs_name_sync_ = false;
  int descriptor_;
  uint64_t size_bytes_ = 0;
  int write_error_ = 0;  // why it could not be opened for writing
  bool is_writable_ = false;
  // How to read without waiting: as the host said when first asked.
  enum class CachedReads : uint8_t { kNoWait, kAlways, kNone };
  mutable std::atomic<CachedReads> cached_reads_{CachedReads::kNoWait};
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_HOST_POSIX_FILE_H
