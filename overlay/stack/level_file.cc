// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/stack/level_file.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "overlay/remote/nbd_uri.h"
#include "overlay/upper/lower_identity.h"

namespace unionfs {
namespace {

// Nobody can say who else may read what a server has.
constexpr uint32_t kModeForRemoteData = 0600;

// Bytes that do not change as long as the image is the same.
struct FixedBytes {
  uint64_t offset = 0;
  std::vector<std::byte> bytes;
};

Result<void> add_fixed(const ReadableFile& file, uint64_t offset, size_t length,
                       std::vector<FixedBytes>& fixed) {
  FixedBytes& added = fixed.emplace_back(FixedBytes{offset, std::vector<std::byte>(length)});
  return file.read(offset, added.bytes);
}

Result<void> check_fixed(const std::vector<FixedBytes>& fixed, const Image& now) {
  for (const FixedBytes& then : fixed) {
    std::vector<std::byte> bytes(then.bytes.size());
    UNIONFS_TRY(now.read(then.offset, bytes));
    if (bytes != then.bytes) {
      return invalid("{}: is not as it was: its {} differs", now.name(),
                     then.offset == ext2::kSuperblockOffsetBytes ? "superblock" : "state area");
    }
  }
  return {};
}

// Bitmaps and inode tables, which clients read in small pieces.
std::vector<KeptRange> metadata_of(const Volume& volume) {
  const Layout& layout = volume.layout();
  const uint64_t block_bytes = layout.block_size_bytes;
  std::vector<KeptRange> ranges;
  const auto add = [&](BlockNumber begin, uint64_t blocks) {
    const uint64_t offset = begin.value() * block_bytes;
    ranges.push_back({offset, offset + blocks * block_bytes});
  };
  for (const Group& group : volume.groups()) {
    add(group.block_bitmap, 1);
    add(group.inode_bitmap, 1);
    add(group.inode_table, layout.inode_table_block_count());
  }
  std::ranges::sort(ranges, {}, &KeptRange::begin);
  std::vector<KeptRange> joined;
  for (const KeptRange& range : ranges) {
    if (!joined.empty() && range.begin <= joined.back().end) {
      joined.back().end = std::max(joined.back().end, range.end);
    } else {
      joined.push_back(range);
    }
  }
  return joined;
}

}  // namespace

Result<std::unique_ptr<LevelFile>> LevelFile::open(const std::string& path, FileLock lock,
                                                   const RemoteOptions& remote,
                                                   const LogSink& log) {
  if (is_nbd_uri(path)) {
    UNIONFS_ASSIGN(auto file, RemoteFile::open(path, remote, log));
    return std::unique_ptr<LevelFile>(new LevelFile(std::move(file)));
  }
  UNIONFS_ASSIGN(auto file, PosixFile::open(path, lock));
  return std::make_unique<LevelFile>(std::move(file));
}

const ReadableFile& LevelFile::bytes() const {
  if (remote_ != nullptr) {
    return *remote_;
  }
  return *host_;
}

bool LevelFile::is_same_file(const LevelFile& other) const {
  if (is_remote() || other.is_remote()) {
    return is_remote() && other.is_remote() && name() == other.name();
  }
  return host_->is_same_file(*other.host_);
}

uint32_t LevelFile::mode_for_data_in(const PosixFile& upper) const {
  return is_remote() ? kModeForRemoteData : upper.mode_for_data_of(*host_);
}

Result<void> LevelFile::know_as_lower(const Volume& lower) {
  if (!is_remote()) {
    return {};
  }
  remote_->compare_by([then = known_lower(lower)](const Image& now) -> Result<void> {
    UNIONFS_ASSIGN(const Volume volume, Volume::open(now, SuperblockUse::kLower));
    return check_still_same(then, volume);
  });
  remote_->keep_in_memory(metadata_of(lower));
  return {};
}

// The header has digests of all that is sealed.
Result<void> LevelFile::know_as_layer(const Volume& layer, const StateArea& area) {
  if (!is_remote()) {
    return {};
  }
  std::vector<FixedBytes> fixed;
  UNIONFS_TRY(add_fixed(*remote_, ext2::kSuperblockOffsetBytes, sizeof(ext2::Superblock), fixed));
  UNIONFS_TRY(add_fixed(*remote_, area.offset,
                        upper_format::kHeaderSlots * upper_format::kPageBytes, fixed));
  remote_->compare_by(
      [then = std::move(fixed)](const Image& now) { return check_fixed(then, now); });
  remote_->keep_in_memory(metadata_of(layer));
  return {};
}

void LevelFile::suspend() {
  if (is_remote() && !has_started_) {
    remote_->suspend();
  }
}

void LevelFile::start() {
  if (is_remote() && !std::exchange(has_started_, true)) {
    remote_->start();
  }
}

}  // namespace unionfs
