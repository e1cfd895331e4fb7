// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sources/directory_source.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <vector>

#include "fsparse/ext2_format.h"
#include "overlay/host/scope_exit.h"
#include "overlay/sources/attribute_collector.h"
#include "overlay/sources/device_numbers.h"
#include "overlay/sources/host_files.h"

namespace unionfs {
namespace {

// Of the flags of chattr those that ext2 heeds: sync, immutable, append-only, no dump, no atime,
// dirsync.
constexpr uint32_t kTakenFlags = 0x8 | 0x10 | 0x20 | 0x40 | 0x80 | 0x10000;

constexpr uint64_t kStatBlockBytes = 512;
constexpr size_t kMostListBytes = 65536;  // XATTR_LIST_MAX

FileTime time_of(const timespec& time) {
  return {time.tv_sec, static_cast<uint32_t>(time.tv_nsec)};
}

class DirectoryReader {
 public:
  DirectoryReader(std::shared_ptr<HostFiles> files, SourceContext& context)
      : files_(std::move(files)),
        context_(context),
        collector_(context),
        names_(kMostListBytes, '\0'),
        value_(context.limits.attribute_value_bytes) {}

  Result<FileTree> read() {
    struct stat status;
    if (::fstat(files_->descriptor(), &status) == -1) {
      return system_failure(errno, fmt::format("{}: cannot stat", files_->path()));
    }
    device_ = status.st_dev;
    const OpenDirectory none{{}, -1, {}, kTreeRoot};
    UNIONFS_ASSIGN(TreeFile root, file_of(none, "", status));
    tree_.root() = std::move(root);
    waiting_.push_back({"", kTreeRoot, status});
    while (!waiting_.empty()) {
      const Waiting next = std::move(waiting_.back());
      waiting_.pop_back();
      UNIONFS_TRY(read_names(next));
    }
    collector_.tell_left_out(files_->path());
    return std::move(tree_);
  }

 private:
  struct Waiting {
    std::string path;  // below the root; "": the root
    TreeFileId id;
    struct stat status;
  };
  struct OpenDirectory {
    std::string path;
    int descriptor;
    std::vector<std::string> names;
    TreeFileId id;
  };
  using InodeKey = std::pair<dev_t, ino_t>;

  Result<void> read_names(const Waiting& directory);
  Result<void> list(OpenDirectory& directory) const;
  Result<void> read_name(const OpenDirectory& directory, const std::string& name);
  Result<TreeFileId> add(const OpenDirectory& directory, const std::string& name,
                         const std::string& path, const struct stat& status);
  bool is_mounted(const OpenDirectory& directory, const std::string& name,
                  const struct stat& status) const;

  // ---- one file ----
  Result<TreeFile> file_of(const OpenDirectory& directory, const std::string& path,
                           const struct stat& status);
  Result<void> put_kind(const OpenDirectory& directory, const std::string& path,
                        const struct stat& status, TreeFile& file);
  Result<void> put_target(const OpenDirectory& directory, const std::string& path,
                          FileState& state) const;
  Result<void> put_flags(const std::string& path, const struct stat& status, FileState& state);
  Result<void> put_attributes(const OpenDirectory& directory, const std::string& path,
                              FileState& state);

