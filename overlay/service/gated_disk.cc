// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/service/gated_disk.h"

namespace unionfs {

Result<void> GatedDisk::read(uint64_t offset, ByteSpan buffer) {
  return in_pieces(offset, buffer.size(), kPieceBytes, [&](uint64_t piece, uint64_t length) {
    return disk_->read(piece, buffer.subspan(piece - offset, length));
  });
}

Result<void> GatedDisk::write(uint64_t offset, ConstByteSpan bytes) {
  return in_pieces(offset, bytes.size(), kPieceBytes, [&](uint64_t piece, uint64_t length) {
    return disk_->write(piece, bytes.subspan(piece - offset, length));
  });
}

Result<void> GatedDisk::zero(uint64_t offset, uint64_t length, ZeroOptions options) {
  return in_pieces(offset, length, kPieceBytes, [&](uint64_t piece, uint64_t piece_length) {
    return disk_->zero(piece, piece_length, options);
  });
}

Result<void> GatedDisk::trim(uint64_t offset, uint64_t length) {
  return in_pieces(offset, length, kPieceBytes, [&](uint64_t piece, uint64_t piece_length) {
    return disk_->trim(piece, piece_length);
  });
}

// A sync may take long, and who waits for the writers' gate to be closed is not to wait for it.
Result<void> GatedDisk::flush() {
  const Gate::Pass pass(flushes_);
  UNIONFS_TRY(before_flush_());
  return disk_->flush();
}

Result<void> GatedDisk::prefetch(uint64_t offset, uint64_t length) {
  return in_pieces(offset, length, kLookPieceBytes, [&](uint64_t piece, uint64_t piece_length) {
    return disk_->prefetch(piece, piece_length);
  });
}

bool GatedDisk::can_zero_fast(bool may_trim) {
  const Gate::Pass pass(requests_);
  return disk_->can_zero_fast(may_trim);
}

}  // namespace unionfs
