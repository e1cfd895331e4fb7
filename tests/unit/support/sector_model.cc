// SPDX-License-Identifier: BSD-3-Clause
#include "tests/unit/support/sector_model.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>

#include "tests/unit/support/expect.h"

namespace unionfs::testing {
namespace {

uint64_t hash_of(ConstByteSpan bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

bool has(const std::vector<uint64_t>& values, uint64_t value) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

}  // namespace

void SectorModel::change(uint64_t offset, ConstByteSpan bytes, bool is_certain) {
  const uint64_t end = offset + bytes.size();
  for (uint64_t number = offset / kSectorBytes; number * kSectorBytes < end; ++number) {
    std::vector<std::byte> value(sector(now_, number).begin(), sector(now_, number).end());
    const uint64_t begin = number * kSectorBytes;
    const uint64_t from = std::max(offset, begin);
    const uint64_t to = std::min(end, begin + kSectorBytes);
    std::memcpy(&value[from - begin], &bytes[from - offset], to - from);

    auto& values = since_flush_[number];
    if (values.empty()) {
      values.push_back(hash_of(sector(now_, number)));
    }
    values.push_back(hash_of(value));
    if (is_certain) {
      std::copy(value.begin(), value.end(), now_.begin() + static_cast<ptrdiff_t>(begin));
    } else {
      in_flight_[number].push_back(hash_of(value));
    }
  }
}

std::optional<std::string> SectorModel::judge(ConstByteSpan content, const Values& open,
                                              const char* event) const {
  for (uint64_t number = 0; number * kSectorBytes < now_.size(); ++number) {
    const ConstByteSpan found = sector(content, number);
    if (is_same_bytes(found, sector(now_, number))) {
      continue;
    }
    const auto values = open.find(number);
    if (values == open.end() || !has(values->second, hash_of(found))) {
      return fmt::format("after {}: sector {} holds none of the {} values it may hold", event,
                         number, values == open.end() ? 1 : values->second.size());
    }
  }
  return std::nullopt;
}

std::optional<std::string> SectorModel::judge_after_death(ConstByteSpan content) const {
  return judge(content, in_flight_, "the server's death");
}

std::optional<std::string> SectorModel::judge_after_power_loss(ConstByteSpan content) const {
  return judge(content, since_flush_, "a power loss");
}

void SectorModel::adopt_after_death(ConstByteSpan content) {
  now_.assign(content.begin(), content.end());
  in_flight_.clear();
}

void SectorModel::adopt_after_power_loss(ConstByteSpan content) {
  now_.assign(content.begin(), content.end());
  in_flight_.clear();
  since_flush_.clear();
}

}  // namespace unionfs::testing
