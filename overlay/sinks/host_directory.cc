// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sinks/host_directory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "overlay/sinks/host_writer.h"

namespace unionfs {
namespace {

constexpr uint32_t kWhileWriting = 0700;  // of a directory
constexpr uint32_t kImpliedPermissions = 0777;
constexpr uint16_t kSetBits = 07000;
constexpr const char* kTrustedMarks = "trusted.overlay.";
constexpr const char* kUserMarks = "user.overlay.";

NamedAttribute mark_attribute(const std::string& prefix, const char* name, char value) {
  return {prefix + name, {static_cast<std::byte>(value)}};
}

// How overlayfs's marks can be made here.
struct HostMarks {
  std::string prefix;
  bool has_devices = true;  // whiteouts are devices 0/0
};

class HostDirectory {
 public:
  HostDirectory(const FileTree& tree, HostWriter& writer, const HostDirectoryOptions& options,
                std::optional<HostMarks> marks)
      : tree_(tree),
        writer_(writer),
        options_(options),
        marks_(std::move(marks)),
        first_paths_(tree.file_count()) {}

  Result<HostDirectoryReport> write() {
    UNIONFS_TRY(walk_tree(tree_, [this](const TreeVisit& visit) { return write_name(visit); }));
    // Writing into a directory changes its times, and its mode may forbid it.
    for (auto directory = directories_.rbegin(); directory != directories_.rend(); ++directory) {
      UNIONFS_TRY(finish_directory(directory->first, tree_.file(directory->second)));
    }
    return std::move(report_);
  }

 private:
  Result<void> write_name(const TreeVisit& visit) {
    if (visit.name.mark == TreeMark::kWhiteout && marks_) {
      return write_whiteout(visit.path);
    }
    if (visit.name.mark != TreeMark::kFile) {
      return invalid("{}: is a mark, and no file", quoted_name(visit.path));
    }
    const TreeFile& file = tree_.file(visit.name.file);
    if (file.state.is_directory()) {
      return write_directory(visit, file);
    }
    std::string& first_path = first_paths_[visit.name.file];
    if (!visit.is_first_name) {
      if (first_path.empty()) {
        return {};  // was left out
      }
      ++report_.files;
      return writer_.make_link(visit.path, first_path);
    }
    UNIONFS_ASSIGN(const bool is_made, write_file(visit.path, file));
    if (is_made) {
      ++report_.files;
      first_path = visit.path;
    }
    return {};
  }

  Result<void> write_directory(const TreeVisit& visit, const TreeFile& directory) {
    if (!visit.path.empty()) {
      const uint32_t permissions = directory.is_implied ? kImpliedPermissions : kWhileWriting;
      UNIONFS_TRY(writer_.make_directory(visit.path, permissions));
    }
    // A directory that somebody else has made may not be this user's to change.
    const bool is_others = visit.path.empty() && !options_.is_root && !marks_;
    if (!directory.is_implied && !is_others) {
      ++report_.files;
      directories_.emplace_back(visit.path, visit.name.file);
    }
    return {};
  }

  Result<void> finish_directory(const std::string& path, const TreeFile& directory) {
    UNIONFS_ASSIGN(const OwnedDescriptor* opened, writer_.directory(path));
    if (marks_) {
      UNIONFS_TRY(mark_directory(opened->get(), path, directory));
    }
    return set_looks(opened->get(), path, directory.state);
  }

  // ---- marks
  Result<void> write_whiteout(const std::string& path) {
    ++report_.whiteouts;
    if (marks_->has_devices) {
      UNIONFS_TRY(writer_.make_node(path, S_IFCHR, 0, 0));
      return {};
    }
    UNIONFS_ASSIGN(const OwnedDescriptor file, writer_.make_file(path, 0));
    return set_host_attribute(file.get(), mark_attribute(marks_->prefix, "whiteout", 'y'));
  }

