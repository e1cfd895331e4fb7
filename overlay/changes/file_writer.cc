// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/changes/file_writer.h"

#include <algorithm>
#include <cstring>

#include "fsparse/block_map.h"
#include "fsparse/symlink.h"

namespace unionfs {
namespace {

// Of i_flags what a user may set (chattr); all others speak of the inode's
// place in its image.
constexpr uint32_t kKeptFlags = 0x000380FF;
constexpr uint64_t kMaxSmallFileBytes = 0x7fffffff;
constexpr size_t kBatchBytes = size_t{1} << 20;

constexpr size_t kExtraFields = ext2::kGoodOldInodeSizeBytes;

// Gives a file its blocks in ascending order.  Indirect blocks are written once,
// when no block more comes below them.
class BlockMapWriter {
 public:
  BlockMapWriter(MergedFiles& files, InodeRecord& record)
      : files_(files),
        record_(record),
        goal_(files.goal_for(record.number())),
        pointers_per_block_(files.layout().pointers_per_block()) {}

  // The new block for this place in the file.
  Result<BlockNumber> add(FileBlock file_block) {
    const std::optional<BlockPath> path = path_of(pointers_per_block_, file_block);
    if (!path) {
      return system_failure(EFBIG, fmt::format("block {} of a file is more than blocks of {} bytes "
                                               "can lead to",
                                               file_block, files_.layout().block_size_bytes));
    }
    UNIONFS_TRY(follow(*path));
    UNIONFS_ASSIGN(const BlockNumber block, allocate());
    set_pointer(*path, path->depth, block);
    return block;
  }

  // Writes the indirect blocks that are left, and i_blocks.
  Result<void> finish() {
    UNIONFS_TRY(leave(0));
    const uint64_t sectors =
        block_count_ * (files_.layout().block_size_bytes / ext2::kSectorSizeBytes);
    if (sectors > UINT32_MAX) {
      return system_failure(
          EFBIG, fmt::format("{} blocks are more than an inode can count", block_count_));
    }
    record_.raw().i_blocks = static_cast<uint32_t>(sectors);
    return {};
  }

 private:
  struct Indirect {
    BlockNumber block;
    uint32_t index = 0;  // in the block above, or slot of i_block
    std::vector<Le32> pointers;
  };

  Result<BlockNumber> allocate() {
    UNIONFS_ASSIGN(const BlockNumber block, files_.allocate_block(goal_));
    goal_ = block + 1;
    ++block_count_;
    return block;
  }

  static uint32_t index_at(const BlockPath& path, uint32_t depth) {
    return depth == 0 ? path.slot : path.indices[depth - 1];
  }

  // Makes way_ the indirect blocks of this path.
  Result<void> follow(const BlockPath& path) {
    uint32_t same = 0;
    while (same < way_.size() && same < path.depth && way_[same].index == index_at(path, same)) {
      ++same;
    }
    UNIONFS_TRY(leave(same));
    while (way_.size() < path.depth) {
      const auto depth = static_cast<uint32_t>(way_.size());
      UNIONFS_ASSIGN(const BlockNumber block, allocate());
      set_pointer(path, depth, block);
      way_.push_back({block, index_at(path, depth), std::vector<Le32>(pointers_per_block_)});
    }
    return {};
  }

  void set_pointer(const BlockPath& path, uint32_t depth, BlockNumber block) {
    const auto number = static_cast<uint32_t>(block.value());
    if (depth == 0) {
      record_.raw().i_block[path.slot] = number;
    } else {
      way_[depth - 1].pointers[index_at(path, depth)] = number;
    }
  }

  Result<void> leave(size_t depth) {
    while (way_.size() > depth) {
      const Indirect& last = way_.back();
      UNIONFS_TRY(files_.disk().write(files_.layout().offset_of(last.block),
                                      std::as_bytes(std::span(last.pointers))));
      way_.pop_back();
    }
    return {};
  }

