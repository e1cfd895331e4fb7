// SPDX-License-Identifier: BSD-3-Clause
#include "tests/fuzz/support/edit.h"

#include <algorithm>
#include <cstring>
#include <random>

namespace unionfs::fuzzing {
namespace {

enum class Change : uint8_t { kSet, kAdd, kFlip, kExtreme, kBlock, kInode, kNoise, kCopy };
constexpr uint8_t kChanges = 8;

uint32_t pick(const std::vector<uint32_t>& numbers, uint32_t index) {
  return numbers.empty() ? index : numbers[index % numbers.size()];
}

uint64_t changed_number(uint64_t before, Change change, uint32_t value, const ImageAtlas& atlas) {
  switch (change) {
    case Change::kAdd:
      return before + static_cast<uint64_t>(static_cast<int64_t>(static_cast<int32_t>(value)));
    case Change::kFlip:
      return before ^ value;
    case Change::kExtreme: {
      const uint32_t number = pick(atlas.extremes, value);
      // All ones in every width.
      return number == 0xffffffffU ? UINT64_MAX : number;
    }
    case Change::kBlock:
      return pick(atlas.blocks, value);
    case Change::kInode:
      return pick(atlas.inodes, value);
    default:
      return value;
  }
}

void copy_place(ByteSpan place, ConstByteSpan source) {
  std::memmove(place.data(), source.data(), std::min(source.size(), place.size()));
}

void fill_with_noise(ByteSpan place, size_t from, uint32_t seed) {
  std::minstd_rand random(seed);
  const size_t length = seed % 2 == 0 ? place.size() : 1 + seed / 2 % 64;
  for (std::byte& byte : place.subspan(from, std::min(length, place.size() - from))) {
    byte = static_cast<std::byte>(random() >> 8);
  }
}

bool is_inside(const FileRange& range, uint64_t size_bytes) {
  return range.length > 0 && range.end() <= size_bytes;
}

}  // namespace

EditedRange apply_edit(ByteSpan image, const ImageAtlas& atlas, PlaceKind kind,
                       const RecipeStep& step) {
  const std::vector<FileRange>& places = atlas.of(kind);
  if (places.empty() || !is_inside(places[step.which % places.size()], image.size())) {
    return {kind, {}};
  }
  const FileRange range = places[step.which % places.size()];
  const ByteSpan place = image.subspan(range.offset, range.length);
  const auto change = static_cast<Change>(step.how % kChanges);
  const uint64_t width = std::min<uint64_t>(uint64_t{1} << (step.how >> 3) % 4, range.length);
  const uint64_t at = step.where % (range.length / width) * width;
  if (change == Change::kNoise) {
    fill_with_noise(place, at, step.value);
  } else if (change == Change::kCopy) {
    const FileRange& source = places[step.value % places.size()];
    if (is_inside(source, image.size())) {
      copy_place(place, image.subspan(source.offset, source.length));
    }
  } else {
    uint64_t number = 0;
    std::memcpy(&number, &place[at], width);
    number = changed_number(number, change, step.value, atlas);
    std::memcpy(&place[at], &number, width);
  }
  return {kind, range};
}

EditedRange apply_edit(testing::MemoryFile& image, const ImageAtlas& atlas, PlaceKind kind,
                       const RecipeStep& step) {
  const ByteSpan bytes = image.bytes(0, image.size_bytes());
  const EditedRange edited = apply_edit(bytes, atlas, kind, step);
  // So that the file knows that there is data.
  image.poke(edited.range.offset, bytes.subspan(edited.range.offset, edited.range.length));
  return edited;
}

}  // namespace unionfs::fuzzing
