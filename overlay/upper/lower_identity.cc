// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/upper/lower_identity.h"

#include <fmt/ranges.h>

#include <cstring>
#include <ctime>
#include <vector>

#include "fsparse/printable.h"
#include "overlay/upper/hash.h"

namespace unionfs {
namespace {

namespace format = upper_format;

format::LowerShape shape_of(const ext2::Superblock& raw) {
  format::LowerShape shape = {};
  shape.s_uuid = raw.s_uuid;
  shape.s_blocks_count = raw.s_blocks_count;
  shape.s_inodes_count = raw.s_inodes_count;
  shape.s_first_data_block = raw.s_first_data_block;
  shape.s_log_block_size = raw.s_log_block_size;
  shape.s_blocks_per_group = raw.s_blocks_per_group;
  shape.s_inodes_per_group = raw.s_inodes_per_group;
  shape.s_rev_level = raw.s_rev_level;
  if (raw.s_rev_level == ext2::kGoodOldRevision) {
    return shape;
  }
  shape.s_hash_seed = raw.s_hash_seed;
  shape.s_first_ino = raw.s_first_ino;
  shape.s_inode_size = uint32_t{raw.s_inode_size};
  shape.s_feature_compat = raw.s_feature_compat;
  shape.s_feature_incompat = raw.s_feature_incompat;
  shape.s_feature_ro_compat = raw.s_feature_ro_compat;
  shape.s_def_hash_version = uint32_t{raw.s_def_hash_version};
  shape.s_reserved_gdt_blocks = uint32_t{raw.s_reserved_gdt_blocks};
  shape.s_first_meta_bg = raw.s_first_meta_bg;
  return shape;
}

format::Digest shape_digest(const Volume& lower) {
  LongHash hash;
  hash.add(bytes_of(shape_of(lower.superblock().raw())));
  for (const Group& group : lower.groups()) {
    const auto number = [](BlockNumber block) { return static_cast<uint32_t>(block.value()); };
    hash.add(bytes_of(format::GroupShape{number(group.block_bitmap), number(group.inode_bitmap),
                                         number(group.inode_table), group.free_blocks_count,
                                         group.free_inodes_count, group.used_dirs_count}));
  }
  return hash.value();
}

// As it was before there were records: all bytes of superblock and descriptors.
Result<format::Digest> whole_digest(const Volume& lower) {
  const Layout& layout = lower.layout();
  LongHash hash;
  hash.add(bytes_of(lower.superblock().raw()));
  std::vector<std::byte> block(layout.block_size_bytes);
  for (uint32_t index = 0; index < layout.descriptor_block_count(); ++index) {
    UNIONFS_TRY(lower.read_block(layout.primary_descriptor_block(index), block));
    hash.add(block);
  }
  return hash.value();
}

format::LowerIdentity identity_without_hash(const Volume& lower) {
  const ext2::Superblock& raw = lower.superblock().raw();
  format::LowerIdentity identity = {};
  identity.uuid = raw.s_uuid;
  identity.block_size_bytes = lower.layout().block_size_bytes;
  identity.s_blocks_count = raw.s_blocks_count;
  identity.s_inodes_count = raw.s_inodes_count;
  identity.s_mtime = raw.s_mtime;
  identity.s_wtime = raw.s_wtime;
  identity.s_lastcheck = raw.s_lastcheck;
  return identity;
}

// Collects what is otherwise than it was.
class Differences {
 public:
  void compare(const char* what, uint32_t now, uint32_t before) {
    if (now != before) {
      add(fmt::format("it has {} {}, not {}", now, what, before));
    }
  }
  void add(std::string difference) { list_.push_back(std::move(difference)); }
  bool empty() const { return list_.empty(); }
  std::string text() const { return fmt::format("{}", fmt::join(list_, "; ")); }

