// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/changes/planned_content.h"

#include "fsparse/symlink.h"

namespace unionfs {

Result<FileContent> content_of_inode(const Volume& image, const InodeRecord& record) {
  FileContent content;
  content.type = record.type();
  if (record.is_regular()) {
    content.bytes = bytes_of_inode(image, record);
  } else if (record.is_symlink()) {
    UNIONFS_ASSIGN(content.target, read_symlink(image, record));
  } else if (record.is_device()) {
    content.device = device_of(record);
  }
  return content;
}

Result<FileContent> content_of(const PlannedFile& file) {
  const PlannedContent& planned = *file.content;
  if (planned.image != nullptr) {
    UNIONFS_ASSIGN(const InodeRecord record, read_inode(*planned.image, planned.inode));
    return content_of_inode(*planned.image, record);
  }
  const FileState& state = file.state;
  FileContent content{
      state.type(), planned.bytes, state.target, {state.device_major, state.device_minor}};
  if (state.is_regular() && content.bytes == nullptr) {
    content.bytes = bytes_in_memory({});
  }
  return content;
}

}  // namespace unionfs
