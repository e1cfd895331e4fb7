// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/host/zero_bytes.h"

#include <algorithm>
#include <array>

namespace unionfs {
namespace {

constexpr size_t kPieceBytes = 65536;
constexpr std::array<std::byte, kPieceBytes> kZeros = {};

bool is_missing(const Result<void>& result) {
  return !result && result.error().error_number == EOPNOTSUPP;
}

Result<void> write_zeros(WritableFile& file, uint64_t offset, uint64_t length) {
  while (length > 0) {
    const auto piece = static_cast<size_t>(std::min<uint64_t>(length, kPieceBytes));
    UNIONFS_TRY(file.write(offset, ConstByteSpan(kZeros).first(piece)));
    offset += piece;
    length -= piece;
  }
  return {};
}

Result<void> zero_allocated(WritableFile& file, uint64_t offset, uint64_t length) {
  Result<void> result = file.zero_range(offset, length);
  return is_missing(result) ? write_zeros(file, offset, length) : result;
}

// A hole reads as zeros already, and would only take space.
Result<void> zero_data(WritableFile& file, uint64_t offset, uint64_t length) {
  const uint64_t end = offset + length;
  while (offset < end) {
    const FileExtent extent = file.extent_at(offset);
    const uint64_t next = extent.end > offset ? std::min(extent.end, end) : end;
    if (!extent.is_hole) {
      UNIONFS_TRY(zero_allocated(file, offset, next - offset));
    }
    offset = next;
  }
  return {};
}

Result<void> punch_or_zero(WritableFile& file, uint64_t offset, uint64_t length) {
  Result<void> result = file.punch(offset, length);
  return is_missing(result) ? zero_data(file, offset, length) : result;
}

}  // namespace

Result<void> zero_bytes(WritableFile& file, uint64_t offset, uint64_t length, ZeroWay way) {
  if (length == 0) {
    return {};
  }
  switch (way) {
    case ZeroWay::kPunch:
      return punch_or_zero(file, offset, length);
    case ZeroWay::kAllocated:
      return zero_allocated(file, offset, length);
    case ZeroWay::kWrite:
      break;
  }
  return write_zeros(file, offset, length);
}

}  // namespace unionfs
