// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/remote/remote_file.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "overlay/remote/remote_reads.h"

namespace unionfs {
namespace {

constexpr auto kTimeToConnect = std::chrono::seconds(10);
// A longer read is no metadata.
constexpr size_t kLongestKept = size_t{256} << 10;

RemoteTime time_in(std::chrono::milliseconds timeout) {
  return timeout.count() == 0 ? RemoteTime::max() : std::chrono::steady_clock::now() + timeout;
}

}  // namespace

Result<std::unique_ptr<RemoteFile>> RemoteFile::open(const std::string& uri,
                                                     const RemoteOptions& options,
                                                     const LogSink& log) {
  std::unique_ptr<RemoteFile> file(new RemoteFile(uri, options, log));
  {
    const MutexLock lock(file->direct_mutex_);
    UNIONFS_TRY(file->connect());
    file->about_ = file->handle_->about();
  }
  if (!file->about_.is_read_only) {
    log(fmt::format(
        "{}: its server lets clients write to it; see to it that nobody does, or have it served "
        "read-only",
        file->name()));
  }
  return file;
}

RemoteFile::~RemoteFile() = default;

Result<void> RemoteFile::connect() const {
  if (handle_ == nullptr) {
    UNIONFS_ASSIGN(handle_, NbdHandle::connect(uri_, time_in(kTimeToConnect), never_));
  }
  return {};
}

void RemoteFile::suspend() {
  const MutexLock lock(direct_mutex_);
  handle_.reset();
}

void RemoteFile::start() {
  suspend();
  client_ = std::make_unique<RemoteClient>(uri_, about_, options_, log_, check_);
}

void RemoteFile::end_soon() const {
  if (client_ != nullptr) {
    client_->end_soon();
  }
}

void RemoteFile::give_up() {
  if (client_ != nullptr) {
    client_->give_up();
  }
}

// ---- reading -------------------------------------------------------------------

Result<void> RemoteFile::check_inside(uint64_t offset, size_t length) const {
  if (offset > size_bytes() || length > size_bytes() - offset) {
    return corrupt("{}: ends at offset {}, before {} bytes at {}", name(), size_bytes(), length,
                   offset);
  }
  return {};
}

bool RemoteFile::is_kept(uint64_t begin, uint64_t end) const {
  const auto next =
      std::upper_bound(kept_.begin(), kept_.end(), begin,
                       [](uint64_t at, const KeptRange& range) { return at < range.end; });
  return next != kept_.end() && begin >= next->begin && end <= next->end;
}

Result<std::vector<std::byte>> RemoteFile::fetch_chunk(uint64_t begin, size_t length) const {
  constexpr size_t kMostAhead = ChunkCache::kMostChunks / 2;
  if (is_ahead_ && fetched_chunks_ >= kMostAhead) {
    return system_failure(ECANCELED, fmt::format("{}: no more is read ahead", name()));
  }
  if (failed_) {
    return Failure(*failed_);
  }
  if (Result<void> connected = connect(); !connected) {
    failed_ = connected.error();
    return Failure(std::move(connected).error());
  }
  ++fetched_chunks_;
  std::vector<std::byte> chunk(length);
  for (size_t done = 0; done < length;) {
    const size_t count = std::min<size_t>(length - done, about_.maximum_bytes);
    const ByteSpan piece = ByteSpan(chunk).subspan(done, count);
    if (Result<void> got = handle_->read(begin + done, piece, time_in(options_.timeout), never_);
        !got) {
      handle_.reset();
      failed_ = got.error();
      return Failure(std::move(got).error());
    }
    done += count;
  }
  return chunk;
}

// One chunk after another, through the connection of the opening.
Result<void> RemoteFile::read_directly(uint64_t offset, ByteSpan buffer) const {
  const uint64_t unit = chunk_unit();
  const MutexLock lock(direct_mutex_);
  while (true) {
    // Perhaps another thread has fetched it meanwhile.
    const size_t known = cache_.copy(offset, buffer);
    offset += known;
    buffer = buffer.subspan(known);
    if (buffer.empty()) {
      return {};
    }
    const uint64_t begin = offset / unit * unit;
    UNIONFS_ASSIGN(const std::vector<std::byte> chunk,
                   fetch_chunk(begin, std::min(unit, size_bytes() - begin)));
    const size_t skip = offset - begin;
    const size_t count = std::min(buffer.size(), chunk.size() - skip);
    std::memcpy(buffer.data(), chunk.data() + skip, count);
    if (keeps_chunks()) {
      cache_.insert(begin, chunk);
    }
    offset += count;
    buffer = buffer.subspan(count);
  }
}

Result<void> RemoteFile::check_no_read_failed() const {
  const MutexLock lock(direct_mutex_);
  return failed_ ? Result<void>(Failure(*failed_)) : Result<void>();
}

void RemoteFile::read_only_ahead(bool is_ahead) const {
  const MutexLock lock(direct_mutex_);
  is_ahead_ = is_ahead;
}

Result<void> RemoteFile::read(uint64_t offset, ByteSpan buffer) const {
  UNIONFS_TRY(check_inside(offset, buffer.size()));
  UNIONFS_TRY(check_not_replaced());
  const size_t done = cache_.copy(offset, buffer);
  offset += done;
  buffer = buffer.subspan(done);
  if (buffer.empty()) {
    return {};
  }
  if (client_ == nullptr) {
    return read_directly(offset, buffer);
  }
  RemoteReads reads({shown_, about_, *client_, cache_});
  reads.add({this, offset, buffer}, buffer.size() <= kLongestKept);
  reads.send();
  return reads.finish();
}

size_t RemoteFile::read_cached(uint64_t offset, ByteSpan buffer) const {
  if (!check_inside(offset, buffer.size()) || !check_not_replaced()) {
    return 0;
  }
  const auto holes = client_ != nullptr ? client_->holes() : nullptr;
  size_t done = 0;
  while (done < buffer.size()) {
    const uint64_t at = offset + done;
    const FileExtent extent =
        holes != nullptr ? holes->extent_at(at, size_bytes()) : FileExtent{false, size_bytes()};
    const ByteSpan piece =
        buffer.subspan(done, std::min<uint64_t>(buffer.size() - done, extent.end - at));
    size_t count = piece.size();
    if (extent.is_hole) {
      std::memset(piece.data(), 0, count);
    } else {
      count = cache_.copy(at, piece);
    }
    done += count;
    if (count < piece.size()) {
      break;
    }
  }
  return done;
}

std::unique_ptr<PendingReads> RemoteFile::begin_reads(std::span<const ReadRange> ranges) const {
  const bool is_refused = client_ == nullptr || !client_->check_same() ||
                          std::any_of(ranges.begin(), ranges.end(), [this](const ReadRange& range) {
                            return !check_inside(range.offset, range.buffer.size());
                          });
  if (is_refused) {
    return nullptr;  // read() says why
  }
  auto reads = std::make_unique<RemoteReads>(RemoteReads::Source{shown_, about_, *client_, cache_});
  for (const ReadRange& range : ranges) {
    reads->add(range, is_kept(range.offset, range.offset + range.buffer.size()));
  }
  reads->send();
  return reads;
}

Result<void> RemoteFile::read_uncached(std::span<const ReadRange> ranges,
                                       std::chrono::milliseconds time) const {
  UNIONFS_TRY(check_not_replaced());
  RemoteReads reads(RemoteReads::Source{shown_, about_, *client_, cache_});
  for (const ReadRange& range : ranges) {
    UNIONFS_TRY(check_inside(range.offset, range.buffer.size()));
    reads.add(range, false);
  }
  reads.send(time);
  return reads.finish();
}

FileExtent RemoteFile::extent_at(uint64_t offset) const {
  const auto holes = client_ != nullptr ? client_->holes() : nullptr;
  return holes != nullptr ? holes->extent_at(offset, size_bytes())
                          : FileExtent{false, size_bytes()};
}

// ---- the same image ------------------------------------------------------------

namespace {

// Past the cache, in stretches that are kept until another is needed: who compares reads one block
// after the other.  One thread.
class UncachedImage final : public Image {
 public:
  UncachedImage(const RemoteFile& file, const RemoteReads::Source& source)
      : file_(file), source_(source) {}