  MergedFiles& files_;
  InodeRecord& record_;
  BlockNumber goal_;
  const uint32_t pointers_per_block_;
  uint64_t block_count_ = 0;
  std::vector<Indirect> way_;  // from i_block down
};

// Collects bytes of a file in ascending order and writes them in whole blocks
// of the merged image.
class DataWriter {
 public:
  DataWriter(MergedFiles& files, BlockMapWriter& map)
      : files_(files), map_(map), block_size_(files.layout().block_size_bytes) {}

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

  Result<void> finish() { return write(0); }

 private:
  uint64_t end() const { return begin_ + bytes_.size() / block_size_; }

  // Writes all but the last `kept` blocks.
  Result<void> write(size_t kept) {
    const size_t count = bytes_.size() / block_size_ - std::min(kept, bytes_.size() / block_size_);
    size_t done = 0;
    BlockNumber run_begin;
    size_t run_count = 0;
    for (size_t i = 0; i < count; ++i) {
      UNIONFS_ASSIGN(const BlockNumber block, map_.add(FileBlock(begin_ + i)));
      if (run_count > 0 && block == run_begin + run_count) {
        ++run_count;
        continue;
      }
      UNIONFS_TRY(write_run(run_begin, run_count, done));
      done += run_count;
      run_begin = block;
      run_count = 1;
    }
    UNIONFS_TRY(write_run(run_begin, run_count, done));
    bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<ptrdiff_t>(count * block_size_));
    begin_ += count;
    return {};
  }

  Result<void> write_run(BlockNumber block, size_t count, size_t first) {
    if (count == 0) {
      return {};
    }
    return files_.disk().write(
        files_.layout().offset_of(block),
        ConstByteSpan(bytes_).subspan(first * block_size_, count * block_size_));
  }

  MergedFiles& files_;
  BlockMapWriter& map_;
  const uint32_t block_size_;
  uint64_t begin_ = 0;            // file block, of the merged image's size
  std::vector<std::byte> bytes_;  // whole blocks
};

Result<void> copy_data(MergedFiles& files, const Volume& source, const InodeRecord& from,
                       InodeRecord& to) {
  BlockMapWriter map(files, to);
  DataWriter writer(files, map);
  const uint64_t size_bytes = from.size_bytes();
  const uint32_t block_size = source.layout().block_size_bytes;
  UNIONFS_TRY(
      walk_block_map(source, from, [&](BlockRole role, BlockNumber block) -> Result<WalkStep> {
        const uint64_t offset = role.first.value() * block_size;
        if (offset >= size_bytes) {
          return WalkStep::kStop;
        }
        if (role.level != 0) {
          return WalkStep::kContinue;
        }
        // What lies behind the end is nobody's and not copied.
        const size_t length = std::min<uint64_t>(block_size, size_bytes - offset);
        UNIONFS_ASSIGN(const ByteSpan room, writer.extend(offset, length));
        UNIONFS_TRY(source.image().read(source.layout().offset_of(block), room));
        return WalkStep::kContinue;
      }));
  UNIONFS_TRY(writer.finish());
  return map.finish();
}

Result<void> copy_symlink(MergedFiles& files, const Volume& source, const InodeRecord& from,
                          InodeRecord& to) {
  UNIONFS_ASSIGN(const std::string target, read_symlink(source, from));
  to.raw().i_size = static_cast<uint32_t>(target.size());
  if (target.size() < ext2::kFastSymlinkBytes) {
    std::memcpy(to.raw().i_block.data(), target.data(), target.size());
    return {};
  }
  if (target.size() >= files.layout().block_size_bytes) {
    return system_failure(ENAMETOOLONG,
                          fmt::format("a symlink of {} bytes needs more than a block of {}",
                                      target.size(), files.layout().block_size_bytes));
  }
  BlockMapWriter map(files, to);
  DataWriter writer(files, map);
  UNIONFS_ASSIGN(const ByteSpan room, writer.extend(0, target.size()));
  std::memcpy(room.data(), target.data(), target.size());
  UNIONFS_TRY(writer.finish());
  return map.finish();
}

Result<void> copy_content(MergedFiles& files, const Volume& source, const InodeRecord& from,
                          InodeRecord& to) {
  if (from.is_symlink()) {
    return copy_symlink(files, source, from, to);
  }
  if (from.is_device()) {
    to.raw().i_block = from.raw().i_block;
    return {};
  }
  if (!from.is_regular()) {
    return {};
  }
  const uint64_t size_bytes = from.size_bytes();
  to.raw().i_size = static_cast<uint32_t>(size_bytes);
  to.raw().i_size_high = static_cast<uint32_t>(size_bytes >> 32);
  if (size_bytes > kMaxSmallFileBytes) {
    files.need_large_files();
  }
  if (size_bytes >
      max_file_blocks(files.layout().pointers_per_block()) * files.layout().block_size_bytes) {
    return system_failure(EFBIG, fmt::format("{} bytes are more than a file with blocks of {} "
                                             "bytes can have",
                                             size_bytes, files.layout().block_size_bytes));
  }
  return copy_data(files, source, from, to);
}

// Says which file it was, unless the error speaks of the upper itself.
Failure at_inode(Error error, const Volume& source, InodeNumber inode) {
  if (error.message.rfind(source.name(), 0) == 0) {
    return Failure(std::move(error));
  }
  error.message = fmt::format("{}: inode {}: {}", source.name(), inode, error.message);
  return Failure(std::move(error));
}

}  // namespace

