// SPDX-License-Identifier: BSD-3-Clause
//
// What each sector of a disk may hold after a crash.
#ifndef UNIONFS_TESTS_UNIT_SUPPORT_SECTOR_MODEL_H
#define UNIONFS_TESTS_UNIT_SUPPORT_SECTOR_MODEL_H

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "fsparse/image.h"

namespace unionfs::testing {

// The contract: what was acknowledged survives the server's death; of a power
// loss each sector comes out as it was flushed or as it was at any time since;
// a request in flight is done or not, sector by sector.
class SectorModel {
 public:
  explicit SectorModel(std::vector<std::byte> content) : now_(std::move(content)) {}

  ConstByteSpan now() const { return now_; }

  // A request made these bytes of the range.
  void changed(uint64_t offset, ConstByteSpan bytes) { change(offset, bytes, true); }
  // A request that failed in a crash may have made them.
  void perhaps_changed(uint64_t offset, ConstByteSpan bytes) { change(offset, bytes, false); }
  void flushed() { since_flush_.clear(); }

  // What is wrong with the content found; nothing if it may be so.
  std::optional<std::string> judge_after_death(ConstByteSpan content) const;
  std::optional<std::string> judge_after_power_loss(ConstByteSpan content) const;

  // Goes on with the content found, which was judged right.
  void adopt_after_death(ConstByteSpan content);
  void adopt_after_power_loss(ConstByteSpan content);

 private:
  static constexpr size_t kSectorBytes = 512;
  using Values = std::map<uint64_t, std::vector<uint64_t>>;  // hashes of each open sector

  void change(uint64_t offset, ConstByteSpan bytes, bool is_certain);
  std::optional<std::string> judge(ConstByteSpan content, const Values& open,
                                   const char* event) const;
  ConstByteSpan sector(ConstByteSpan content, uint64_t number) const {
    return content.subspan(number * kSectorBytes, kSectorBytes);
  }

  std::vector<std::byte> now_;
  Values since_flush_;  // flushed, then each newer value
  Values in_flight_;    // what else than now_ a dead server may have left
};

}  // namespace unionfs::testing

#endif  // UNIONFS_TESTS_UNIT_SUPPORT_SECTOR_MODEL_H
