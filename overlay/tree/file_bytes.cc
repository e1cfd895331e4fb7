// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/tree/file_bytes.h"

#include <algorithm>

namespace unionfs {
namespace {

constexpr size_t kCompareBytes = size_t{256} << 10;

class SpoolBytes final : public FileBytes {
 public:
  SpoolBytes(std::shared_ptr<const ReadableFile> file, uint64_t begin, std::vector<ByteRange> data,
             uint64_t size_bytes)
      : file_(std::move(file)), size_bytes_(size_bytes) {
    for (const ByteRange& range : data) {
      pieces_.push_back({range, begin});
      begin += range.length();
    }
  }

  uint64_t size_bytes() const override { return size_bytes_; }

  Result<std::optional<ByteRange>> next_data(uint64_t offset) override {
    const auto piece = first_behind(offset);
    if (piece == pieces_.end()) {
      return std::optional<ByteRange>();
    }
    return std::optional<ByteRange>({std::max(piece->range.begin, offset), piece->range.end});
  }

  Result<void> read(uint64_t offset, ByteSpan buffer) override {
    std::ranges::fill(buffer, std::byte(0));
    const uint64_t end = offset + buffer.size();
    for (auto piece = first_behind(offset); piece != pieces_.end() && piece->range.begin < end;
         ++piece) {
      const uint64_t from = std::max(offset, piece->range.begin);
      const uint64_t to = std::min(end, piece->range.end);
      UNIONFS_TRY(file_->read(piece->place + (from - piece->range.begin),
                              buffer.subspan(from - offset, to - from)));
    }
    return {};
  }

 private:
  struct Piece {
    ByteRange range;
    uint64_t place = 0;  // in the host file
  };

  std::vector<Piece>::const_iterator first_behind(uint64_t offset) const {
    return std::ranges::upper_bound(pieces_, offset, {},
                                    [](const Piece& piece) { return piece.range.end; });
  }

  const std::shared_ptr<const ReadableFile> file_;
  const uint64_t size_bytes_;
  std::vector<Piece> pieces_;
};

class MemoryBytes final : public FileBytes {
 public:
  explicit MemoryBytes(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}

  uint64_t size_bytes() const override { return bytes_.size(); }

  Result<std::optional<ByteRange>> next_data(uint64_t offset) override {
    return offset < bytes_.size() ? std::optional<ByteRange>({offset, bytes_.size()})
                                  : std::nullopt;
  }

  Result<void> read(uint64_t offset, ByteSpan buffer) override {
    const size_t begin = std::min<uint64_t>(offset, bytes_.size());
    const size_t length = std::min(buffer.size(), bytes_.size() - begin);
    std::copy_n(bytes_.begin() + begin, length, buffer.begin());
    std::fill(buffer.begin() + length, buffer.end(), std::byte{0});
    return {};
  }

 private:
  const std::vector<std::byte> bytes_;
};

}  // namespace

std::unique_ptr<FileBytes> bytes_of_spool(std::shared_ptr<const ReadableFile> file, uint64_t begin,
                                          std::vector<ByteRange> data, uint64_t size_bytes) {
  return std::make_unique<SpoolBytes>(std::move(file), begin, std::move(data), size_bytes);
}

std::unique_ptr<FileBytes> bytes_in_memory(std::vector<std::byte> bytes) {
  return std::make_unique<MemoryBytes>(std::move(bytes));
}

Result<bool> have_same_bytes(FileBytes& one, FileBytes& other, uint64_t& bytes_compared) {
  const uint64_t size = one.size_bytes();
  if (size != other.size_bytes()) {
    return false;
  }
  std::vector<std::byte> one_bytes(std::min<uint64_t>(kCompareBytes, size));
  std::vector<std::byte> other_bytes(one_bytes.size());
  uint64_t offset = 0;
  while (offset < size) {
    UNIONFS_ASSIGN(const auto one_data, one.next_data(offset));
    UNIONFS_ASSIGN(const auto other_data, other.next_data(offset));
    const uint64_t one_begin = one_data ? one_data->begin : size;
    const uint64_t other_begin = other_data ? other_data->begin : size;
    offset = std::min(one_begin, other_begin);
    const size_t length = std::min<uint64_t>(one_bytes.size(), size - offset);
    const uint64_t end = offset + length;
    const ByteSpan one_part = ByteSpan(one_bytes).first(length);
    const ByteSpan other_part = ByteSpan(other_bytes).first(length);
    UNIONFS_TRY(one.read(offset, one_part));
    UNIONFS_TRY(other.read(offset, other_part));
    bytes_compared += (one_begin < end ? length : 0) + (other_begin < end ? length : 0);
    if (!same_bytes(one_part, other_part)) {
      return false;
    }
    offset = end;
  }
  return true;
}

Result<bool> share_block(FileBytes& one, FileBytes& other, uint32_t block_size_bytes,
                         uint64_t& bytes_compared) {
  std::vector<std::byte> one_bytes;
  std::vector<std::byte> other_bytes;
  uint64_t offset = 0;
  while (true) {
    UNIONFS_ASSIGN(const auto one_data, one.next_data(offset));
    UNIONFS_ASSIGN(const auto other_data, other.next_data(offset));
    if (!one_data || !other_data) {
      return false;
    }
    const uint64_t later = std::max(one_data->begin, other_data->begin);
    const uint64_t begin = later - later % block_size_bytes;
    const uint64_t end = std::min(one_data->end, other_data->end);
    if (end <= begin) {
      offset = begin;
      continue;
    }
    const uint64_t length =
        std::min<uint64_t>(kCompareBytes, round_up(end - begin, block_size_bytes));
    one_bytes.resize(length);
    other_bytes.resize(length);
    UNIONFS_TRY(one.read(begin, one_bytes));
    UNIONFS_TRY(other.read(begin, other_bytes));
    bytes_compared += 2 * length;
    for (size_t at = 0; at < length; at += block_size_bytes) {
      if (same_bytes(ConstByteSpan(one_bytes).subspan(at, block_size_bytes),
                     ConstByteSpan(other_bytes).subspan(at, block_size_bytes))) {
        return true;
      }
    }
    offset = begin + length;
  }
}

}  // namespace unionfs
