// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/tree/file_state.h"

#include <algorithm>

#include "tests/unit/support/open_image.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

constexpr int64_t kEpoch = int64_t{1} << 32;
constexpr int64_t kFirst = -(int64_t{1} << 31);             // 1901-12-13
constexpr int64_t kLastPlain = (int64_t{1} << 31) - 1;      // 2038-01-19
constexpr int64_t kLastOfAll = kLastPlain + 3 * kEpoch;     // 2446-05-10
constexpr uint32_t kWholeExtra = sizeof(ext2::InodeExtra);  // to i_crtime_extra
constexpr uint32_t kExtraWithoutCreation = 16;              // to i_atime_extra

// A regular file's record of this size, whose fields cover `extra_size_bytes` behind the
// first 128; all of i_block is a hole.
InodeRecord record_of(uint32_t size_bytes, uint32_t extra_size_bytes) {
  InodeRecord record(InodeNumber(12), std::vector<std::byte>(size_bytes), 1024);
  record.raw().i_mode = ext2::kModeRegular;
  if (size_bytes > sizeof(ext2::Inode)) {
    reinterpret_cast<ext2::InodeExtra*>(record.bytes().data() + sizeof(ext2::Inode))
        ->i_extra_isize = static_cast<uint16_t>(extra_size_bytes);
  }
  return record;
}

struct EmptyImage {
  RealImage real{4096, {}};
  OpenImage open{real.load()};

  FileState state_of(const InodeRecord& record) const {
    return value_of(file_state_of(open.volume, record));
  }
};

FileState with_times(const FileTime& accessed, const FileTime& changed, const FileTime& modified,
                     std::optional<FileTime> created) {
  FileState state;
  state.mode = ext2::kModeRegular | 0644;
  state.accessed = accessed;
  state.changed = changed;
  state.modified = modified;
  state.created = created;
  return state;
}

std::string shown(const FileTime& time) {
  return std::to_string(time.seconds) + "+" + std::to_string(time.nanoseconds);
}

}  // namespace

TEST_CASE("times from 1901 to 2446 come back from records with extra fields", "[file_state]") {
  const EmptyImage image;
  const uint32_t size = GENERATE(160U, 256U);
  for (int64_t epoch = 0; epoch < 4; ++epoch) {
    for (const int64_t low : {kFirst, int64_t{-1}, int64_t{0}, int64_t{1}, kLastPlain}) {
      const FileTime time{low + epoch * kEpoch, 999999999};
      const FileTime other{kLastOfAll - time.seconds + kFirst, 1};
      CAPTURE(size, shown(time), shown(other));
      CHECK(can_keep_time(time, size));
      InodeRecord record = record_of(size, kWholeExtra);
      put_metadata(with_times(time, other, {time.seconds, 0}, other), record);
      const FileState state = image.state_of(record);
      CHECK(state.accessed == time);
      CHECK(state.changed == other);
      CHECK(state.modified == FileTime{time.seconds, 0});
      CHECK(state.created == other);
    }
  }
}

TEST_CASE("what no record can keep is known before", "[file_state]") {
  const uint32_t size = GENERATE(144U, 160U, 256U);
  CHECK(can_keep_seconds({kFirst, 0}, size));
  CHECK_FALSE(can_keep_seconds({kFirst - 1, 0}, size));
  CHECK(can_keep_seconds({kLastOfAll, 0}, size));
  CHECK_FALSE(can_keep_seconds({kLastOfAll + 1, 0}, size));
  CHECK_FALSE(can_keep_time({kLastOfAll + 1, 0}, size));
  CHECK(can_keep_time({kLastOfAll, 999999999}, size));
}