  Result<void> mark_directory(int descriptor, const std::string& path, const TreeFile& directory) {
    const bool has_whiteouts = std::ranges::any_of(
        directory.names, [](const auto& name) { return name.second.mark == TreeMark::kWhiteout; });
    const bool tells_whiteouts = has_whiteouts && !marks_->has_devices;
    if (!directory.is_opaque && !tells_whiteouts) {
      return {};
    }
    const char value = directory.is_opaque ? 'y' : 'x';
    return named(path,
                 set_host_attribute(descriptor, mark_attribute(marks_->prefix, "opaque", value)));
  }

  // ---- files
  // Whether it was made.
  Result<bool> write_file(const std::string& path, const TreeFile& file) {
    const FileState& state = file.state;
    if (state.is_regular()) {
      UNIONFS_ASSIGN(const OwnedDescriptor made, writer_.make_file(path, S_IRUSR | S_IWUSR));
      if (file.content) {
        UNIONFS_TRY(named(path, write_content(*file.content, made.get())));
      }
      UNIONFS_TRY(set_looks(made.get(), path, state));
      return true;
    }
    Result<OwnedDescriptor> made = state.type() == ext2::kModeSymlink
                                       ? writer_.make_symlink(path, state.target)
                                       : writer_.make_node(path, state.type() | S_IRUSR | S_IWUSR,
                                                           state.device_major, state.device_minor);
    if (!made && !marks_ && made.error().error_number == EPERM) {
      report_.left_out.push_back(made.error().message);
      return false;
    }
    if (!made) {
      return Failure(std::move(made).error());
    }
    UNIONFS_TRY(set_looks(made->get(), path, state));
    return true;
  }

  // Holes stay holes.
  Result<void> write_content(FileBytes& content, int descriptor) {
    const uint64_t size = content.size_bytes();
    if (::ftruncate(descriptor, static_cast<off_t>(size)) == -1) {
      return system_failure(errno, fmt::format("cannot make it {} bytes long", size));
    }
    buffer_.resize(kPieceBytes);
    for (uint64_t offset = 0; offset < size;) {
      UNIONFS_ASSIGN(const auto data, content.next_data(offset));
      const ByteRange range = data.value_or(ByteRange{size, size});
      for (offset = range.begin; offset < range.end;) {
        const ByteSpan piece =
            ByteSpan(buffer_).first(std::min<uint64_t>(kPieceBytes, range.end - offset));
        UNIONFS_TRY(content.read(offset, piece));
        UNIONFS_TRY(write_at(descriptor, offset, piece));
        offset += piece.size();
      }
      if (options_.progress) {
        options_.progress(report_.content_bytes + offset);
      }
    }
    report_.content_bytes += size;
    return {};
  }

