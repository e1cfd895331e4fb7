// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/stack/taken_sessions.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace unionfs {

TakenSessions::Gathered::Gathered(const Disk& disk, const ReadableFile& upper)
    : view_(disk.view()),
      geometry_(disk.geometry()),
      area_(disk.state_area()),
      upper_(upper),
      block_size_(geometry_.merged().block_size_bytes),
      bits_(area_.durable_bitmap.length) {
  const BlockNumber end(geometry_.merged().block_count);
  for (BlockNumber block(0); block < end;) {
    const SessionBitmap::BitRun own = view_.written_at(block, end);
    const SessionBitmap::BitRun any = own.is_set ? own : view_.written_by_parents(block, own.end);
    for (; any.is_set && block < any.end; ++block) {
      set_bit(bits_, block.value());
    }
    block = any.end;
  }
}

bool TakenSessions::Gathered::is_taken(BlockNumber block) const {
  return test_bit(bits_, block.value()) && !view_.written_at(block, block + 1).is_set;
}

TakenSessions::Gathered::Piece TakenSessions::Gathered::piece_at(uint64_t offset) const {
  if (offset < geometry_.size_bytes()) {
    const BlockNumber block(offset / block_size_);
    const uint64_t end = (block.value() + 1) * block_size_;
    const bool is_home = view_.place_of(block, block + 1).kind == Place::Kind::kData;
    return {is_home && is_taken(block) ? Piece::Kind::kBlock : Piece::Kind::kFile, end, block,
            offset % block_size_};
  }
  if (offset >= area_.fixed_blocks.offset && offset < area_.fixed_blocks.end()) {
    return home_in_state_area(offset);
  }
  const FileRange& bits = area_.durable_bitmap;
  if (offset >= bits.offset && offset < bits.end()) {
    return {Piece::Kind::kBits, bits.end(), {}, offset - bits.offset};
  }
  uint64_t end = upper_.size_bytes();
  for (const uint64_t begin : {area_.fixed_blocks.offset, bits.offset}) {
    end = begin > offset ? std::min(end, begin) : end;
  }
  return {Piece::Kind::kFile, end, {}, 0};
}

TakenSessions::Gathered::Piece TakenSessions::Gathered::home_in_state_area(uint64_t offset) const {
  const uint64_t rank = (offset - area_.fixed_blocks.offset) / block_size_;
  const uint64_t end = area_.fixed_blocks.offset + (rank + 1) * block_size_;
  const auto& ranges = geometry_.fixed_ranges();
  const auto behind = std::upper_bound(
      ranges.begin(), ranges.end(), rank,
      [](uint64_t wanted, const FixedRange& range) { return wanted < range.first_rank; });
  const FixedRange& range = behind[-1];
  const BlockNumber block = range.blocks.begin + (rank - range.first_rank);
  const bool is_home = block < range.blocks.end && is_taken(block);
  return {is_home ? Piece::Kind::kBlock : Piece::Kind::kFile, end, block,
          (offset - area_.fixed_blocks.offset) % block_size_};
}

Result<void> TakenSessions::Gathered::read(uint64_t offset, ByteSpan buffer) const {
  while (!buffer.empty()) {
    const Piece piece = piece_at(offset);
    const ByteSpan part =
        buffer.first(static_cast<size_t>(std::min<uint64_t>(piece.end - offset, buffer.size())));
    switch (piece.kind) {
      case Piece::Kind::kFile:
        UNIONFS_TRY(upper_.read(offset, part));
        break;
      case Piece::Kind::kBlock:
        UNIONFS_TRY(view_.read(piece.block.value() * block_size_ + piece.skip, part));
        break;
      case Piece::Kind::kBits:
        std::memcpy(part.data(), bits_.data() + piece.skip, part.size());
        break;
    }
    offset += part.size();
    buffer = buffer.subspan(part.size());
  }
  return {};
}

Result<std::unique_ptr<TakenSessions>> TakenSessions::make(const Disk& disk,
                                                           const ReadableFile& upper) {
  std::unique_ptr<TakenSessions> taken(new TakenSessions(disk, upper));
  StateArea area = disk.state_area();
  stand_on_layer(area, disk.layer().below().identity());
  area.features.incompat &= ~(upper_format::kIncompatFrozen | upper_format::kIncompatFreezing);
  area.freeze_id = {};
  taken->stage_ = std::make_unique<StagedFile>(taken->gathered_);
  UNIONFS_TRY(write_header(*taken->stage_, encode_header(area), area.generation + 1));
  return taken;
}

Result<void> TakenSessions::refuse() const {
  return system_failure(EROFS, fmt::format("{}: is only looked at", name()));
}

Result<void> TakenSessions::write(uint64_t, ConstByteSpan) {
  return refuse();
}
Result<void> TakenSessions::punch(uint64_t, uint64_t) {
  return refuse();
}
Result<void> TakenSessions::zero_range(uint64_t, uint64_t) {
  return refuse();
}
Result<void> TakenSessions::allocate(uint64_t, uint64_t) {
  return refuse();
}
Result<void> TakenSessions::resize(uint64_t) {
  return refuse();
}
Result<std::unique_ptr<MappedRegion>> TakenSessions::map(uint64_t, uint64_t) {
  return Failure(refuse().error());
}

}  // namespace unionfs
