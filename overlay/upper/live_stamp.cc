// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/upper/live_stamp.h"

#include <array>
#include <cstring>
#include <fstream>

#include "overlay/upper/upper_format.h"

namespace unionfs {
namespace {

using upper_format::Stamp;

Stamp make_stamp(uint64_t session_number, const std::string& boot_id) {
  Stamp stamp = {};
  stamp.magic = upper_format::kStampMagic;
  stamp.session_number = session_number;
  std::memcpy(stamp.boot_id.data(), boot_id.data(), std::min(boot_id.size(), stamp.boot_id.size()));
  return stamp;
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
  const Stamp wanted = make_stamp(area.session_number, boot_id);
  return std::memcmp(&found, &wanted, sizeof(found)) == 0;
}

Result<std::unique_ptr<LiveStamp>> LiveStamp::map(WritableFile& upper, const StateArea& area) {
  // The page is reserved first, all of the host's blocks in it, or a store could find the
  // disk full.
  using Page = std::array<std::byte, upper_format::kPageBytes>;
  UNIONFS_ASSIGN(const Page found, read_structure<Page>(upper, area.stamp_offset()));
  UNIONFS_TRY(upper.write(area.stamp_offset(), found));
  UNIONFS_ASSIGN(auto region, upper.map(area.stamp_offset(), upper_format::kPageBytes));
  return std::unique_ptr<LiveStamp>(new LiveStamp(std::move(region)));
}

void LiveStamp::write(uint64_t session_number, const std::string& boot_id) {
  const Stamp stamp = make_stamp(session_number, boot_id);
  std::memcpy(region_->bytes().data(), &stamp, sizeof(stamp));
}

void LiveStamp::clear() {
  std::memset(region_->bytes().data(), 0, sizeof(Stamp));
}

}  // namespace unionfs
