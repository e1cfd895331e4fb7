// SPDX-License-Identifier: BSD-3-Clause
//
// The sound images that recipes begin with.  They are made once in a process, and each
// execution takes copies.
#ifndef UNIONFS_TESTS_FUZZ_SUPPORT_PAIRS_H
#define UNIONFS_TESTS_FUZZ_SUPPORT_PAIRS_H

#include <memory>
#include <string>
#include <vector>

#include "overlay/disk.h"
#include "overlay/merged/lower_image.h"
#include "tests/fuzz/support/atlas.h"

namespace unionfs::fuzzing {

using testing::MemoryFile;

constexpr const char* kThisBoot = "11111111-2222-3333-4444-555555555555";
constexpr const char* kNextBoot = "66666666-7777-8888-9999-000000000000";

// Space for a file in memory: the largest merged image here is 4 MiB.
constexpr uint64_t kCapacityBytes = uint64_t{24} << 20;

struct SoundLower {
  std::unique_ptr<MemoryFile> file;  // "lower.img"
  std::unique_ptr<LowerImage> image;
  ImageAtlas atlas;
  upper_format::LowerIdentity identity = {};
};

// An upper over a lower.
struct SoundPair {
  std::string name;
  const SoundLower* lower = nullptr;
  std::unique_ptr<MemoryFile> upper;  // "upper.img"
  ImageAtlas atlas;                   // of the upper
  std::vector<std::byte> merged;      // what it shows
  ImageAtlas merged_atlas;
  // Images that a client makes of the merged one, each whole and sound.
  std::vector<std::vector<std::byte>> clients;
};

class SoundImages {
 public:
  static const SoundImages& get();

  const std::vector<std::unique_ptr<SoundLower>>& lowers() const { return lowers_; }
  // The first two are new uppers over the two lowers.
  const std::vector<SoundPair>& pairs() const { return pairs_; }
  // A foreign upper, to be imported over the lower of index 1.
  const MemoryFile& foreign() const { return *foreign_; }
  const ImageAtlas& foreign_atlas() const { return foreign_atlas_; }

  const SoundPair& pair(uint8_t number) const { return pairs_[number % pairs_.size()]; }

 private:
  SoundImages();
  void add_new_pair(std::string name, const SoundLower& lower, uint64_t size_bytes,
                    const std::vector<std::vector<std::byte>>& clients);
  void add_golden_pairs();
  void add_wide_pairs();
  void add_pair(std::string name, const SoundLower& lower, const MemoryFile& upper,
                std::vector<std::vector<std::byte>> clients);

  std::vector<std::vector<std::byte>> wide_clients_;
  std::vector<std::unique_ptr<SoundLower>> lowers_;
  std::vector<SoundPair> pairs_;
  std::unique_ptr<MemoryFile> foreign_;
  ImageAtlas foreign_atlas_;
};

// One of the images by its name, called "upper.img".
std::unique_ptr<MemoryFile> load_image(const std::string& name);

LogSink no_log();
// What a disk shows.
Result<std::vector<std::byte>> read_whole(const Disk& disk);
// Writes to the session the blocks in which the disk differs from `wanted`.
void write_differences(Disk& disk, ConstByteSpan wanted);

}  // namespace unionfs::fuzzing

#endif  // UNIONFS_TESTS_FUZZ_SUPPORT_PAIRS_H
