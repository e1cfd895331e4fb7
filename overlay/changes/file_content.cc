// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/changes/file_content.h"

#include <algorithm>
#include <cstring>

#include "fsparse/symlink.h"
#include "overlay/changes/block_map_editor.h"

namespace unionfs {
namespace {

constexpr uint64_t kMaxSmallFileBytes = 0x7fffffff;
constexpr size_t kBatchBytes = size_t{1} << 20;
constexpr uint64_t kReadBytes = uint64_t{256} << 10;

// Collects bytes of a file in ascending order, and makes whole blocks of the merged image
// equal to them; what lies between becomes holes.
class ContentWriter {
 public:
  ContentWriter(MergedFiles& files, InodeRecord& record)
      : files_(files), map_(files, record), block_size_(files.layout().block_size_bytes) {}

  // Room for bytes [offset, offset + length) of the file, to be filled at once.
  Result<ByteSpan> extend(uint64_t offset, size_t length) {
    const uint64_t first = offset / block_size_;
    const bool goes_on = !bytes_.empty() && first <= end();
    if (!goes_on || bytes_.size() >= kBatchBytes) {
      // The last block may still get more.
      UNIONFS_TRY(write(goes_on && first < end() ? 1 : 0));
    }
    if (bytes_.empty()) {
      begin_ = first;
    }
    const size_t start = offset - begin_ * block_size_;
    bytes_.resize(round_up(start + length, block_size_));
    return ByteSpan(bytes_).subspan(start, length);
  }

  // The file ends in or before block `block_count`.
  Result<void> finish(uint64_t block_count) {
    UNIONFS_TRY(write(0));
    UNIONFS_TRY(clear_until(block_count));
    UNIONFS_TRY(map_.clear(FileBlock(block_count), FileBlock(map_.end()),
                           [](BlockNumber) { return Result<bool>(false); }));
    return map_.finish();
  }

  uint64_t bytes_written() const { return bytes_written_; }

 private:
  // Blocks that lie one behind the other in the image.
  struct ContentRun {
    BlockNumber begin;
    size_t first = 0;  // in bytes_, in blocks
    size_t count = 0;
    bool is_new = false;
  };

  uint64_t end() const { return begin_ + bytes_.size() / block_size_; }
  ConstByteSpan collected(size_t first, size_t count) const {
    return ConstByteSpan(bytes_).subspan(first * block_size_, count * block_size_);
  }

  Result<void> clear_until(uint64_t block) {
    if (block <= done_) {
      return {};
    }
    UNIONFS_TRY(map_.clear(FileBlock(done_), FileBlock(block),
                           [this](BlockNumber number) { return is_zero(number); }));
    done_ = block;
    return {};
  }

  Result<bool> is_zero(BlockNumber block) {
    now_.resize(block_size_);
    UNIONFS_TRY(files_.volume().read_block(block, now_));
    return all_zeros(now_);
  }

  // Writes all but the last `kept` blocks.
  Result<void> write(size_t kept) {
    const size_t count = bytes_.size() / block_size_ - std::min(kept, bytes_.size() / block_size_);
    if (count == 0) {
      return {};
    }
    UNIONFS_TRY(clear_until(begin_));
    ContentRun run;
    for (size_t i = 0; i < count; ++i) {
      UNIONFS_ASSIGN(const auto present, map_.find(FileBlock(begin_ + i)));
      UNIONFS_ASSIGN(const BlockNumber block,
                     present ? Result<BlockNumber>(*present) : map_.add(FileBlock(begin_ + i)));
      if (run.count > 0 && block == run.begin + run.count && run.is_new == !present) {
        ++run.count;
        continue;
      }
      UNIONFS_TRY(write_run(run));
      run = {block, i, 1, !present};
    }
    UNIONFS_TRY(write_run(run));
    bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<ptrdiff_t>(count * block_size_));
    begin_ += count;
    done_ = begin_;
    return {};
  }

  Result<void> write_run(const ContentRun& run) {
    if (run.count == 0) {
      return {};
    }
    if (run.is_new) {
      return write_blocks(run.begin, run.first, run.count);
    }
    now_.resize(run.count * block_size_);
    UNIONFS_TRY(files_.disk().read(files_.layout().offset_of(run.begin), now_));
    for (size_t i = 0; i < run.count;) {
      size_t end = i;
      while (end < run.count && !is_equal(run, end)) {
        ++end;
      }
      UNIONFS_TRY(write_blocks(run.begin + i, run.first + i, end - i));
      i = std::max(end, i + 1);
    }
    return {};
  }

