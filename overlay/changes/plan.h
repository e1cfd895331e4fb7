// SPDX-License-Identifier: BSD-3-Clause
//
// What an ext2 image shall become, said by paths: the hub between whatever knows changes
// (the comparison of a rebase, an import) and what makes them (make_planned) and checks them
// (check_planned).  Everything that a plan does not name stays as the image has it.
#ifndef UNIONFS_OVERLAY_CHANGES_PLAN_H
#define UNIONFS_OVERLAY_CHANGES_PLAN_H

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "overlay/tree/file_bytes.h"
#include "overlay/tree/file_state.h"

namespace unionfs {

// A regular file's bytes, a symlink's target or a device's numbers: those of an inode, or else
// by value.
struct PlannedContent {
  // The inode, of the planned type; its image outlives the plan.
  const Volume* image = nullptr;
  InodeNumber inode;
  // Without an image: the bytes of a regular file; null: it is empty.  Target and device numbers
  // are those of the planned state.
  std::shared_ptr<FileBytes> bytes = nullptr;
};

// Indexes Plan::files.
using PlannedFileId = uint32_t;
constexpr PlannedFileId kPlannedRoot = 0;

// One inode of the result: a file, a directory, a device, ...
struct PlannedFile {
  // The image's inode that is changed in place and keeps its number; none: a new one.
  // A directory keeps all names that the plan does not change.
  std::optional<InodeNumber> existing;
  // What it is then: mode, owner, group, user flags, times, attributes.  Inode number, links and
  // size of it say nothing: they follow from names and content; neither do target and device
  // where the content is that of an inode.
  FileState state;
  // Not of directories, fifos and sockets.  None with `existing`: it keeps its own.  A regular
  // file that exists and gets other content keeps the blocks that are equal.
  std::optional<PlannedContent> content;
};

// A name that is made, led to another file, or removed.
struct PlannedName {
  // A name that goes: what it led to loses a link.  A directory that has no other planned
  // name goes with all below it, but for what the plan has given other names.
  std::optional<PlannedFileId> file;
  std::string path;  // whole, in the result; for messages and the proof
};

struct PlannedNameKey {
  PlannedFileId directory = kPlannedRoot;
  std::string name;

  auto operator<=>(const PlannedNameKey&) const = default;
};

// Superblock fields that people set: by value where the plan changes them.
struct PlannedSuperblock {
  std::optional<std::array<char, 16>> volume_name;   // s_volume_name
  std::optional<std::array<std::byte, 16>> uuid;     // s_uuid
  std::optional<uint32_t> default_mount_options;     // s_default_mount_opts
  std::optional<uint32_t> reserved_blocks_count;     // s_r_blocks_count
  std::optional<uint16_t> reserved_user_id;          // s_def_resuid
  std::optional<uint16_t> reserved_group_id;         // s_def_resgid
  std::optional<uint16_t> errors;                    // s_errors
  std::optional<std::vector<std::byte>> boot_block;  // the first 1024 bytes
};

// A value.
struct Plan {
  // files[kPlannedRoot] is the image's root directory.  Each directory that has changed names
  // is here, whether it changes itself or not.
  std::vector<PlannedFile> files;
  // At most one entry for each name; a directory that moves has one that makes its new name
  // and one that removes the old one.  A new directory has one name, a new file at least one.
  // A name that leads to its file already may be here, too.  It says where the file is:
  // messages have its path, and if all names of a file that is changed in place, or loses a
  // name, are here, the checkpoint need not search for them.
  std::map<PlannedNameKey, PlannedName> names;
  PlannedSuperblock superblock;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHANGES_PLAN_H