  const std::shared_ptr<HostFiles> files_;
  SourceContext& context_;
  AttributeCollector collector_;
  FileTree tree_;
  dev_t device_ = 0;  // of the root
  std::vector<Waiting> waiting_;
  std::map<InodeKey, TreeFileId> linked_;  // files with several names
  std::string names_;                      // buffers, of one file's attributes
  std::vector<std::byte> value_;
};

std::string last_name(const std::string& path) {
  return path.substr(path.rfind('/') + 1);  // npos + 1: all of it
}

// ---- directories -----------------------------------------------------------------------

Result<void> DirectoryReader::read_names(const Waiting& waiting) {
  OpenDirectory directory{waiting.path, -1, {}, waiting.id};
  UNIONFS_ASSIGN(directory.descriptor, files_->open_below(waiting.path, waiting.status));
  const ScopeExit close([&] { ::close(directory.descriptor); });
  UNIONFS_TRY(list(directory));
  for (const std::string& name : directory.names) {
    UNIONFS_TRY(read_name(directory, name));
  }
  return files_->check_unchanged(directory.descriptor, waiting.path, waiting.status);
}

Result<void> DirectoryReader::list(OpenDirectory& directory) const {
  const int copy = ::fcntl(directory.descriptor, F_DUPFD_CLOEXEC, 0);
  DIR* const stream = copy == -1 ? nullptr : ::fdopendir(copy);
  if (stream == nullptr) {
    const int error = errno;
    if (copy != -1) {
      ::close(copy);
    }
    return system_failure(error, fmt::format("{}: cannot list", files_->name_of(directory.path)));
  }
  const ScopeExit close([&] { ::closedir(stream); });
  while (true) {
    errno = 0;
    const dirent* entry = ::readdir(stream);
    if (entry == nullptr) {
      break;
    }
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") {
      directory.names.emplace_back(name);
    }
    if (context_.used.entries + directory.names.size() > context_.limits.entries) {
      return unsupported("{}: more than {} entries, which is the limit",
                         files_->name_of(directory.path), context_.limits.entries);
    }
  }
  if (errno != 0) {
    return system_failure(errno, fmt::format("{}: cannot list", files_->name_of(directory.path)));
  }
  context_.used.entries += directory.names.size();
  std::ranges::sort(directory.names);
  return {};
}

Result<void> DirectoryReader::read_name(const OpenDirectory& directory, const std::string& name) {
  const std::string path = directory.path.empty() ? name : directory.path + "/" + name;
  if (path.size() > context_.limits.path_bytes || name.size() > context_.limits.name_bytes) {
    return unsupported("{}: a path of {} bytes below it; the limits are {} and, of a name, {}",
                       files_->path(), path.size(), context_.limits.path_bytes,
                       context_.limits.name_bytes);
  }
  struct stat status;
  if (::fstatat(directory.descriptor, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == -1) {
    return system_failure(errno, fmt::format("{}: cannot stat", files_->name_of(path)));
  }
  const bool is_linked = !S_ISDIR(status.st_mode) && status.st_nlink > 1;
  const InodeKey key(status.st_dev, status.st_ino);
  if (const auto known = linked_.find(key); is_linked && known != linked_.end()) {
    tree_.set_name(directory.id, name, known->second);
    return {};
  }
  UNIONFS_ASSIGN(const TreeFileId id, add(directory, name, path, status));
  if (is_linked) {
    linked_[key] = id;
  }
  return {};
}

Result<TreeFileId> DirectoryReader::add(const OpenDirectory& directory, const std::string& name,
                                        const std::string& path, const struct stat& status) {
  UNIONFS_ASSIGN(TreeFile file, file_of(directory, path, status));
  const TreeFileId id = tree_.add(std::move(file));
  tree_.set_name(directory.id, name, id);
  if (!S_ISDIR(status.st_mode)) {
    return id;
  }
  if (is_mounted(directory, name, status)) {
    if (context_.warn) {
      context_.warn(fmt::format("{}: another file system is mounted there, and is left out",
                                files_->name_of(path)));
    }
    return id;
  }
  waiting_.push_back({path, id, status});
  return id;
}

// A subvolume of btrfs has another device number, too, but is no mount point.
bool DirectoryReader::is_mounted(const OpenDirectory& directory, const std::string& name,
                                 const struct stat& status) const {
  struct statx more;
  if (::statx(directory.descriptor, name.c_str(), AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_TYPE,
              &more) == 0 &&
      (more.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) != 0) {
    return (more.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
  }
  return status.st_dev != device_;
}

// ---- one file --------------------------------------------------------------------------

Result<TreeFile> DirectoryReader::file_of(const OpenDirectory& directory, const std::string& path,
                                          const struct stat& status) {
  TreeFile file;
  FileState& state = file.state;
  state.mode = static_cast<uint16_t>(status.st_mode);
  state.user_id = status.st_uid;
  state.group_id = status.st_gid;
  state.modified = time_of(status.st_mtim);
  state.accessed = state.modified;
  state.changed = state.modified;
  UNIONFS_TRY(put_kind(directory, path, status, file));
  UNIONFS_TRY(put_attributes(directory, path, state));
  return file;
}

Result<void> DirectoryReader::put_kind(const OpenDirectory& directory, const std::string& path,
                                       const struct stat& status, TreeFile& file) {
  FileState& state = file.state;
  const auto size = static_cast<uint64_t>(status.st_size);
  switch (state.type()) {
    case ext2::kModeRegular:
      state.size_bytes = size;
      if (size > context_.limits.file_bytes) {
        return unsupported("{}: a file of {} bytes; the limit is {}", files_->name_of(path), size,
                           context_.limits.file_bytes);
      }
      context_.used.content_bytes += std::min<uint64_t>(size, status.st_blocks * kStatBlockBytes);
      if (context_.used.content_bytes > context_.limits.content_bytes) {
        return unsupported("{}: more than {} bytes of contents in all, which is the limit",
                           files_->name_of(path), context_.limits.content_bytes);
      }
      if (size > 0) {
        file.content = HostFiles::content(files_, path, status);
      }
      return put_flags(path, status, state);
    case ext2::kModeDirectory:
      return put_flags(path, status, state);
    case ext2::kModeSymlink:
      return put_target(directory, path, state);
    case ext2::kModeCharDevice:
    case ext2::kModeBlockDevice:
      return put_device_numbers(state, ::major(status.st_rdev), ::minor(status.st_rdev),
                                files_->name_of(path));
    default:
      return {};
  }
}

Result<void> DirectoryReader::put_target(const OpenDirectory& directory, const std::string& path,
                                         FileState& state) const {
  std::string target(context_.limits.target_bytes + 1, '\0');
  const ssize_t length =
      ::readlinkat(directory.descriptor, last_name(path).c_str(), target.data(), target.size());
  if (length == -1) {
    return system_failure(errno, fmt::format("{}: cannot read the symlink", files_->name_of(path)));
  }
  if (length == 0 || static_cast<size_t>(length) > context_.limits.target_bytes) {
    return unsupported("{}: a symlink to nothing, or to more than {} bytes, which is the limit",
                       files_->name_of(path), context_.limits.target_bytes);
  }
  state.target = target.substr(0, static_cast<size_t>(length));
  state.size_bytes = state.target.size();
  return {};
}

// Opens the file, so that one that cannot be read is known before anything is made of the others.
Result<void> DirectoryReader::put_flags(const std::string& path, const struct stat& status,
                                        FileState& state) {
  UNIONFS_ASSIGN(const int file, files_->open_below(path, status));
  int flags = 0;
  if (::ioctl(file, FS_IOC_GETFLAGS, &flags) == 0) {
    state.user_flags = static_cast<uint32_t>(flags) & kTakenFlags;
  }
  ::close(file);
  return {};
}

// Linux has no call for attributes of a name in an open directory, but a path for that.
Result<void> DirectoryReader::put_attributes(const OpenDirectory& directory,
                                             const std::string& path, FileState& state) {
  const std::string where = files_->name_of(path);
  const std::string place =
      directory.descriptor == -1
          ? fmt::format("/proc/self/fd/{}/.", files_->descriptor())
          : fmt::format("/proc/self/fd/{}/{}", directory.descriptor, last_name(path));
  const ssize_t listed = ::llistxattr(place.c_str(), names_.data(), names_.size());
  if (listed == -1 && errno != EOPNOTSUPP) {
    return system_failure(errno, fmt::format("{}: cannot list its extended attributes", where));
  }
  const auto length = static_cast<size_t>(std::max<ssize_t>(listed, 0));
  for (size_t begin = 0; begin < length; begin += names_.find('\0', begin) - begin + 1) {
    const char* const name = names_.data() + begin;
    const ssize_t got = ::lgetxattr(place.c_str(), name, value_.data(), value_.size());
    if (got == -1) {
      return system_failure(
          errno, fmt::format("{}: cannot read the attribute {}", where, quoted_name(name)));
    }
    UNIONFS_TRY(
        collector_.put(state, name, ConstByteSpan(value_).first(static_cast<size_t>(got)), where));
  }
  return collector_.check(state, where);
}

}  // namespace

Result<FileTree> read_directory(const std::string& path, SourceContext& context) {
  UNIONFS_ASSIGN(auto files, HostFiles::open(path));
  return DirectoryReader(std::move(files), context).read();
}

Result<FileTree> read_overlayfs_directory(const std::string& path, SourceContext& context) {
  UNIONFS_ASSIGN(FileTree tree, read_directory(path, context));
  UNIONFS_ASSIGN(const FuseOverlayFigures figures, apply_fuse_overlayfs_marks(tree, path));
  if (figures.names != 0 && context.warn) {
    context.warn(fmt::format(
        "{}: {} empty files have \".wh.\" in front, as whiteouts of fuse-overlayfs; they are taken "
        "as that (as files with dir:{})",
        path, figures.names, path));
  }
  UNIONFS_ASSIGN(bool has_marks, apply_overlayfs_marks(tree, path));
  has_marks = has_marks || figures.has_attributes || figures.names != 0;
  if (!has_marks && ::geteuid() != 0 && context.warn) {
    context.warn(fmt::format(
        "{}: has no attributes of overlayfs; those that begin with \"trusted.\" only root can see",
        path));
  }
  return tree;
}

}  // namespace unionfs
