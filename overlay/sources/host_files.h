// SPDX-License-Identifier: BSD-3-Clause
//
// Contents of files below a directory of the host, which are read when somebody asks for them.
#ifndef UNIONFS_OVERLAY_SOURCES_HOST_FILES_H
#define UNIONFS_OVERLAY_SOURCES_HOST_FILES_H

#include <sys/stat.h>

#include <array>
#include <memory>
#include <string>

#include "overlay/tree/file_bytes.h"

namespace unionfs {

// A directory that is held open, and a few files below it that were read last.  Not thread-safe.
class HostFiles {
 public:
  static Result<std::shared_ptr<HostFiles>> open(const std::string& path);
  ~HostFiles();
  HostFiles(const HostFiles&) = delete;
  HostFiles& operator=(const HostFiles&) = delete;

  const std::string& path() const { return path_; }
  int descriptor() const { return descriptor_; }
  // How messages call what lies there.
  std::string name_of(const std::string& path_below) const;

  // Opens a regular file or a directory for reading, without following it where it is a symlink,
  // and without marking that it was read, where the host allows that.  It must still be the file
  // that `expected` tells of, unchanged.  The descriptor is the caller's.
  Result<int> open_below(const std::string& path_below, const struct stat& expected) const;
  // Whether the file is as it was; an error names it.
  Result<void> check_unchanged(int file, const std::string& path_below,
                               const struct stat& expected) const;

  // The bytes of a regular file, which `expected` tells of.
  static std::shared_ptr<FileBytes> content(std::shared_ptr<HostFiles> files,
                                            std::string path_below, const struct stat& expected);

 private:
  friend class HostFileBytes;

  HostFiles(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}
  // A descriptor that stays open until a few other files were asked for.
  Result<int> borrow(const std::string& path_below, const struct stat& expected);

  struct OpenFile {
    int descriptor = -1;
    ino_t inode = 0;
    dev_t device = 0;
  };

  const std::string path_;
  const int descriptor_;
  std::array<OpenFile, 4> open_files_;
  size_t next_ = 0;  // to be closed
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SOURCES_HOST_FILES_H
