// SPDX-License-Identifier: BSD-3-Clause
#include "tests/fuzz/support/looks.h"

#include <algorithm>

#include "tests/fuzz/support/invariant.h"

namespace unionfs::fuzzing {
namespace {

constexpr uint64_t kPieceBlocks = 40;

void expect_same_in_pieces(const Disk& disk, const ShownBlocks& shown) {
  const uint64_t size = disk.geometry().merged().block_size_bytes;
  const uint64_t count = shown.is_readable.size();
  std::vector<std::byte> piece;
  for (uint64_t block = 0; block < count; block += kPieceBlocks) {
    const uint64_t end = std::min(count, block + kPieceBlocks);
    piece.resize((end - block) * size);
    const Result<void> read = disk.read(block * size, piece);
    const auto first = shown.is_readable.begin() + static_cast<ptrdiff_t>(block);
    const bool is_readable =
        std::all_of(first, first + static_cast<ptrdiff_t>(end - block), [](bool is) { return is; });
    if (went_well(read) != is_readable) {
      broken(fmt::format("blocks {} to {} can be read in one way only", block, end));
    }
    const std::string difference =
        read ? first_difference(ConstByteSpan(shown.bytes).subspan(block * size, piece.size()),
                                piece)
             : "";
    if (!difference.empty()) {
      broken(fmt::format("blocks {} to {} differ when read at once, {}", block, end, difference));
    }
  }
}

// Edits of these say nothing about blocks of data but their own.
bool is_of_files(PlaceKind kind) {
  switch (kind) {
    case PlaceKind::kInode:
    case PlaceKind::kPointers:
    case PlaceKind::kEntry:
    case PlaceKind::kIndex:
    case PlaceKind::kXattr:
    case PlaceKind::kFileData:
      return true;
    default:
      return false;
  }
}

bool is_near(const std::vector<EditedRange>& edits, const FileRange& place) {
  return std::any_of(edits.begin(), edits.end(), [&](const EditedRange& edit) {
    return edit.range.offset < place.end() && place.offset < edit.range.end();
  });
}

}  // namespace

bool ShownBlocks::is_whole() const {
  return std::all_of(is_readable.begin(), is_readable.end(), [](bool is) { return is; });
}

ShownBlocks look_at_all(const Disk& disk) {
  const uint64_t size = disk.geometry().merged().block_size_bytes;
  ShownBlocks shown;
  shown.bytes.resize(disk.geometry().size_bytes());
  for (uint64_t offset = 0; offset < shown.bytes.size(); offset += size) {
    const ByteSpan block = ByteSpan(shown.bytes).subspan(offset, size);
    const Result<void> read = disk.read(offset, block);
    shown.is_readable.push_back(went_well(read));
    if (!read) {
      std::fill(block.begin(), block.end(), std::byte{0});
      if (shown.first_error.empty()) {
        shown.first_error = read.error().message;
      }
    }
  }
  expect_same_in_pieces(disk, shown);
  return shown;
}

void expect_right_extents(const Disk& disk, const ShownBlocks& shown) {
  const uint64_t size = shown.bytes.size();
  uint64_t reached = 0;
  wanted(disk.for_each_extent(0, size, [&](uint64_t offset, uint64_t length, bool is_hole) {
    if (offset != reached || length == 0 || length > size - offset) {
      broken(fmt::format("extent of {} bytes at {} follows {}", length, offset, reached));
    }
    if (is_hole && !all_zeros(ConstByteSpan(shown.bytes).subspan(offset, length))) {
      broken(fmt::format("the hole of {} bytes at {} has bytes", length, offset));
    }
    reached = offset + length;
    return true;
  }));
  if (reached != size) {
    broken(fmt::format("extents end at {} of {}", reached, size));
  }
}

void expect_untouched(const Disk& disk, const SoundPair& pair, const ShownBlocks& shown,
                      const std::vector<EditedRange>& lower_edits,
                      const std::vector<EditedRange>& upper_edits) {
  for (const auto* edits : {&lower_edits, &upper_edits}) {
    for (const EditedRange& edit : *edits) {
      if (edit.range.length > 0 && !is_of_files(edit.kind)) {
        return;
      }
    }
  }
  const uint64_t size = disk.geometry().merged().block_size_bytes;
  for (uint64_t block = 0; block < shown.is_readable.size(); ++block) {
    const Run run = disk.view().run_at(BlockNumber(block), BlockNumber(block + 1));
    const bool is_plain = run.place.kind == Place::Kind::kData;
    const FileRange place{run.offset, size};
    if (!is_plain || (run.source == Source::kLower && is_near(lower_edits, place)) ||
        (run.source == Source::kUpper && is_near(upper_edits, place))) {
      continue;
    }
    const std::string difference =
        first_difference(ConstByteSpan(pair.merged).subspan(block * size, size),
                         ConstByteSpan(shown.bytes).subspan(block * size, size));
    if (!shown.is_readable[block] || !difference.empty()) {
      broken(
          fmt::format("block {}, which no edit went near, is another one: {}", block, difference));
    }
  }
}

std::unique_ptr<Disk> open_to_look(const Below& lower, WritableFile& upper) {
  auto disk = Disk::load(lower, upper, kThisBoot, no_log());
  if (!went_well(disk) || !went_well((*disk)->attach(Access::kReadOnly))) {
    return nullptr;
  }
  return std::move(*disk);
}

}  // namespace unionfs::fuzzing
