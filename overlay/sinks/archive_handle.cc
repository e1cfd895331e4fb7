// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sinks/archive_handle.h"

#include <archive.h>

namespace unionfs {
namespace {

// In one go to the stream; the last one has no padding.
constexpr int kBlockBytes = 128 * 1024;

}  // namespace

Result<std::unique_ptr<ArchiveHandle>> ArchiveHandle::open(
    OutputStream& out, const std::function<int(archive*)>& set_up) {
  std::unique_ptr<ArchiveHandle> handle(new ArchiveHandle(out));
  handle->archive_ = ::archive_write_new();
  if (handle->archive_ == nullptr) {
    return system_failure(ENOMEM, "cannot begin an archive");
  }
  archive* const made = handle->archive_;
  UNIONFS_TRY(handle->check(set_up(made), "the archive's format"));
  ::archive_write_set_bytes_per_block(made, kBlockBytes);
  ::archive_write_set_bytes_in_last_block(made, 1);
  const auto write = [](archive* /*of*/, void* self, const void* bytes, size_t length) {
    // An error is told by check(): libarchive 3.6 would not free its buffer after one.
    auto& writer = *static_cast<ArchiveHandle*>(self);
    if (writer.written_ && !writer.is_abandoned_) {
      writer.written_ = writer.out_.add({static_cast<const std::byte*>(bytes), length});
    }
    return static_cast<la_ssize_t>(length);
  };
  UNIONFS_TRY(handle->check(::archive_write_open(made, handle.get(), nullptr, write, nullptr),
                            "the archive"));
  return handle;
}

ArchiveHandle::~ArchiveHandle() {
  is_abandoned_ = true;  // what is left does not go to the stream
  ::archive_write_free(archive_);
}

Result<void> ArchiveHandle::check(int code, const std::string& what) {
  UNIONFS_TRY(written_);
  if (code == ARCHIVE_OK) {
    return {};
  }
  const char* message = ::archive_error_string(archive_);
  return make_failure(ErrorKind::kSystem, EIO,
                      fmt::format("{}: cannot write it: {}", what,
                                  message != nullptr ? message : "libarchive does not say why"));
}

Result<void> ArchiveHandle::write(ConstByteSpan bytes) {
  while (!bytes.empty()) {
    const la_ssize_t put = ::archive_write_data(archive_, bytes.data(), bytes.size());
    UNIONFS_TRY(check(put > 0 ? ARCHIVE_OK : ARCHIVE_FATAL, "the archive"));
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
  return {};
}

Result<void> ArchiveHandle::close() {
  return check(::archive_write_close(archive_), "the archive's end");
}

}  // namespace unionfs