  const std::string& name() const override { return file_.name(); }
  uint64_t size_bytes() const override { return file_.size_bytes(); }
  Result<void> read(uint64_t offset, ByteSpan buffer) const override {
    while (!buffer.empty()) {
      if (offset < window_offset_ || offset >= window_offset_ + window_.size()) {
        UNIONFS_TRY(fill_window(offset));
      }
      const size_t skip = offset - window_offset_;
      const size_t count = std::min(buffer.size(), window_.size() - skip);
      std::memcpy(buffer.data(), window_.data() + skip, count);
      buffer = buffer.subspan(count);
      offset += count;
    }
    return {};
  }

 private:
  static constexpr uint64_t kWindowBytes = uint64_t{256} << 10;

  Result<void> fill_window(uint64_t offset) const {
    window_.clear();
    if (offset >= size_bytes()) {
      return corrupt("{}: ends at offset {}", name(), size_bytes());
    }
    std::vector<std::byte> bytes(std::min(kWindowBytes, size_bytes() - offset));
    RemoteReads reads(source_);
    reads.add({&file_, offset, bytes}, false);
    reads.send();
    UNIONFS_TRY(reads.finish());
    window_offset_ = offset;
    window_ = std::move(bytes);
    return {};
  }

  const RemoteFile& file_;
  const RemoteReads::Source source_;
  mutable uint64_t window_offset_ = 0;
  mutable std::vector<std::byte> window_;
};

}  // namespace

Result<void> RemoteFile::check_not_replaced() const {
  return client_ != nullptr ? client_->check_same() : Result<void>();
}

Result<void> RemoteFile::check_same() const {
  if (client_ == nullptr) {
    return {};
  }
  UNIONFS_TRY(client_->check_same());
  const RemoteReads::Source source{shown_, about_, *client_, cache_};
  Result<void> same = check_ ? check_(UncachedImage(*this, source)) : Result<void>();
  if (!same && same.error().kind != ErrorKind::kSystem) {
    client_->note_difference(same.error());
  }
  return same;
}

}  // namespace unionfs