  bool is_equal(const ContentRun& run, size_t block) const {
    return std::memcmp(now_.data() + block * block_size_, collected(run.first + block, 1).data(),
                       block_size_) == 0;
  }

  Result<void> write_blocks(BlockNumber begin, size_t first, size_t count) {
    if (count == 0) {
      return {};
    }
    bytes_written_ += count * block_size_;
    return files_.disk().write(files_.layout().offset_of(begin), collected(first, count));
  }

  MergedFiles& files_;
  BlockMapEditor map_;
  const uint32_t block_size_;
  uint64_t begin_ = 0;            // file block, of the merged image's size
  uint64_t done_ = 0;             // file blocks before this one are as they shall be
  std::vector<std::byte> bytes_;  // whole blocks
  std::vector<std::byte> now_;    // what is there
  uint64_t bytes_written_ = 0;
};

Result<void> make_data(MergedFiles& files, FileBytes& from, InodeRecord& to,
                       uint64_t& bytes_written) {
  ContentWriter writer(files, to);
  uint64_t offset = 0;
  while (true) {
    UNIONFS_ASSIGN(const std::optional<ByteRange> data, from.next_data(offset));
    if (!data) {
      break;
    }
    offset = data->begin;
    const size_t length = std::min<uint64_t>(kReadBytes - offset % kReadBytes, data->length());
    UNIONFS_ASSIGN(const ByteSpan room, writer.extend(offset, length));
    UNIONFS_TRY(from.read(offset, room));
    offset += length;
  }
  UNIONFS_TRY(writer.finish(divide_round_up(from.size_bytes(), files.layout().block_size_bytes)));
  bytes_written += writer.bytes_written();
  return {};
}

Result<void> make_regular(MergedFiles& files, FileBytes& from, InodeRecord& to,
                          uint64_t& bytes_written) {
  const uint64_t size_bytes = from.size_bytes();
  if (size_bytes >
      max_file_blocks(files.layout().pointers_per_block()) * files.layout().block_size_bytes) {
    return system_failure(EFBIG, fmt::format("{} bytes are more than a file with blocks of {} "
                                             "bytes can have",
                                             size_bytes, files.layout().block_size_bytes));
  }
  to.raw().i_size = static_cast<uint32_t>(size_bytes);
  to.raw().i_size_high = static_cast<uint32_t>(size_bytes >> 32);
  if (size_bytes > kMaxSmallFileBytes) {
    files.need_large_files();
  }
  return make_data(files, from, to, bytes_written);
}

// A target that lies in i_block has no block.
Result<void> clear_target(MergedFiles& files, InodeRecord& to) {
  if (to.has_block_map()) {
    UNIONFS_TRY(ContentWriter(files, to).finish(0));
  }
  to.raw().i_block = {};
  return {};
}

Result<void> make_symlink(MergedFiles& files, const std::string& target, InodeRecord& to,
                          uint64_t& bytes_written) {
  if (target.size() >= files.layout().block_size_bytes) {
    return system_failure(ENAMETOOLONG,
                          fmt::format("a symlink of {} bytes needs more than a block of {}",
                                      target.size(), files.layout().block_size_bytes));
  }
  if (to.raw().i_size != 0) {
    UNIONFS_ASSIGN(const std::string present, read_symlink(files.volume(), to));
    if (present == target) {
      return {};
    }
  }
  UNIONFS_TRY(clear_target(files, to));
  to.raw().i_size = static_cast<uint32_t>(target.size());
  if (target.size() < ext2::kFastSymlinkBytes) {
    std::memcpy(to.raw().i_block.data(), target.data(), target.size());
    return {};
  }
  ContentWriter writer(files, to);
  UNIONFS_ASSIGN(const ByteSpan room, writer.extend(0, target.size()));
  std::memcpy(room.data(), target.data(), target.size());
  UNIONFS_TRY(writer.finish(1));
  bytes_written += writer.bytes_written();
  return {};
}

}  // namespace

Result<void> make_content(MergedFiles& files, const FileContent& from, InodeRecord& to,
                          uint64_t& bytes_written) {
  switch (from.type) {
    case ext2::kModeRegular:
      return make_regular(files, *from.bytes, to, bytes_written);
    case ext2::kModeSymlink:
      return make_symlink(files, from.target, to, bytes_written);
    case ext2::kModeCharDevice:
    case ext2::kModeBlockDevice:
      put_device(from.device, to);
      return {};
    default:
      return {};
  }
}

}  // namespace unionfs
