// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/upper/live_stamp.h"

#include <array>
#include <cstring>
#include <fstream>

#include "overlay/upper/upper_format.h"

namespace unionfs {
namespace {

using upper_format::Stamp;

Stamp make_stamp(uint64_t session_number, const std::string& boot_id,
                 const FileIdentity& identity) {
  Stamp stamp = {};
  stamp.magic = upper_format::kStampMagic;
  stamp.session_number = session_number;
  std::memcpy(stamp.boot_id.data(), boot_id.data(), std::min(boot_id.size(), stamp.boot_id.size()));
  stamp.device = identity.device;
  stamp.inode = identity.inode;
  stamp.birth_nanoseconds = identity.birth_nanoseconds;
  return stamp;
}

bool is_same(const Stamp& a, const Stamp& b) {
  return std::memcmp(&a, &b, sizeof(a)) == 0;
}

}  // namespace

Result<std::string> read_boot_id() {
  constexpr const char* kPath = "/proc/sys/kernel/random/boot_id";
  std::ifstream file(kPath);
  std::string boot_id;
  if (!std::getline(file, boot_id) || boot_id.empty()) {
    return system_failure(EIO, fmt::format("{}: cannot read the boot id", kPath));
  }
  return boot_id;
}

Result<bool> is_live_current(const ReadableFile& upper, const StateArea& area,
                             const std::string& boot_id) {
  UNIONFS_ASSIGN(const Stamp found, read_structure<Stamp>(upper, area.stamp_offset()));
  // Earlier programs stamped no identity.  What their killed server left is believed as
  // they believed it.
  return is_same(found, make_stamp(area.session_number, boot_id, upper.identity())) ||
         is_same(found, make_stamp(area.session_number, boot_id, {}));
}

Result<std::unique_ptr<LiveStamp>> LiveStamp::open(WritableFile& upper, const StateArea& area) {
  // All of the host's blocks in the page, so that what is written later finds them.
  using Page = std::array<std::byte, upper_format::kPageBytes>;
  UNIONFS_ASSIGN(const Page found, read_structure<Page>(upper, area.stamp_offset()));
  UNIONFS_TRY(upper.write(area.stamp_offset(), found));
  return std::unique_ptr<LiveStamp>(new LiveStamp(upper, area.stamp_offset()));
}

Result<void> LiveStamp::write(uint64_t session_number, const std::string& boot_id) {
  const Stamp stamp = make_stamp(session_number, boot_id, upper_.identity());
  return upper_.write(offset_, std::as_bytes(std::span(&stamp, 1)));
}

Result<void> LiveStamp::clear() {
  const Stamp none = {};
  Result<void> cleared = upper_.write(offset_, std::as_bytes(std::span(&none, 1)));
  // A full host that copies on write may have no room for zeros, but a hole takes none.
  return cleared ? std::move(cleared) : upper_.punch(offset_, upper_format::kPageBytes);
}

}  // namespace unionfs
