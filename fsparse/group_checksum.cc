// SPDX-License-Identifier: BSD-3-Clause
#include "fsparse/group_checksum.h"

#include <cstddef>
#include <span>

namespace unionfs {
namespace {

// x^16 + x^15 + x^2 + 1, the lowest bit first.
constexpr uint16_t kPolynomial = 0xA001;

constexpr std::array<uint16_t, 256> make_crc16_table() {
  std::array<uint16_t, 256> table = {};
  for (uint32_t byte = 0; byte < table.size(); ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc & 1) != 0 ? crc >> 1 ^ kPolynomial : crc >> 1;
    }
    table[byte] = static_cast<uint16_t>(crc);
  }
  return table;
}

constexpr std::array<uint16_t, 256> kCrc16Table = make_crc16_table();

uint16_t add_crc16(uint16_t crc, std::span<const std::byte> bytes) {
  for (const std::byte byte : bytes) {
    crc = static_cast<uint16_t>(crc >> 8 ^ kCrc16Table[(crc ^ static_cast<uint8_t>(byte)) & 0xff]);
  }
  return crc;
}

}  // namespace

GroupChecksum::GroupChecksum(const std::array<uint8_t, 16>& uuid)
    : of_uuid_(add_crc16(0xffff, std::as_bytes(std::span(uuid)))) {}

uint16_t GroupChecksum::of(GroupNumber group, const ext2::GroupDescriptor& descriptor) const {
  const Le32 number(group.value());
  const uint16_t crc = add_crc16(of_uuid_, std::as_bytes(std::span(&number, 1)));
  return add_crc16(
      crc,
      std::as_bytes(std::span(&descriptor, 1)).first(offsetof(ext2::GroupDescriptor, bg_checksum)));
}

}  // namespace unionfs
