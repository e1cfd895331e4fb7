// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sinks/tar_stream.h"

#include <archive.h>
#include <archive_entry.h>

#include "fsparse/ext2_format.h"

namespace unionfs {
namespace {

// Attributes are written in one form.
constexpr const char* kOptions = "xattrheader=SCHILY";
constexpr const char* kBytesOptions = "hdrcharset=BINARY,xattrheader=SCHILY";

}  // namespace

void TarStream::FreeEntry::operator()(archive_entry* entry) const {
  ::archive_entry_free(entry);
}

Result<std::unique_ptr<TarStream>> TarStream::open(OutputStream& out, Names names) {
  const auto set_up_pax = [names](archive* made) {
    const int code = ::archive_write_set_format_pax(made);
    return code != ARCHIVE_OK ? code
                              : ::archive_write_set_options(
                                    made, names == Names::kBytes ? kBytesOptions : kOptions);
  };
  UNIONFS_ASSIGN(auto archive, ArchiveHandle::open(out, set_up_pax));
  archive_entry* entry = ::archive_entry_new();
  if (entry == nullptr) {
    return system_failure(ENOMEM, "cannot begin an archive");
  }
  return std::unique_ptr<TarStream>(new TarStream(std::move(archive), entry));
}

Result<void> TarStream::add(const std::string& path, const FileState& state,
                            const std::vector<NamedAttribute>& attributes,
                            const std::string& first_path) {
  archive_entry* const entry = ::archive_entry_clear(entry_.get());
  ::archive_entry_set_mode(entry, state.mode);
  ::archive_entry_set_uid(entry, state.user_id);
  ::archive_entry_set_gid(entry, state.group_id);
  ::archive_entry_set_mtime(entry, state.modified.seconds, state.modified.nanoseconds);
  const bool has_content = state.is_regular() && first_path.empty();
  ::archive_entry_set_size(entry, has_content ? static_cast<int64_t>(state.size_bytes) : 0);
  if (state.type() == ext2::kModeSymlink) {
    ::archive_entry_copy_symlink(entry, state.target.c_str());
  } else if (state.type() == ext2::kModeCharDevice || state.type() == ext2::kModeBlockDevice) {
    ::archive_entry_set_rdevmajor(entry, state.device_major);
    ::archive_entry_set_rdevminor(entry, state.device_minor);
  }
  for (const NamedAttribute& attribute : attributes) {
    ::archive_entry_xattr_add_entry(entry, attribute.name.c_str(), attribute.value.data(),
                                    attribute.value.size());
  }
  if (!first_path.empty()) {
    ::archive_entry_copy_hardlink(entry, first_path.c_str());
  }
  ::archive_entry_copy_pathname(entry, path.c_str());
  return archive_->check(::archive_write_header(archive_->get(), entry), quoted_name(path));
}

Result<void> TarStream::add_content(ConstByteSpan bytes) {
  return archive_->write(bytes);
}

Result<void> TarStream::end() {
  return archive_->close();
}

}  // namespace unionfs
