// SPDX-License-Identifier: BSD-3-Clause
//
// Lowers, uppers and disks for the tests of the overlay.
#ifndef UNIONFS_TESTS_UNIT_SUPPORT_OVERLAY_FIXTURE_H
#define UNIONFS_TESTS_UNIT_SUPPORT_OVERLAY_FIXTURE_H

#include <memory>
#include <string>
#include <vector>

#include "overlay/disk.h"
#include "overlay/host/log.h"
#include "overlay/merged/lower_image.h"
#include "tests/unit/support/expect.h"
#include "tests/unit/support/real_image.h"
#include "tests/unit/support/test_files.h"

namespace unionfs::testing {

constexpr uint64_t kMebibyte = uint64_t{1} << 20;
constexpr const char* kBootId = "11111111-2222-3333-4444-555555555555";
constexpr const char* kNextBootId = "66666666-7777-8888-9999-000000000000";

// A lower in memory.
struct Lower {
  explicit Lower(const RealImage& source);
  Lower(const Lower&) = delete;
  Lower& operator=(const Lower&) = delete;

  std::unique_ptr<MemoryFile> file;
  std::unique_ptr<LowerImage> image;
  const Volume& volume;  // the image's

  const Layout& layout() const { return volume.layout(); }
};

// A few directories and files: a small tree for mke2fs -d.  `seed` changes the
// contents.
void make_tree(const std::filesystem::path& directory, uint64_t seed = 0);

// Several groups of 256 blocks, `group_count` and a half of them, with a small
// tree in it; of this block size.  Made once per program.
const RealImage& small_image(uint32_t block_size_bytes);
// What the merged image over it measures: a few groups more.
uint64_t small_merged_size(uint32_t block_size_bytes);

// The upper of an untouched merged image, called "upper.img".
std::unique_ptr<MemoryFile> make_upper(const Lower& lower, uint64_t size_bytes);

// A log that drops what it is told.
LogSink quiet_log();

std::unique_ptr<Disk> load_disk(const Lower& lower, WritableFile& upper,
                                const std::string& boot_id = kBootId,
                                Clock& clock = steady_clock());
// Loaded and open for writing.
std::unique_ptr<Disk> open_disk(const Lower& lower, WritableFile& upper,
                                const std::string& boot_id = kBootId,
                                Clock& clock = steady_clock());

// Makes D-blocks of the upper the layer's own, plain data, with bytes of the
// client's making; as a checkpoint would.  No disk may be loaded.
void make_own(MemoryFile& upper, const Geometry& geometry, BlockRange blocks, ConstByteSpan bytes);

std::vector<std::byte> read_range(const Disk& disk, uint64_t offset, uint64_t length);
std::vector<std::byte> read_all(const Disk& disk);
// As a sparse file.
void save(ConstByteSpan bytes, const std::filesystem::path& path);

// e2fsck -fn must be content with the merged image; with the upper, bit 0x20
// of s_feature_incompat cleared in a copy.
void check_merged_clean(const Disk& disk);
void check_layer_clean(const MemoryFile& upper);

// `length` bytes that tell `seed` apart from every other in each sector.
std::vector<std::byte> pattern(uint64_t seed, uint64_t length);

// From UNIONFS_SEED, or drawn; prints it with what it is for.
uint64_t test_seed(const std::string& purpose);

}  // namespace unionfs::testing

#endif  // UNIONFS_TESTS_UNIT_SUPPORT_OVERLAY_FIXTURE_H