TEST_CASE("records of 128 bytes keep whole seconds until 2038", "[file_state]") {
  CHECK(can_keep_time({kFirst, 0}, 128));
  CHECK(can_keep_time({kLastPlain, 0}, 128));
  CHECK_FALSE(can_keep_time({0, 1}, 128));
  CHECK(can_keep_seconds({0, 1}, 128));
  CHECK_FALSE(can_keep_seconds({kLastPlain + 1, 0}, 128));
  CHECK_FALSE(can_keep_seconds({kFirst - 1, 0}, 128));
  const EmptyImage image;
  InodeRecord record = record_of(128, 0);
  put_metadata(with_times({kFirst, 7}, {kLastPlain, 999999999}, {-1, 1}, FileTime{5, 5}), record);
  const FileState state = image.state_of(record);
  CHECK(state.accessed == FileTime{kFirst, 0});
  CHECK(state.changed == FileTime{kLastPlain, 0});
  CHECK(state.modified == FileTime{-1, 0});
  CHECK_FALSE(state.created);
}

TEST_CASE("a record of more bytes keeps only what its own fields cover", "[file_state]") {
  const EmptyImage image;
  const uint32_t size = GENERATE(160U, 256U);
  const FileTime time{kEpoch, 5};
  const FileState wanted = with_times(time, time, time, time);
  InodeRecord record = record_of(size, kExtraWithoutCreation);
  put_metadata(wanted, record);
  CHECK(image.state_of(record).modified == time);
  CHECK_FALSE(image.state_of(record).created);
  // Behind the fields lie attributes.
  for (size_t i = sizeof(ext2::Inode) + kExtraWithoutCreation; i < size; ++i) {
    CHECK(record.bytes()[i] == std::byte{0});
  }
  // Fields that end before the times: whole seconds.
  record = record_of(size, 4);
  put_metadata(wanted, record);
  CHECK(image.state_of(record).modified == FileTime{0, 0});
}

TEST_CASE("a birth that is not known is forgotten", "[file_state]") {
  const EmptyImage image;
  InodeRecord record = record_of(256, kWholeExtra);
  put_metadata(with_times({}, {}, {}, FileTime{123, 456}), record);
  CHECK(image.state_of(record).created == FileTime{123, 456});
  put_metadata(with_times({}, {}, {}, std::nullopt), record);
  CHECK(image.state_of(record).created == FileTime{});
}

TEST_CASE("times that debugfs set are read", "[file_state]") {
  const RealImage real(4096, {.inode_size_bytes = 256});
  write_file(real.directory() / "content", "some words");
  real.change({"write " + (real.directory() / "content").string() + " file",
               "set_inode_field file mtime @0x80000000", "set_inode_field file mtime_extra 0",
               "set_inode_field file ctime @0x7fffffff",
               "set_inode_field file ctime_extra 0xee6b27ff", "set_inode_field file crtime @1",
               "set_inode_field file crtime_extra 5"});
  const OpenImage open(real.load());
  const FileState state = value_of(file_state_of(open.volume, open.inode("file").number()));
  CHECK(state.modified == FileTime{kFirst, 0});
  CHECK(state.changed == FileTime{kLastOfAll, 999999999});
  CHECK(state.created == FileTime{kEpoch + 1, 1});
}

TEST_CASE("device numbers are read in the old encoding and in the new one", "[file_state]") {
  const RealImage real(4096, {});
  real.change({"mknod old c 1 3", "mknod last_old b 255 255", "mknod minor b 7 256",
               "mknod major c 259 5", "mknod large b 4095 65535", "mknod fifo p"});
  const OpenImage open(real.load());
  const auto device = [&](const char* name) {
    const FileState state = value_of(file_state_of(open.volume, open.inode(name)));
    return std::make_pair(state.device_major, state.device_minor);
  };
  CHECK(open.inode("last_old").raw().i_block[0] == 0xffff);
  CHECK(open.inode("minor").raw().i_block[0] == 0);
  CHECK(device("old") == std::make_pair(1U, 3U));
  CHECK(device("last_old") == std::make_pair(255U, 255U));
  CHECK(device("minor") == std::make_pair(7U, 256U));
  CHECK(device("major") == std::make_pair(259U, 5U));
  CHECK(device("large") == std::make_pair(4095U, 65535U));
  CHECK(device("fifo") == std::make_pair(0U, 0U));
}