 private:
  std::vector<std::string> list_;
};

// The sizes, which every upper knows.
Differences different_sizes(const format::LowerIdentity& now, const format::LowerIdentity& before) {
  Differences differences;
  if (now.uuid != before.uuid) {
    differences.add(
        fmt::format("its UUID is {}, not {}", uuid_text(now.uuid), uuid_text(before.uuid)));
  }
  differences.compare("bytes in a block", now.block_size_bytes, before.block_size_bytes);
  differences.compare("blocks", now.s_blocks_count, before.s_blocks_count);
  differences.compare("inodes", now.s_inodes_count, before.s_inodes_count);
  return differences;
}

// Empty where there is none.
std::string shape_difference(const KnownLower& before, const Volume& lower) {
  const KnownLower now = known_lower(lower);
  Differences differences = different_sizes(now.identity, before.identity);
  if (differences.empty() && now.identity.hash == before.identity.hash) {
    return "";
  }
  differences.compare("free blocks", now.free_blocks_count, before.free_blocks_count);
  differences.compare("free inodes", now.free_inodes_count, before.free_inodes_count);
  differences.compare("directories", now.used_dirs_count, before.used_dirs_count);
  if (differences.empty()) {
    differences.add("its features, its hash seed or the places and counts of its groups differ");
  }
  if (now.identity.s_wtime != before.identity.s_wtime) {
    differences.add(fmt::format("it was last written {}, then {}", utc_text(now.identity.s_wtime),
                                utc_text(before.identity.s_wtime)));
  }
  return differences.text();
}

Result<void> check_shape(const KnownLower& before, const Volume& lower,
                         const std::string& upper_name) {
  const std::string difference = shape_difference(before, lower);
  return difference.empty() ? Result<void>()
                            : invalid("{}", not_the_lower(lower.name(), upper_name, difference));
}

void compare_times(const char* what, uint32_t now, uint32_t before, Differences& differences) {
  if (now != before) {
    differences.add(fmt::format("last {} {}, not {}", what, now == 0 ? "never" : utc_text(now),
                                before == 0 ? "never" : utc_text(before)));
  }
}

// One hash over everything tells that something differs, and not what.
Result<void> check_whole(const format::LowerIdentity& before, const Volume& lower,
                         const std::string& upper_name) {
  UNIONFS_ASSIGN(const format::LowerIdentity now, identity_without_records(lower));
  if (std::memcmp(&now, &before, sizeof(now)) == 0) {
    return {};
  }
  Differences differences = different_sizes(now, before);
  if (!differences.empty()) {
    return invalid("{}", not_the_lower(lower.name(), upper_name, differences.text()));
  }
  compare_times("mounted", now.s_mtime, before.s_mtime, differences);
  compare_times("written", now.s_wtime, before.s_wtime, differences);
  compare_times("checked", now.s_lastcheck, before.s_lastcheck, differences);
  if (differences.empty()) {
    differences.add("its superblock or descriptors differ");
  }
  return invalid(
      "{}: is not as it was when {} was made over it: {}; an earlier program made this upper, and "
      "it cannot be told whether more than that has changed; give a copy of the lower from before "
      "that{}",
      lower.name(), upper_name, differences.text(), how_to_rebase(lower.name(), upper_name));
}

}  // namespace

std::string utc_text(uint32_t seconds) {
  const auto time = static_cast<time_t>(seconds);
  struct tm parts;
  ::gmtime_r(&time, &parts);
  char text[32];
  (void)::strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &parts);
  return text;
}

KnownLower known_lower(const Volume& lower) {
  KnownLower known;
  known.identity = identity_without_hash(lower);
  known.identity.hash = shape_digest(lower);
  for (const Group& group : lower.groups()) {
    known.free_blocks_count += group.free_blocks_count;
    known.free_inodes_count += group.free_inodes_count;
    known.used_dirs_count += group.used_dirs_count;
  }
  return known;
}

Result<format::LowerIdentity> identity_without_records(const Volume& lower) {
  format::LowerIdentity identity = identity_without_hash(lower);
  UNIONFS_ASSIGN(identity.hash, whole_digest(lower));
  return identity;
}

Result<void> check_known_lower(const StateArea& area, const Volume& lower,
                               const std::string& upper_name) {
  return area.has_lower_records() ? check_shape(area.lower, lower, upper_name)
                                  : check_whole(area.lower.identity, lower, upper_name);
}

Result<void> check_still_same(const KnownLower& before, const Volume& lower) {
  const std::string difference = shape_difference(before, lower);
  return difference.empty() ? Result<void>()
                            : invalid("{}: is not as it was: {}", lower.name(), difference);
}

std::string describe(const format::LowerIdentity& identity) {
  constexpr size_t kShownBytes = 8;
  return fmt::format("UUID {}, {} blocks of {} bytes, last written {}, hash {}",
                     uuid_text(identity.uuid), identity.s_blocks_count, identity.block_size_bytes,
                     utc_text(identity.s_wtime),
                     hex_text(std::span(identity.hash).first(kShownBytes)));
}

std::string not_the_lower(const std::string& lower_name, const std::string& upper_name,
                          const std::string& difference) {
  return fmt::format(
      "{}: is not the lower that {} was made over: {}; give the lower that it was made over, "
      "unchanged{}",
      lower_name, upper_name, difference, how_to_rebase(lower_name, upper_name));
}

std::string how_to_rebase(const std::string& lower_name, const std::string& upper_name) {
  return fmt::format("; to carry the layer over: unionfs-img rebase -b OLD --onto {} {}",
                     shell_word(lower_name), shell_word(upper_name));
}

}  // namespace unionfs
