// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sinks/compressed_stream.h"

#include <archive.h>
#include <archive_entry.h>

#include <algorithm>
#include <array>

namespace unionfs {
namespace {

constexpr const char* kGzipOptions = "gzip:!timestamp,gzip:compression-level=6";
// In one thread, which is libarchive's default: more of them cut the data elsewhere.
constexpr const char* kZstdOptions = "zstd:compression-level=3";

int set_up_gzip(archive* made) {
  const int format = ::archive_write_set_format_raw(made);
  const int filter = ::archive_write_add_filter_gzip(made);
  return std::min({format, filter, ::archive_write_set_options(made, kGzipOptions)});
}

int set_up_zstd(archive* made) {
  const int format = ::archive_write_set_format_raw(made);
  const int filter = ::archive_write_add_filter_zstd(made);
  return std::min({format, filter, ::archive_write_set_options(made, kZstdOptions)});
}

}  // namespace

std::string compression_maker(Compression compression) {
  switch (compression) {
    case Compression::kNone:
      return {};
    case Compression::kGzip:
      return fmt::format("zlib {} level 6, {}", ::archive_zlib_version(),
                         ::archive_version_string());
    case Compression::kZstd:
      return fmt::format("zstd {} level 3, {}", ::archive_libzstd_version(),
                         ::archive_version_string());
  }
  return {};
}

// gzip's header says which system has written it (RFC 1952): none.
class CompressedStream::PlainHeader final : public OutputStream {
 public:
  PlainHeader(OutputStream& out, bool is_gzip) : out_(out), is_gzip_(is_gzip) {}

  Result<void> add(ConstByteSpan bytes) override {
    if (!is_gzip_ || header_length_ == header_.size()) {
      return out_.add(bytes);
    }
    const size_t taken = std::min(header_.size() - header_length_, bytes.size());
    std::copy_n(bytes.begin(), taken, header_.begin() + header_length_);
    header_length_ += taken;
    if (header_length_ < header_.size()) {
      return {};
    }
    header_[kSystemOffset] = kUnknownSystem;
    UNIONFS_TRY(out_.add(header_));
    return out_.add(bytes.subspan(taken));
  }

 private:
  static constexpr size_t kSystemOffset = 9;
  static constexpr std::byte kUnknownSystem{255};

  OutputStream& out_;
  const bool is_gzip_;
  std::array<std::byte, 10> header_ = {};
  size_t header_length_ = 0;
};

CompressedStream::CompressedStream() = default;
CompressedStream::~CompressedStream() = default;

Result<std::unique_ptr<CompressedStream>> CompressedStream::open(OutputStream& out,
                                                                 Compression compression) {
  std::unique_ptr<CompressedStream> stream(new CompressedStream());
  stream->out_ = &out;
  if (compression == Compression::kNone) {
    return stream;
  }
  const bool is_gzip = compression == Compression::kGzip;
  stream->header_ = std::make_unique<PlainHeader>(out, is_gzip);
  UNIONFS_ASSIGN(stream->archive_,
                 ArchiveHandle::open(*stream->header_, is_gzip ? set_up_gzip : set_up_zstd));
  archive_entry* const entry = ::archive_entry_new();
  ::archive_entry_set_filetype(entry, AE_IFREG);
  const int code = ::archive_write_header(stream->archive_->get(), entry);
  ::archive_entry_free(entry);
  UNIONFS_TRY(stream->archive_->check(code, "compressed data"));
  return stream;
}

Result<void> CompressedStream::add(ConstByteSpan bytes) {
  return archive_ ? archive_->write(bytes) : out_->add(bytes);
}

Result<void> CompressedStream::end() {
  return archive_ ? archive_->close() : Result<void>();
}

}  // namespace unionfs