TEST_CASE("a state has all that the file is", "[file_state]") {
  const RealImage real(4096, {.inode_size_bytes = GENERATE(128U, 256U)});
  write_file(real.directory() / "content", "some words");
  real.change({"write " + (real.directory() / "content").string() + " file", "symlink fast target",
               "symlink slow " + std::string(100, 't'), "set_inode_field file mode 0104711",
               "set_inode_field file uid 70000", "set_inode_field file gid 4",
               "set_inode_field file links_count 3", "ea_set file user.b second",
               "ea_set file user.a first", "ea_set file security.c third",
               "set_inode_field file flags 0x81010"});
  const OpenImage open(real.load());
  const FileState state = value_of(file_state_of(open.volume, open.inode("file")));
  CHECK(state.inode == open.inode("file").number());
  CHECK(state.is_regular());
  CHECK(state.permissions() == 04711);
  CHECK(state.user_id == 70000);
  CHECK(state.group_id == 4);
  CHECK(state.user_flags == 0x10);  // immutable; no index, no extents
  CHECK(state.links_count == 3);
  CHECK(state.size_bytes == 10);
  REQUIRE(state.attributes.size() == 3);
  CHECK(state.attributes[0].full_name() == "user.a");
  CHECK(state.attributes[1].full_name() == "user.b");
  CHECK(state.attributes[2].full_name() == "security.c");
  CHECK(value_of(file_state_of(open.volume, open.inode("fast"))).target == "target");
  CHECK(value_of(file_state_of(open.volume, open.inode("slow"))).target == std::string(100, 't'));
}

TEST_CASE("metadata is put in place and nothing else", "[file_state]") {
  const uint32_t size = GENERATE(128U, 160U, 256U);
  InodeRecord record(InodeNumber(12), std::vector<std::byte>(size, std::byte{0xa5}), 1024);
  if (size > sizeof(ext2::Inode)) {
    record.bytes()[sizeof(ext2::Inode)] = std::byte{kWholeExtra};
    record.bytes()[sizeof(ext2::Inode) + 1] = std::byte{0};
  }
  const std::vector<std::byte> before(record.bytes().begin(), record.bytes().end());
  FileState state = with_times({1, 2}, {3, 4}, {5, 6}, FileTime{7, 8});
  state.mode = ext2::kModeDirectory | 01777;
  state.user_id = 0x00070008;
  state.group_id = 0x0009000a;
  state.user_flags = 0xffffffff;
  put_metadata(state, record);

  const ext2::Inode& raw = record.raw();
  CHECK(raw.i_mode == (ext2::kModeDirectory | 01777));
  CHECK(record.user_id() == 0x00070008);
  CHECK(record.group_id() == 0x0009000a);
  CHECK(raw.i_flags == ((0xa5a5a5a5 & ~kUserFlags) | kUserFlags));
  // mode, uid; three times; gid; flags; high halves of the ids; the extra times
  const std::vector<std::pair<size_t, size_t>> changed = {{0x00, 0x04}, {0x08, 0x14}, {0x18, 0x1a},
                                                          {0x20, 0x24}, {0x78, 0x7c}, {0x84, 0x98}};
  for (size_t i = 0; i < size; ++i) {
    const bool may_change = std::any_of(changed.begin(), changed.end(), [i](const auto& range) {
      return i >= range.first && i < range.second;
    });
    if (!may_change && record.bytes()[i] != before[i]) {
      FAIL_CHECK("byte " << i << " of " << size << " changed");
    }
  }
  state.user_flags = 0;
  put_metadata(state, record);
  CHECK(raw.i_flags == (0xa5a5a5a5 & ~kUserFlags));
}