  static Result<void> write_at(int descriptor, uint64_t offset, ConstByteSpan bytes) {
    while (!bytes.empty()) {
      const ssize_t put =
          ::pwrite(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (put == -1 && errno != EINTR) {
        return system_failure(errno, fmt::format("cannot write at offset {}", offset));
      }
      offset += static_cast<uint64_t>(std::max<ssize_t>(put, 0));
      bytes = bytes.subspan(static_cast<size_t>(std::max<ssize_t>(put, 0)));
    }
    return {};
  }

  // ---- owner, permissions, attributes, times: each takes away what a later one sets
  Result<void> set_looks(int descriptor, const std::string& path, const FileState& state) {
    if (options_.is_root) {
      UNIONFS_TRY(named(path, set_host_owner(descriptor, state.user_id, state.group_id)));
    }
    if (state.type() != ext2::kModeSymlink) {
      UNIONFS_TRY(named(path, set_host_permissions(descriptor, permissions_of(state))));
    }
    for (const Attribute& attribute : state.attributes) {
      UNIONFS_TRY(set_attribute(descriptor, path, attribute));
    }
    return named(path, set_host_times(descriptor, state.accessed, state.modified));
  }

  // An upper directory says what the files are, whoever owns them.
  uint32_t permissions_of(const FileState& state) const {
    return options_.is_root || marks_
               ? state.permissions()
               : state.permissions() & ~(uint32_t{kSetBits} | options_.umask);
  }

  Result<void> set_attribute(int descriptor, const std::string& path, const Attribute& attribute) {
    if (!options_.is_root && attribute.name_index != ext2::kXattrIndexUser) {
      report_.left_out_attributes.push_back(
          fmt::format("{}: {}", quoted_name(path), quoted_name(attribute.full_name())));
      return {};
    }
    Result<NamedAttribute> as_named = named_attribute(attribute);
    if (!as_named) {
      return named(path, Failure(as_named.error()));
    }
    if (marks_ && as_named->name.starts_with(marks_->prefix)) {
      as_named->name.insert(marks_->prefix.size(), "overlay.");
    }
    const Result<void> set = set_host_attribute(descriptor, *as_named);
    if (!set && !marks_) {
      report_.left_out_attributes.push_back(
          fmt::format("{}: {}", quoted_name(path), set.error().message));
      return {};
    }
    return named(path, set);
  }

  static Result<void> named(const std::string& path, Result<void> result) {
    if (!result) {
      result.error().message = fmt::format("{}: {}", quoted_name(path), result.error().message);
    }
    return result;
  }

  static constexpr size_t kPieceBytes = size_t{1} << 20;

  const FileTree& tree_;
  HostWriter& writer_;
  const HostDirectoryOptions& options_;
  const std::optional<HostMarks> marks_;
  HostDirectoryReport report_;
  std::vector<std::string> first_paths_;                         // of the files that were made
  std::vector<std::pair<std::string, TreeFileId>> directories_;  // in the order of the walk
  std::vector<std::byte> buffer_;
};

// ---- overlayfs ---------------------------------------------------------------------

bool is_whiteout_device(const FileState& state) {
  return state.type() == ext2::kModeCharDevice && state.device_major == 0 &&
         state.device_minor == 0;
}

Result<void> check_can_be_upper(const FileTree& tree) {
  return walk_tree(tree, [&](const TreeVisit& visit) -> Result<void> {
    if (visit.name.mark == TreeMark::kFallthru) {
      return invalid("{}: shows through an opaque directory, which overlayfs cannot say",
                     quoted_name(visit.path));
    }
    if (visit.name.mark == TreeMark::kFile &&
        is_whiteout_device(tree.file(visit.name.file).state)) {
      return invalid("{}: is a character device 0/0, which would be a whiteout to overlayfs",
                     quoted_name(visit.path));
    }
    return {};
  });
}

// Tries both sorts of marks on the directory itself.
Result<HostMarks> find_marks(HostWriter& writer) {
  constexpr const char* kTried = ".unionfs-whiteout";
  HostMarks marks{kTrustedMarks};
  UNIONFS_ASSIGN(const OwnedDescriptor* top, writer.directory(""));
  if (!set_host_attribute(top->get(), mark_attribute(marks.prefix, "opaque", 'n'))) {
    marks.prefix = kUserMarks;
    UNIONFS_TRY(set_host_attribute(top->get(), mark_attribute(marks.prefix, "opaque", 'n')));
  }
  UNIONFS_TRY(remove_host_attribute(top->get(), marks.prefix + "opaque"));
  const auto device = writer.make_node(kTried, S_IFCHR, 0, 0);
  if (!device && device.error().error_number != EPERM) {
    return Failure(device.error());
  }
  marks.has_devices = device.has_value();
  UNIONFS_TRY(writer.remove(kTried));
  return marks;
}

}  // namespace

Result<HostDirectoryReport> write_host_directory(const FileTree& tree, const std::string& directory,
                                                 const HostDirectoryOptions& options) {
  UNIONFS_ASSIGN(const auto writer, HostWriter::open(directory));
  return HostDirectory(tree, *writer, options, std::nullopt).write();
}

Result<OverlayfsReport> write_overlayfs_directory(const FileTree& tree,
                                                  const std::string& directory,
                                                  const HostDirectoryOptions& options) {
  UNIONFS_TRY(check_can_be_upper(tree));
  UNIONFS_ASSIGN(const auto writer, HostWriter::open(directory));
  UNIONFS_ASSIGN(HostMarks marks, find_marks(*writer));
  OverlayfsReport report;
  report.has_user_marks = marks.prefix == kUserMarks;
  UNIONFS_ASSIGN(report.written, HostDirectory(tree, *writer, options, std::move(marks)).write());
  return report;
}

}  // namespace unionfs
