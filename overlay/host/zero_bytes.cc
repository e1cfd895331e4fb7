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

}  // namespace

Result<void> zero_bytes(WritableFile& file, uint64_t offset, uint64_t length, ZeroWay way) {
  if (length == 0) {
    return {};
  }
  if (way == ZeroWay::kPunch) {
    Result<void> result = file.punch(offset, length);
    if (!is_missing(result)) {
      return result;
    }
  }
  if (way != ZeroWay::kWrite) {
    Result<void> result = file.zero_range(offset, length);
    if (!is_missing(result)) {
      return result;
    }
  }
  while (length > 0) {
    const auto piece = static_cast<size_t>(std::min<uint64_t>(length, kPieceBytes));
    UNIONFS_TRY(file.write(offset, ConstByteSpan(kZeros).first(piece)));
    offset += piece;
    length -= piece;
  }
  return {};
}

}  // namespace unionfs
