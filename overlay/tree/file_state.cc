// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/tree/file_state.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "fsparse/symlink.h"

namespace unionfs {
namespace {

// The extra word of a time: two more bits of the seconds, then the nanoseconds (ext4's
// inode.h, EXT4_EPOCH_BITS).
constexpr uint32_t kEpochBits = 2;
constexpr int64_t kEpochSeconds = int64_t{1} << 32;
constexpr int64_t kLastEpoch = (int64_t{1} << kEpochBits) - 1;

// Of seconds that the record can keep.
uint32_t encode_extra(const FileTime& time) {
  const auto low = static_cast<int32_t>(static_cast<uint32_t>(time.seconds));
  const int64_t epoch = (time.seconds - low) / kEpochSeconds;
  return time.nanoseconds << kEpochBits | static_cast<uint32_t>(epoch & kLastEpoch);
}

constexpr uint32_t end_of(size_t offset) {
  return static_cast<uint32_t>(offset + sizeof(uint32_t) - sizeof(ext2::Inode));
}
constexpr size_t kExtraBegin = sizeof(ext2::Inode);
constexpr uint32_t kUntilTimes = end_of(kExtraBegin + offsetof(ext2::InodeExtra, i_atime_extra));
constexpr uint32_t kUntilCreation =
    end_of(kExtraBegin + offsetof(ext2::InodeExtra, i_crtime_extra));

}  // namespace

FileTime file_time_of(uint32_t seconds, uint32_t extra) {
  const int64_t epoch = extra & kLastEpoch;
  return {static_cast<int32_t>(seconds) + epoch * kEpochSeconds, extra >> kEpochBits};
}

void sort_attributes(std::vector<Attribute>& attributes) {
  std::sort(attributes.begin(), attributes.end(), [](const Attribute& a, const Attribute& b) {
    return std::tie(a.name_index, a.name) < std::tie(b.name_index, b.name);
  });
}

Result<FileState> file_state_of(const Volume& volume, const InodeRecord& record) {
  const ext2::Inode& raw = record.raw();
  FileState state;
  state.inode = record.number();
  state.generation = raw.i_generation;
  state.mode = raw.i_mode;
  state.user_id = record.user_id();
  state.group_id = record.group_id();
  state.user_flags = raw.i_flags & kUserFlags;
  state.links_count = raw.i_links_count;
  state.size_bytes = record.size_bytes();
  const std::optional<ext2::InodeExtra> extra = record.extra();
  const bool has_extra = extra && record.extra_size_bytes() >= kUntilTimes;
  state.accessed = file_time_of(raw.i_atime, has_extra ? extra->i_atime_extra.value() : 0);
  state.changed = file_time_of(raw.i_ctime, has_extra ? extra->i_ctime_extra.value() : 0);
  state.modified = file_time_of(raw.i_mtime, has_extra ? extra->i_mtime_extra.value() : 0);
  if (extra && record.extra_size_bytes() >= kUntilCreation) {
    state.created = file_time_of(extra->i_crtime, extra->i_crtime_extra);
  }
  if (record.is_device()) {
    const auto [major, minor] = device_of(record);
    state.device_major = major;
    state.device_minor = minor;
  } else if (record.is_symlink()) {
    UNIONFS_ASSIGN(state.target, read_symlink(volume, record));
  }
  UNIONFS_ASSIGN(state.attributes, read_attributes(volume, record));
  sort_attributes(state.attributes);
  return state;
}

Result<FileState> file_state_of(const Volume& volume, InodeNumber inode) {
  UNIONFS_ASSIGN(const InodeRecord record, read_inode(volume, inode));
  return file_state_of(volume, record);
}

bool can_keep_seconds(const FileTime& time, uint32_t inode_size_bytes) {
  const bool has_extra = inode_size_bytes >= kExtraBegin + kUntilTimes;
  constexpr int64_t kLeast = std::numeric_limits<int32_t>::min();
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  return time.seconds >= kLeast &&
         time.seconds <= (has_extra ? kMost + kLastEpoch * kEpochSeconds : kMost);
}

bool can_keep_time(const FileTime& time, uint32_t inode_size_bytes) {
  return can_keep_seconds(time, inode_size_bytes) &&
         (time.nanoseconds == 0 || inode_size_bytes >= kExtraBegin + kUntilTimes);
}

// As the kernel does (fs/ext2/inode.c): the old encoding in i_block[0] where it can hold the
// numbers, or else its new one in i_block[1].
DeviceNumbers device_of(const InodeRecord& record) {
  const uint32_t old_number = record.raw().i_block[0];
  const uint32_t new_number = record.raw().i_block[1];
  if (old_number != 0) {
    return {old_number >> 8 & 0xff, old_number & 0xff};
  }
  return {(new_number & 0xfff00) >> 8, (new_number & 0xff) | (new_number >> 12 & 0xfff00)};
}

void put_device(const DeviceNumbers& numbers, InodeRecord& record) {
  const auto [major, minor] = numbers;
  record.raw().i_block = {};
  if (major <= 0xff && minor <= 0xff) {
    record.raw().i_block[0] = major << 8 | minor;
  } else {
    record.raw().i_block[1] = (minor & 0xff) | (major & 0xfff) << 8 | (minor & 0xfff00) << 12;
  }
}

void put_metadata(const FileState& state, InodeRecord& record) {
  ext2::Inode& raw = record.raw();
  raw.i_mode = state.mode;
  raw.i_uid = static_cast<uint16_t>(state.user_id);
  raw.i_uid_high = static_cast<uint16_t>(state.user_id >> 16);
  raw.i_gid = static_cast<uint16_t>(state.group_id);
  raw.i_gid_high = static_cast<uint16_t>(state.group_id >> 16);
  raw.i_flags = (raw.i_flags & ~kUserFlags) | (state.user_flags & kUserFlags);
  raw.i_atime = static_cast<uint32_t>(state.accessed.seconds);
  raw.i_ctime = static_cast<uint32_t>(state.changed.seconds);
  raw.i_mtime = static_cast<uint32_t>(state.modified.seconds);
  std::optional<ext2::InodeExtra> extra = record.extra();
  if (!extra) {
    return;
  }
  extra->i_atime_extra = encode_extra(state.accessed);
  extra->i_ctime_extra = encode_extra(state.changed);
  extra->i_mtime_extra = encode_extra(state.modified);
  // An inode that did not know its birth keeps no wrong one.
  extra->i_crtime = state.created ? static_cast<uint32_t>(state.created->seconds) : 0;
  extra->i_crtime_extra = state.created ? encode_extra(*state.created) : 0;
  const size_t covered = std::min<size_t>(record.extra_size_bytes(), sizeof(*extra));
  std::memcpy(record.bytes().data() + kExtraBegin, &*extra, covered);
}

}  // namespace unionfs
