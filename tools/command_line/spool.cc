// SPDX-License-Identifier: BSD-3-Clause
#include "tools/command_line/spool.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <vector>

namespace unionfs::img {
namespace {

constexpr size_t kBufferBytes = 64 * 1024;

}  // namespace

Result<std::unique_ptr<PosixFile>> make_temporary_file() {
  const char* given = std::getenv("TMPDIR");
  auto file = PosixFile::create_temporary(given != nullptr && *given != '\0' ? given : "/var/tmp");
  return file ? std::move(file) : PosixFile::create_in_memory();
}

Result<std::unique_ptr<Spool>> Spool::make() {
  UNIONFS_ASSIGN(auto file, make_temporary_file());
  return std::unique_ptr<Spool>(new Spool(std::move(file)));
}

void Spool::add(std::string_view text) {
  buffer_ += text;
  if (buffer_.size() >= kBufferBytes) {
    write_out();
  }
}

void Spool::write_out() {
  if (written_) {
    written_ = file_->write(length_, std::as_bytes(std::span(buffer_)));
  }
  length_ += buffer_.size();
  buffer_.clear();
}

Result<void> Spool::copy_to_stdout() {
  write_out();
  UNIONFS_TRY(written_);
  std::vector<std::byte> piece;
  for (uint64_t offset = 0; offset < length_; offset += piece.size()) {
    piece.resize(std::min<uint64_t>(kBufferBytes, length_ - offset));
    UNIONFS_TRY(file_->read(offset, piece));
    if (std::fwrite(piece.data(), 1, piece.size(), stdout) != piece.size()) {
      return system_failure(errno, "cannot write to the standard output");
    }
  }
  return {};
}

}  // namespace unionfs::img
