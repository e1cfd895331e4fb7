// SPDX-License-Identifier: BSD-3-Clause
//
// An edited lower: everything that fsparse can parse of it, then a new upper over it.
#include "fsparse/directory.h"
#include "fsparse/htree.h"
#include "fsparse/paired_walk.h"
#include "fsparse/symlink.h"
#include "fsparse/xattr.h"
#include "overlay/upper/layer_create.h"
#include "tests/fuzz/support/invariant.h"
#include "tests/fuzz/support/looks.h"

namespace unionfs::fuzzing {
namespace {

// Inodes whose parts are looked at; an image can have 8192 of them.
constexpr uint32_t kMostInodes = 300;

class EveryPair final : public PairedVisitor {
 public:
  Result<PairedStep> enter(const PairedBlock&) override { return PairedStep::kContinue; }
};

class ImageReader {
 public:
  ImageReader(const Volume& volume, const Volume& sound) : volume_(volume), sound_(sound) {}

  void read() {
    const uint64_t count = std::min<uint64_t>(volume_.layout().inode_count(), kMostInodes);
    for (uint32_t number = 1; number <= count; ++number) {
      const auto inode = read_inode(volume_, InodeNumber(number));
      if (went_well(inode)) {
        read_inode_parts(*inode);
      }
    }
  }

 private:
  void read_inode_parts(const InodeRecord& inode) {
    walk(inode);
    (void)went_well(read_attributes(volume_, inode));
    if (inode.is_symlink()) {
      (void)went_well(read_symlink(volume_, inode));
    }
    if (inode.is_directory()) {
      read_names(inode);
    }
  }

  void walk(const InodeRecord& inode) {
    uint64_t visited = 0;
    const auto visit = [&](BlockRole role, BlockNumber block) -> Result<WalkStep> {
      if (++visited > volume_.layout().block_count) {
        broken("a walk visits more blocks than there are");
      }
      const auto mapped = map_block(volume_, inode, role);
      if (!mapped || *mapped != block) {
        broken(fmt::format("inode {}: the walk and the map disagree", inode.number()));
      }
      return WalkStep::kContinue;
    };
    (void)went_well(walk_block_map(volume_, inode, visit));
    const auto below = read_inode(sound_, inode.number());
    if (below) {
      EveryPair every;
      (void)went_well(walk_paired(volume_, inode, sound_, slot_pointers(*below), every));
      (void)went_well(walk_paired(sound_, *below, volume_, slot_pointers(inode), every));
    }
  }

  void read_names(const InodeRecord& directory) {
    const auto entries = read_directory(volume_, directory);
    (void)went_well(entries);
    for (const char* name : {"nobody is called so", ".", "..", "a"}) {
      (void)went_well(find_name(volume_, directory, name));
    }
    if (directory.has_index()) {
      (void)went_well(index_nodes(volume_, directory));
    }
    if (!entries) {
      return;
    }
    for (const NamedEntry& entry : *entries) {
      const auto found = find_name(volume_, directory, entry.name);
      const bool is_there =
          found && *found && std::find(entries->begin(), entries->end(), **found) != entries->end();
      if (went_well(found) && *found && !is_there) {
        broken(fmt::format("inode {}: a name is found that is not there", directory.number()));
      }
    }
  }

  const Volume& volume_;
  const Volume& sound_;
};

void serve(const LowerImage& lower, const SoundPair& pair, const std::vector<EditedRange>& edits) {
  const auto geometry = Geometry::grow(lower.volume(), pair.merged.size());
  if (!went_well(geometry) || geometry->size_bytes() > kCapacityBytes / 2) {
    return;
  }
  MemoryFile upper("upper.img", kCapacityBytes);
  if (!went_well(create_layer(upper, lower.volume(), *geometry))) {
    return;
  }
  const auto disk = open_to_look(lower, upper);
  if (disk == nullptr) {
    return;
  }
  const ShownBlocks shown = look_at_all(*disk);
  expect_right_extents(*disk, shown);
  if (shown.bytes.size() == pair.merged.size()) {
    expect_untouched(*disk, pair, shown, edits, {});
  }
}

void run(const Recipe& recipe) {
  const SoundImages& images = SoundImages::get();
  // Its upper owns nothing: what the edited lower is held against.
  const SoundPair& pair = images.pairs()[recipe.base % images.lowers().size()];
  const SoundLower& sound = *pair.lower;
  const auto file = sound.file->clone();
  std::vector<EditedRange> edits;
  for (const RecipeStep& step : recipe.steps) {
    const auto kind = static_cast<PlaceKind>(step.kind % kImagePlaceKinds);
    edits.push_back(apply_edit(*file, sound.atlas, kind, step));
  }
  if (recipe.option % 16 == 1) {
    (void)file->resize(recipe.seed * uint64_t{32} % (file->size_bytes() + 1));
  }
  for (const SuperblockUse use : {SuperblockUse::kLower, SuperblockUse::kUpper}) {
    const auto volume = Volume::open(*file, use);
    if (went_well(volume)) {
      ImageReader(*volume, sound.image->volume()).read();
    }
  }
  const auto lower = LowerImage::open(*file);
  if (went_well(lower) && recipe.option % 16 != 1) {
    serve(**lower, pair, edits);
  }
}

}  // namespace
}  // namespace unionfs::fuzzing

#include "tests/fuzz/support/entry.h"