void copy_metadata(const InodeRecord& from, InodeRecord& to) {
  const ext2::Inode& source = from.raw();
  ext2::Inode& target = to.raw();
  target.i_mode = source.i_mode;
  target.i_uid = source.i_uid;
  target.i_uid_high = source.i_uid_high;
  target.i_gid = source.i_gid;
  target.i_gid_high = source.i_gid_high;
  target.i_atime = source.i_atime;
  target.i_ctime = source.i_ctime;
  target.i_mtime = source.i_mtime;
  target.i_flags = (target.i_flags & ~kKeptFlags) | (source.i_flags & kKeptFlags);
  // The parts of the times that only larger inodes have.
  std::optional<ext2::InodeExtra> extra = to.extra();
  if (!extra) {
    return;
  }
  const ext2::InodeExtra given = from.extra().value_or(ext2::InodeExtra{});
  extra->i_ctime_extra = given.i_ctime_extra;
  extra->i_mtime_extra = given.i_mtime_extra;
  extra->i_atime_extra = given.i_atime_extra;
  extra->i_crtime = given.i_crtime;
  extra->i_crtime_extra = given.i_crtime_extra;
  const size_t covered = std::min<size_t>(to.extra_size_bytes(), sizeof(*extra));
  std::memcpy(to.bytes().data() + kExtraFields, &*extra, covered);
}

Result<InodeNumber> copy_file(MergedFiles& files, InodeNumber parent, const Volume& source,
                              const InodeRecord& from) {
  UNIONFS_ASSIGN(const InodeNumber number, files.allocate_inode(parent, from.raw().i_mode));
  UNIONFS_ASSIGN(InodeRecord to, files.make_record(number));
  copy_metadata(from, to);
  to.raw().i_links_count = uint16_t{1};
  if (Result<void> copied = copy_content(files, source, from, to); !copied) {
    return at_inode(std::move(copied).error(), source, from.number());
  }
  UNIONFS_TRY(files.write_inode(to));
  UNIONFS_TRY(copy_attributes(files, source, from, number));
  return number;
}

Result<void> copy_attributes(MergedFiles& files, const Volume& source, const InodeRecord& from,
                             InodeNumber to) {
  UNIONFS_ASSIGN(const std::vector<Attribute> attributes, read_attributes(source, from));
  for (const Attribute& attribute : attributes) {
    // libext2fs has no name for the other kinds.
    if (!xattr_prefix(attribute.name_index) || attribute.name_index == ext2::kXattrIndexLustre) {
      return unsupported("{}: inode {}: attribute {}: its kind cannot be carried over",
                         source.name(), from.number(), quoted_name(attribute.full_name()));
    }
  }
  if (Result<void> set = files.set_attributes(to, attributes); !set) {
    return at_inode(std::move(set).error(), source, from.number());
  }
  return {};
}

}  // namespace unionfs
