// SPDX-License-Identifier: BSD-3-Clause
//
// A directory of the host as a tree.
#ifndef UNIONFS_OVERLAY_SOURCES_DIRECTORY_SOURCE_H
#define UNIONFS_OVERLAY_SOURCES_DIRECTORY_SOURCE_H

#include <string>

#include "overlay/sources/source_context.h"
#include "overlay/tree/file_tree.h"

namespace unionfs {

// Reads all names, and refers to the contents: they are read from the files when the tree's user
// asks for them, and a file that is another one by then, or has changed, is an error.  The
// directory must stay where it is so long; it is held open.
//
// No symlink below `path` is followed.  Names of one inode are hard links.  Holes stay holes, where
// the host can tell.  Sockets come as sockets.  Where another file system is mounted, the mount
// point comes as the mounted root is, without what is in it, and with a warning: /proc below a
// root directory is no part of it.  Times of access and of change are those of modification,
// because looking changes the one, and copying the other.  Extended attributes that ext2 has no
// place for are left out with a warning.  Of the flags of chattr those come that ext2 heeds:
// immutable, append-only, no dump, no atime, sync, dirsync.
//
// Errors name the path of the file.
Result<FileTree> read_directory(const std::string& path, SourceContext& context);

// The upper directory of an overlay file system, as a layer: read_directory(), then
// apply_fuse_overlayfs_marks(), which is told of, and apply_overlayfs_marks().  Without the right
// to see attributes in trusted.* (that takes root) a directory that shows none of either kind is
// warned of.
Result<FileTree> read_overlayfs_directory(const std::string& path, SourceContext& context);

// Turns the marks that Linux's overlayfs leaves in an upper directory into those of the tree,
// wherever the tree comes from: a directory, an ext2 or jffs2 image.  `name` begins messages.
//
//   character device 0/0; an empty file with overlay.whiteout in a directory
//   with overlay.opaque=x                                      a whiteout
//   overlay.opaque=y                                           an opaque directory
//   overlay.protattr                                           the flags immutable, append-only
//   overlay.origin, impure, nlink, upper, uuid                 dropped
//   overlay.overlay.NAME                                       overlay.NAME, as an attribute
//   overlay.redirect, overlay.metacopy                         kUnsupported: what they stand for
//                                                              is in the lower directories alone
//
// All with the prefix trusted. or user.  Source: Linux, Documentation/filesystems/overlayfs.rst
// and fs/overlayfs/overlayfs.h.  The result: whether any file had an attribute of overlayfs.
Result<bool> apply_overlayfs_marks(FileTree& tree, const std::string& name);

struct FuseOverlayFigures {
  uint64_t names = 0;           // that were marks
  bool has_attributes = false;  // any file has some of fuse-overlayfs
};

// The same for what fuse-overlayfs leaves where the host does not let it make devices or
// attributes in trusted.*, and in part also where it does:
//
//   an empty file ".wh.NAME"                                   a whiteout of NAME
//   an empty file ".wh..wh..opq"; user.fuseoverlayfs.opaque=y  an opaque directory
//   user.fuseoverlayfs.NAME                                    dropped
//   user.fuseoverlayfs.override_stat,                          kUnsupported: owner and mode
//   user.containers.override_stat                              are not those of the host's file
//
// Through fuse-overlayfs nobody can make a name that begins with ".wh.", and a layer of OCI cannot
// have one.  Below an overlay of Linux such an empty file could be just that.  Source:
// fuse-overlayfs 1.10, main.c.
Result<FuseOverlayFigures> apply_fuse_overlayfs_marks(FileTree& tree, const std::string& name);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SOURCES_DIRECTORY_SOURCE_H
