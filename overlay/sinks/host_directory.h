// SPDX-License-Identifier: BSD-3-Clause
//
// A tree of files as files of the host: for people (extract), or as an upper directory of
// overlayfs.  docs/export.md says what happens to what is there already.  Of overlayfs's marks:
// https://docs.kernel.org/filesystems/overlayfs.html
#ifndef UNIONFS_OVERLAY_SINKS_HOST_DIRECTORY_H
#define UNIONFS_OVERLAY_SINKS_HOST_DIRECTORY_H

#include <functional>
#include <string>
#include <vector>

#include "overlay/tree/file_tree.h"

namespace unionfs {

struct HostDirectoryOptions {
  // Sets owners, makes devices and sets all attributes.  Without it files belong to whoever
  // makes them.
  bool is_root = false;
  // Permission bits that files do not get, without is_root.
  uint32_t umask = 0;
  // Called now and then with the bytes of contents that were written.
  std::function<void(uint64_t)> progress = {};
};

struct HostDirectoryReport {
  uint64_t files = 0;  // names but marks
  uint64_t whiteouts = 0;
  uint64_t content_bytes = 0;
  // What the host or the rights of the user do not allow, a line each, with its path.
  std::vector<std::string> left_out;
  // Attributes of which the same is true.
  std::vector<std::string> left_out_attributes;
};

// Into a directory that is there.  kInvalid for a tree with marks.  After an error a part of the
// tree may be there.
Result<HostDirectoryReport> write_host_directory(const FileTree& tree, const std::string& directory,
                                                 const HostDirectoryOptions& options);

struct OverlayfsReport {
  HostDirectoryReport written;
  bool has_user_marks = false;  // to be mounted with "userxattr"
};

// The same as an upper directory of overlayfs, into an empty directory.  Nothing is left out but
// attributes that only root may set: what else the host does not allow is an error.  kInvalid
// also for a device 0/0, which would be a whiteout, and for fallthrus.
Result<OverlayfsReport> write_overlayfs_directory(const FileTree& tree,
                                                  const std::string& directory,
                                                  const HostDirectoryOptions& options);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SINKS_HOST_DIRECTORY_H
