// SPDX-License-Identifier: BSD-3-Clause
//
// An edited image of ext4 or ext2 as a source of files: all of it, and as an upper of others.
//
// A recipe's base is one of three images.  Of ext4 any piece that holds something is edited, since
// no atlas knows extents.  Its option cuts the image (1).
#include "overlay/sources/ext4_source.h"
#include "overlay/sources/upper_source.h"
#include "tests/fuzz/support/edit.h"
#include "tests/fuzz/support/invariant.h"
#include "tests/fuzz/support/pairs.h"
#include "tests/fuzz/support/tree_looks.h"

namespace unionfs::fuzzing {
namespace {

constexpr uint8_t kIsCut = 1;
constexpr size_t kPieceBytes = 64;

struct SourceImage {
  std::unique_ptr<MemoryFile> file;
  ImageAtlas atlas;
};

ImageAtlas atlas_of_pieces(const MemoryFile& file) {
  ImageAtlas atlas;
  std::vector<std::byte> piece(kPieceBytes);
  for (uint64_t offset = 0; offset < file.size_bytes(); offset += kPieceBytes) {
    wanted(file.read(offset, piece));
    if (!all_zeros(piece)) {
      for (size_t kind = 0; kind < kImagePlaceKinds; ++kind) {
        atlas.places[kind].push_back({offset, kPieceBytes});
      }
    }
  }
  for (uint32_t block = 0; block <= file.size_bytes() / 1024; ++block) {
    atlas.blocks.push_back(block);
  }
  atlas.inodes = {0, 1, 2, 7, 8, 11, 12, 13, 60, 127, 128, 129};
  atlas.extremes = {0,      1,      127,        128,        255,       0x7fff,
                    0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff};
  return atlas;
}

const std::vector<SourceImage>& source_images() {
  static const std::vector<SourceImage> images = [] {
    std::vector<SourceImage> made;
    for (const char* name : {"ext4", "wide-lower", "foreign"}) {
      SourceImage image{load_image(name), {}};
      image.atlas = made.empty() ? atlas_of_pieces(*image.file)
                                 : atlas_of(*image.file, made.size() == 1 ? SuperblockUse::kLower
                                                                          : SuperblockUse::kUpper);
      made.push_back(std::move(image));
    }
    return made;
  }();
  return images;
}

void run(const Recipe& recipe) {
  const SourceImage& sound = source_images()[recipe.base % source_images().size()];
  const std::shared_ptr<MemoryFile> image = sound.file->clone();
  for (const RecipeStep& step : recipe.steps) {
    const auto kind = static_cast<PlaceKind>(step.kind % kImagePlaceKinds);
    (void)apply_edit(*image, sound.atlas, kind, step);
  }
  const bool is_cut = (recipe.option & kIsCut) != 0;
  if (is_cut) {
    wanted(image->resize(image->size_bytes() * (recipe.seed % 256) / 256));
  }
  const size_t size = image->size_bytes();
  const bool is_one = wanted(is_ext2_family(*image));
  const auto whole = read_whole_image(image);
  if (!went_well(whole)) {
    if (recipe.steps.empty() && !is_cut && &sound != &source_images().back()) {
      broken("a sound image cannot be read");
    }
  } else {
    if (!is_one) {
      broken("what is no image of the ext2 family is read as one");
    }
    look_at_tree(*whole, size);
  }
  const auto upper = read_foreign_upper(image);
  if (went_well(upper)) {
    look_at_tree(*upper, size);
  }
}

}  // namespace
}  // namespace unionfs::fuzzing

#include "tests/fuzz/support/entry.h"
