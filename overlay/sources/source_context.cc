// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sources/source_context.h"

namespace unionfs {

Result<std::shared_ptr<ContentSpool>> ContentSpool::create_in(const std::string& directory) {
  auto file = PosixFile::create_temporary(directory);
  if (!file) {
    return system_failure(file.error().error_number,
                          fmt::format("{}: cannot make a temporary file", directory));
  }
  return std::shared_ptr<ContentSpool>(new ContentSpool(directory, std::move(*file)));
}

Result<std::shared_ptr<ContentSpool>> ContentSpool::create_in_memory() {
  UNIONFS_ASSIGN(auto file, PosixFile::create_in_memory());
  return std::shared_ptr<ContentSpool>(new ContentSpool("memory", std::move(file)));
}

Result<void> ContentSpool::append(ConstByteSpan bytes) {
  const auto written = file_->write(end_, bytes);
  if (!written) {
    return system_failure(
        written.error().error_number,
        fmt::format("{}: cannot keep what was read in a temporary file there", place_));
  }
  end_ += bytes.size();
  return {};
}

std::shared_ptr<FileBytes> ContentSpool::content(uint64_t begin, std::vector<ByteRange> data,
                                                 uint64_t size_bytes) const {
  return bytes_of_spool(file_, begin, std::move(data), size_bytes);
}

}  // namespace unionfs
