// SPDX-License-Identifier: BSD-3-Clause
//
// The requests of clients, while the disk that does them may be exchanged for another one: a
// snapshot puts the next upper in the place of this one.  Each request passes a gate in small
// pieces, and asks behind it which disk there is.
#ifndef UNIONFS_OVERLAY_SERVICE_GATED_DISK_H
#define UNIONFS_OVERLAY_SERVICE_GATED_DISK_H

#include <algorithm>
#include <functional>
#include <utility>

#include "overlay/disk.h"
#include "overlay/service/gate.h"

namespace unionfs {

// The requests are those of Disk, and thread-safe.
class GatedDisk {
 public:
  // The most that a request does without looking whether the gate is to be closed.
  static constexpr uint64_t kPieceBytes = uint64_t{256} << 10;
  // The same of those that only look up where something lies.
  static constexpr uint64_t kLookPieceBytes = uint64_t{16} << 20;

  // `before_flush` is called for each flush, before the disk's own.
  explicit GatedDisk(std::function<Result<void>()> before_flush)
      : before_flush_(std::move(before_flush)) {}

  Result<void> read(uint64_t offset, ByteSpan buffer);
  Result<void> write(uint64_t offset, ConstByteSpan bytes);
  Result<void> zero(uint64_t offset, uint64_t length, ZeroOptions options);
  Result<void> trim(uint64_t offset, uint64_t length);
  Result<void> flush();
  Result<void> prefetch(uint64_t offset, uint64_t length);
  bool can_zero_fast(bool may_trim);
  // See Disk.  The visitor must not come back here.
  template <typename Visitor>
  Result<void> for_each_extent(uint64_t offset, uint64_t length, Visitor&& visitor);
  // Calls action(view) with what is shown at this moment.
  template <typename Action>
  void with_view(Action&& action) {
    const Gate::Pass pass(requests_);
    action(disk_->view());
  }

  // ---- for who exchanges the disk ----

  // What all requests but flushes pass, and what flushes pass.
  Gate& request_gate() { return requests_; }
  Gate& flush_gate() { return flushes_; }
  // While both are closed, or no client is there.
  void serve(Disk* disk) { disk_ = disk; }

 private:
  // Calls action(offset, length) -> Result<void> for adjacent pieces, each behind the gate.
  // No block of the disk is cut.
  template <typename Action>
  Result<void> in_pieces(uint64_t offset, uint64_t length, uint64_t most, Action&& action);

  const std::function<Result<void>()> before_flush_;
  Gate requests_;
  Gate flushes_;
  Disk* disk_ = nullptr;
};

template <typename Action>
Result<void> GatedDisk::in_pieces(uint64_t offset, uint64_t length, uint64_t most,
                                  Action&& action) {
  do {
    const uint64_t end = (offset + most) / ext2::kMaxBlockSizeBytes * ext2::kMaxBlockSizeBytes;
    const uint64_t piece = std::min(length, end - offset);
    const Gate::Pass pass(requests_);
    UNIONFS_TRY(action(offset, piece));
    offset += piece;
    length -= piece;
  } while (length > 0);
  return {};
}

// A stretch that ends with a piece may go on in the next one.
template <typename Visitor>
Result<void> GatedDisk::for_each_extent(uint64_t offset, uint64_t length, Visitor&& visitor) {
  struct {
    uint64_t offset = 0;
    uint64_t length = 0;
    bool is_hole = false;
  } last;
  bool goes_on = true;
  UNIONFS_TRY(
      in_pieces(offset, length, kLookPieceBytes, [&](uint64_t piece, uint64_t piece_length) {
        return !goes_on
                   ? Result<void>()
                   : disk_->for_each_extent(
                         piece, piece_length, [&](uint64_t start, uint64_t stretch, bool is_hole) {
                           if (start == piece && last.length > 0 && last.is_hole == is_hole) {
                             last.length += stretch;
                             return true;
                           }
                           if (last.length > 0) {
                             goes_on = visitor(last.offset, last.length, last.is_hole);
                           }
                           last = {start, stretch, is_hole};
                           return goes_on;
                         });
      }));
  if (goes_on && last.length > 0) {
    (void)visitor(last.offset, last.length, last.is_hole);
  }
  return {};
}

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SERVICE_GATED_DISK_H
