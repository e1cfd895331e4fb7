// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sources/archive_reader.h"

#include <archive_entry.h>

#include <algorithm>

namespace unionfs {
namespace {

constexpr size_t kBufferBytes = size_t{256} << 10;
constexpr std::string_view kNoConversion = "to current locale.";

}  // namespace

ArchiveReader::ArchiveReader(ByteStream& stream)
    : handle_(archive_read_new()),
      locale_(::newlocale(LC_ALL_MASK, "C", nullptr)),
      stream_(stream),
      buffer_(kBufferBytes) {}

ArchiveReader::~ArchiveReader() {
  ::freelocale(locale_);
  archive_read_free(handle_);
}

Result<std::unique_ptr<ArchiveReader>> ArchiveReader::open(ByteStream& stream, Reads reads) {
  std::unique_ptr<ArchiveReader> reader(new ArchiveReader(stream));
  archive* const handle = reader->handle_;
  if (handle == nullptr) {
    return system_failure(ENOMEM, fmt::format("{}: cannot read an archive", stream.name()));
  }
  int status = ARCHIVE_OK;
  if (reads == Reads::kPacked) {
    for (const auto support : {archive_read_support_filter_gzip, archive_read_support_filter_zstd,
                               archive_read_support_filter_xz, archive_read_support_format_raw}) {
      status = std::min(status, support(handle));
    }
  } else {
    status = archive_read_support_format_tar(handle);
  }
  if (status != ARCHIVE_OK ||
      archive_read_open(handle, reader.get(), nullptr, read_more, nullptr) != ARCHIVE_OK) {
    return reader->failure(stream.name());
  }
  return reader;
}

// In the locale C libarchive cannot convert names that are not ASCII from UTF-8, says so, and
// leaves them as they are: that is what we want of names.
Result<archive_entry*> ArchiveReader::next_entry(std::string_view where) {
  archive_entry* entry = nullptr;
  const locale_t before = ::uselocale(locale_);
  const int status = archive_read_next_header(handle_, &entry);
  ::uselocale(before);
  if (status == ARCHIVE_EOF) {
    return nullptr;
  }
  if (status == ARCHIVE_OK) {
    return entry;
  }
  const char* words = archive_error_string(handle_);
  if (status == ARCHIVE_WARN && words != nullptr &&
      std::string_view(words).ends_with(kNoConversion)) {
    return entry;
  }
  return failure(where);
}

la_ssize_t ArchiveReader::read_more(archive* handle, void* self, const void** buffer) {
  auto& reader = *static_cast<ArchiveReader*>(self);
  auto got = reader.stream_.read(reader.buffer_);
  if (!got) {
    reader.stream_error_ = std::move(got).error();
    archive_set_error(handle, reader.stream_error_->error_number, "the stream failed");
    return ARCHIVE_FATAL;
  }
  *buffer = reader.buffer_.data();
  return static_cast<la_ssize_t>(*got);
}

Failure ArchiveReader::failure(std::string_view where) const {
  if (stream_error_) {
    return Failure(*stream_error_);
  }
  const char* words = archive_error_string(handle_);
  if (archive_errno(handle_) == ENOMEM) {
    return system_failure(ENOMEM, std::string(where));
  }
  return corrupt("{}: {}", where, printable(words == nullptr ? "cannot be read" : words));
}

// ---- what is behind the compression --------------------------------------------------

namespace {

class UnpackedStream final : public ByteStream {
 public:
  UnpackedStream(ByteStream& packed, SourceContext& context) : packed_(packed), context_(context) {}

  Result<void> open() {
    UNIONFS_ASSIGN(reader_, ArchiveReader::open(packed_, ArchiveReader::Reads::kPacked));
    UNIONFS_ASSIGN(const archive_entry* entry, reader_->next_entry(name()));
    if (entry == nullptr) {
      return corrupt("{}: is empty", name());
    }
    return {};
  }

  const std::string& name() const override { return packed_.name(); }

  Result<size_t> read(ByteSpan buffer) override {
    const la_ssize_t got = archive_read_data(reader_->handle(), buffer.data(), buffer.size());
    if (got < 0) {
      return reader_->failure(name());
    }
    context_.used.unpacked_bytes += static_cast<uint64_t>(got);
    if (context_.used.unpacked_bytes > context_.limits.unpacked_bytes) {
      return unsupported("{}: holds more than {} bytes when unpacked, which is the limit", name(),
                         context_.limits.unpacked_bytes);
    }
    return static_cast<size_t>(got);
  }

 private:
  ByteStream& packed_;
  SourceContext& context_;
  std::unique_ptr<ArchiveReader> reader_;
};

}  // namespace

Result<std::unique_ptr<ByteStream>> unpack_stream(ByteStream& packed, SourceContext& context) {
  auto stream = std::make_unique<UnpackedStream>(packed, context);
  UNIONFS_TRY(stream->open());
  return std::unique_ptr<ByteStream>(std::move(stream));
}

}  // namespace unionfs
