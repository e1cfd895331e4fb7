// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/changes/file_writer.h"

#include <algorithm>
#include <cstring>

#include "overlay/changes/file_content.h"

namespace unionfs {
namespace {

// Of i_flags what a user may set (chattr); all others speak of the inode's
// place in its image.
constexpr uint32_t kKeptFlags = 0x000380FF;
constexpr size_t kExtraFields = ext2::kGoodOldInodeSizeBytes;

// Says which file it was, unless the error speaks of the upper itself.
Failure at_inode(Error error, const Volume& source, InodeNumber inode) {
  if (error.message.rfind(source.name(), 0) == 0) {
    return Failure(std::move(error));
  }
  error.message = fmt::format("{}: inode {}: {}", source.name(), inode, error.message);
  return Failure(std::move(error));
}

}  // namespace

void copy_metadata(const InodeRecord& from, InodeRecord& to) {
  const ext2::Inode& source = from.raw();
  ext2::Inode& target = to.raw();
  target.i_mode = source.i_mode;
  target.i_uid = source.i_uid;
  target.i_uid_high = source.i_uid_high;
  target.i_gid = source.i_gid;
  target.i_gid_high = source.i_gid_high;
  target.i_atime = source.i_atime;
  target.i_ctime = source.i_ctime;
  target.i_mtime = source.i_mtime;
  target.i_flags = (target.i_flags & ~kKeptFlags) | (source.i_flags & kKeptFlags);
  // The parts of the times that only larger inodes have.
  std::optional<ext2::InodeExtra> extra = to.extra();
  if (!extra) {
    return;
  }
  const ext2::InodeExtra given = from.extra().value_or(ext2::InodeExtra{});
  extra->i_ctime_extra = given.i_ctime_extra;
  extra->i_mtime_extra = given.i_mtime_extra;
  extra->i_atime_extra = given.i_atime_extra;
  extra->i_crtime = given.i_crtime;
  extra->i_crtime_extra = given.i_crtime_extra;
  const size_t covered = std::min<size_t>(to.extra_size_bytes(), sizeof(*extra));
  std::memcpy(to.bytes().data() + kExtraFields, &*extra, covered);
}

Result<InodeNumber> copy_file(MergedFiles& files, InodeNumber parent, const Volume& source,
                              const InodeRecord& from) {
  UNIONFS_ASSIGN(const InodeNumber number, files.allocate_inode(parent, from.raw().i_mode));
  UNIONFS_ASSIGN(InodeRecord to, files.make_record(number));
  copy_metadata(from, to);
  to.raw().i_links_count = uint16_t{1};
  UNIONFS_ASSIGN(const FileContent content, content_of_inode(source, from));
  uint64_t bytes_written = 0;
  if (Result<void> copied = make_content(files, content, to, bytes_written); !copied) {
    return at_inode(std::move(copied).error(), source, from.number());
  }
  UNIONFS_TRY(files.write_inode(to));
  UNIONFS_TRY(copy_attributes(files, source, from, number));
  return number;
}

Result<void> copy_attributes(MergedFiles& files, const Volume& source, const InodeRecord& from,
                             InodeNumber to) {
  UNIONFS_ASSIGN(const std::vector<Attribute> attributes, read_attributes(source, from));
  for (const Attribute& attribute : attributes) {
    // libext2fs has no name for the other kinds.
    if (!xattr_prefix(attribute.name_index) || attribute.name_index == ext2::kXattrIndexLustre) {
      return unsupported("{}: inode {}: attribute {}: its kind cannot be carried over",
                         source.name(), from.number(), quoted_name(attribute.full_name()));
    }
  }
  if (Result<void> set = files.set_attributes(to, attributes); !set) {
    return at_inode(std::move(set).error(), source, from.number());
  }
  return {};
}

}  // namespace unionfs
