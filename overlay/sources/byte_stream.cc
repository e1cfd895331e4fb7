// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sources/byte_stream.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

namespace unionfs {
namespace {

constexpr size_t kPieceBytes = size_t{256} << 10;

class DescriptorStream final : public ByteStream {
 public:
  DescriptorStream(std::string name, int descriptor, bool is_owned, SourceContext& context)
      : name_(std::move(name)), descriptor_(descriptor), is_owned_(is_owned), context_(context) {}
  ~DescriptorStream() override {
    if (is_owned_) {
      ::close(descriptor_);
    }
  }
  DescriptorStream(const DescriptorStream&) = delete;
  DescriptorStream& operator=(const DescriptorStream&) = delete;

  const std::string& name() const override { return name_; }

  Result<size_t> read(ByteSpan buffer) override {
    ssize_t got = -1;
    do {
      got = ::read(descriptor_, buffer.data(), buffer.size());
    } while (got == -1 && errno == EINTR);
    if (got == -1) {
      return system_failure(errno, fmt::format("{}: cannot read", name_));
    }
    if (context_.progress) {
      UNIONFS_TRY(context_.progress(static_cast<uint64_t>(got)));
    }
    return static_cast<size_t>(got);
  }

 private:
  const std::string name_;
  const int descriptor_;
  const bool is_owned_;
  SourceContext& context_;
};

class BytesStream final : public ByteStream {
 public:
  BytesStream(std::string name, std::shared_ptr<FileBytes> bytes)
      : name_(std::move(name)), bytes_(std::move(bytes)) {}

  const std::string& name() const override { return name_; }

  Result<size_t> read(ByteSpan buffer) override {
    const uint64_t left = bytes_->size_bytes() - offset_;
    const size_t length = std::min<uint64_t>(buffer.size(), left);
    if (length > 0) {
      UNIONFS_TRY(bytes_->read(offset_, buffer.first(length)));
    }
    offset_ += length;
    return length;
  }

 private:
  const std::string name_;
  const std::shared_ptr<FileBytes> bytes_;
  uint64_t offset_ = 0;
};

}  // namespace

Result<std::unique_ptr<ByteStream>> open_stream(const std::string& path, SourceContext& context) {
  if (path == "-") {
    return std::unique_ptr<ByteStream>(
        std::make_unique<DescriptorStream>("standard input", STDIN_FILENO, false, context));
  }
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY);
  if (descriptor == -1) {
    return system_failure(errno, fmt::format("{}: cannot open", path));
  }
  auto stream = stream_of_descriptor(path, descriptor, context);
  struct stat status;
  if (::fstat(descriptor, &status) == -1) {
    return system_failure(errno, fmt::format("{}: cannot stat", path));
  }
  if (S_ISDIR(status.st_mode)) {
    return system_failure(EISDIR, fmt::format("{}: is no archive", path));
  }
  return stream;
}

std::unique_ptr<ByteStream> stream_of_descriptor(std::string name, int descriptor,
                                                 SourceContext& context) {
  return std::make_unique<DescriptorStream>(std::move(name), descriptor, true, context);
}

std::unique_ptr<ByteStream> stream_of_bytes(std::string name, std::shared_ptr<FileBytes> bytes) {
  return std::make_unique<BytesStream>(std::move(name), std::move(bytes));
}

std::unique_ptr<ByteStream> stream_in_memory(std::string name, std::vector<std::byte> bytes) {
  return stream_of_bytes(std::move(name), bytes_in_memory(std::move(bytes)));
}

Result<std::vector<std::byte>> read_whole_stream(ByteStream& stream, size_t most) {
  std::vector<std::byte> bytes;
  while (true) {
    const size_t begin = bytes.size();
    bytes.resize(std::min(begin + kPieceBytes, most + 1));
    UNIONFS_ASSIGN(const size_t got, stream.read(ByteSpan(bytes).subspan(begin)));
    bytes.resize(begin + got);
    if (bytes.size() > most) {
      return unsupported("{}: has more than {} bytes", stream.name(), most);
    }
    if (got == 0) {
      return bytes;
    }
  }
}

Result<void> drain_stream(ByteStream& stream) {
  std::vector<std::byte> piece(kPieceBytes);
  size_t got = 0;
  do {
    UNIONFS_ASSIGN(got, stream.read(piece));
  } while (got > 0);
  return {};
}

}  // namespace unionfs
