// SPDX-License-Identifier: BSD-3-Clause
//
// Plans by hand over small images, and the layers that are made of them.
#ifndef UNIONFS_TESTS_UNIT_CHANGES_PLAN_BENCH_H
#define UNIONFS_TESTS_UNIT_CHANGES_PLAN_BENCH_H

#include <memory>
#include <string>
#include <vector>

#include "overlay/changes/check_planned.h"
#include "overlay/changes/make_planned.h"
#include "overlay/merged/merged_image.h"
#include "tests/unit/support/overlay_fixture.h"

namespace unionfs::testing {

// The inode that a path leads to, from the root on; 0: there is no such name.
InodeNumber inode_at(const Volume& volume, const std::string& path);
std::string content_at(const Volume& volume, const std::string& path);

// Two images in memory: the one that plans are made for, and one that contents come from.
struct PlanImages {
  PlanImages(const RealImage& below, const RealImage& source) : lower(below), other(source) {}

  const Volume& image() const { return lower.volume; }
  const Volume& source() const { return other.volume; }

  Lower lower;
  Lower other;
};

// Of these block and inode sizes.  In the image: /large, /small with the names /twice and
// /b/thrice, /second, /link, /long_link, /device, /pipe, and the directories /a with inner/deep,
// /b with other, and /old with kept.  In the source: /changed, /cut, /grown and /holes, which
// are /large with other bytes or another size, and some of each type.
PlanImages images_of(uint32_t block_size = 1024, uint32_t source_block_size = 1024,
                     uint32_t inode_size = 128, uint32_t source_inode_size = 128);

// The source alone, of 1024-byte blocks and 128-byte inodes.
const RealImage& source_image();

// Writes a plan down, path by path.
class PlanWriter {
 public:
  explicit PlanWriter(const PlanImages& images) : images_(images) { existing("/"); }

  // The file that has this path in the image, as it is.
  PlannedFileId existing(const std::string& path);
  // A new file that is as this one of the source, with its content.
  PlannedFileId copy_of(const std::string& source_path);
  // A new empty directory with the metadata of this one of the source.
  PlannedFileId directory_like(const std::string& source_path) { return copy_of(source_path); }
  // Gives a planned file the content of this one of the source.
  void give_content(PlannedFileId id, const std::string& source_path);

  FileState& state(PlannedFileId id) { return plan.files[id].state; }
  // By a path of which all but the last name is in the image.
  void put(const std::string& path, PlannedFileId id);
  void remove(const std::string& path);
  void put_in(PlannedFileId directory, const std::string& name, PlannedFileId id);
  void remove_in(PlannedFileId directory, const std::string& name);

  Plan plan;

 private:
  const PlanImages& images_;
};

// A new layer over the image, and what it shows.
struct MadeLayer {
  std::unique_ptr<MemoryFile> upper;
  MadeFiles made;
  CheckpointFigures figures;
  std::unique_ptr<LayerOverLower> layer;
  std::unique_ptr<MergedImage> merged;

  const Volume& volume() const { return merged->volume(); }
  // Blocks that are the layer's own.
  uint64_t own_block_count() const;
};

// Only the making; the merged image is `extra_bytes` larger.
Result<MadeFiles> try_plan(const PlanImages& images, MemoryFile& upper, const Plan& plan,
                           uint64_t extra_bytes = 0);
// Makes it, and takes the checkpoint.  e2fsck is content with what the layer shows, and so is
// check_planned().
MadeLayer make_layer(const PlanImages& images, const Plan& plan);

}  // namespace unionfs::testing

#endif  // UNIONFS_TESTS_UNIT_CHANGES_PLAN_BENCH_H
