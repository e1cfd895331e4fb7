// SPDX-License-Identifier: BSD-3-Clause
#include "tests/fuzz/support/pairs.h"

#include <algorithm>
#include <fstream>

#include "overlay/upper/layer_create.h"
#include "overlay/upper/lower_identity.h"
#include "tests/fuzz/support/invariant.h"

#ifndef FUZZ_IMAGES
#error "FUZZ_IMAGES must name the directory with the images"
#endif

namespace unionfs::fuzzing {
namespace {

std::vector<std::byte> load_bytes(const std::string& name) {
  const std::string path = FUZZ_IMAGES "/" + name + ".img";
  std::ifstream stream(path, std::ios::binary | std::ios::ate);
  std::vector<std::byte> bytes(stream ? static_cast<size_t>(stream.tellg()) : 0);
  stream.seekg(0);
  stream.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!stream || bytes.empty()) {
    broken("cannot read " + path);
  }
  return bytes;
}

// Zeros become holes.
std::unique_ptr<MemoryFile> file_of(const std::string& name, ConstByteSpan bytes) {
  auto file = std::make_unique<MemoryFile>(name, kCapacityBytes);
  wanted(file->resize(bytes.size()));
  for (size_t offset = 0; offset < bytes.size(); offset += MemoryFile::kPageBytes) {
    const ConstByteSpan page =
        bytes.subspan(offset, std::min<size_t>(MemoryFile::kPageBytes, bytes.size() - offset));
    if (!all_zeros(page)) {
      file->poke(offset, page);
    }
  }
  return file;
}

std::unique_ptr<SoundLower> load_lower(const std::string& name) {
  auto lower = std::make_unique<SoundLower>();
  lower->file = file_of("lower.img", load_bytes(name));
  lower->image = wanted(LowerImage::open(*lower->file));
  lower->atlas = atlas_of(*lower->file, SuperblockUse::kLower);
  lower->identity = known_lower(lower->image->volume()).identity;
  return lower;
}

std::unique_ptr<Disk> open_disk(const SoundLower& lower, WritableFile& upper, Access access) {
  auto disk = wanted(Disk::load(*lower.image, upper, kThisBoot, no_log()));
  wanted(disk->attach(access));
  return disk;
}

Result<CheckpointFigures> checkpoint_of(const SoundLower& lower, WritableFile& upper) {
  const auto disk = open_disk(lower, upper, Access::kReadWrite);
  UNIONFS_TRY(disk->close());
  const std::atomic<bool> never{false};
  return disk->checkpoint(AskedBy::kPerson, never);
}

// The session's checkpoint, committed and with nothing of it home: its sync behind the
// commit fails.
std::unique_ptr<MemoryFile> with_journal(const SoundLower& lower, const MemoryFile& session) {
  constexpr uint64_t kMostSyncs = 20;
  for (uint64_t number = 1; number < kMostSyncs; ++number) {
    auto copy = session.clone();
    testing::FaultyFile faulty(*copy);
    faulty.fail(testing::FileOperation::kSync, number, EIO, kMostSyncs);
    const auto disk = Disk::load(*lower.image, faulty, kThisBoot, no_log());
    if (disk && (*disk)->attach(Access::kReadWrite) && (*disk)->close()) {
      const std::atomic<bool> never{false};
      (void)(*disk)->checkpoint(AskedBy::kPerson, never);
    }
    const auto again = Disk::load(*lower.image, *copy, kThisBoot, no_log());
    if (again && (*again)->has_journal()) {
      return copy;
    }
  }
  broken("no checkpoint leaves a journal");
}

}  // namespace

std::unique_ptr<MemoryFile> load_image(const std::string& name) {
  return file_of("upper.img", load_bytes(name));
}

LogSink no_log() {
  return [](const std::string&) {};
}

Result<std::vector<std::byte>> read_whole(const Disk& disk) {
  constexpr uint64_t kPieceBytes = 65536;
  std::vector<std::byte> bytes(disk.geometry().size_bytes());
  for (uint64_t offset = 0; offset < bytes.size(); offset += kPieceBytes) {
    const uint64_t length = std::min<uint64_t>(kPieceBytes, bytes.size() - offset);
    UNIONFS_TRY(disk.read(offset, ByteSpan(bytes).subspan(offset, length)));
  }
  return bytes;
}

void write_differences(Disk& disk, ConstByteSpan wanted_bytes) {
  const std::vector<std::byte> now = wanted(read_whole(disk));
  const size_t size = disk.geometry().merged().block_size_bytes;
  for (size_t offset = 0; offset < now.size(); offset += size) {
    const ConstByteSpan block = wanted_bytes.subspan(offset, size);
    if (!first_difference(block, ConstByteSpan(now).subspan(offset, size)).empty()) {
      wanted(disk.write(offset, block));
    }
  }
}

const SoundImages& SoundImages::get() {
  static const SoundImages images;
  return images;
}

SoundImages::SoundImages() {
  wide_clients_ = {load_bytes("wide-client-1"), load_bytes("wide-client-2")};
  lowers_.push_back(load_lower("lower"));
  lowers_.push_back(load_lower("wide-lower"));
  add_new_pair("golden-new", *lowers_[0], uint64_t{4} << 20, {});
  add_new_pair("wide-new", *lowers_[1], wide_clients_[0].size(), wide_clients_);
  add_golden_pairs();
  add_wide_pairs();
  foreign_ = load_image("foreign");
  foreign_atlas_ = atlas_of(*foreign_, SuperblockUse::kUpper);
}

void SoundImages::add_new_pair(std::string name, const SoundLower& lower, uint64_t size_bytes,
                               const std::vector<std::vector<std::byte>>& clients) {
  const Geometry geometry = wanted(Geometry::grow(lower.image->volume(), size_bytes));
  MemoryFile upper("upper.img", kCapacityBytes);
  wanted(create_layer(upper, lower.image->volume(), geometry));
  add_pair(std::move(name), lower, upper, clients);
}

// As earlier programs wrote them.
void SoundImages::add_golden_pairs() {
  for (const char* name :
       {"v1-layer", "v1-session", "v1-journal", "v2-layer", "v2-session", "v2-journal"}) {
    add_pair(name, *lowers_[0], *file_of("upper.img", load_bytes(name)), {});
  }
}

// As this program writes them: a layer, a session over it, and its journal.
void SoundImages::add_wide_pairs() {
  const SoundLower& lower = *lowers_[1];
  const auto upper = pairs_[1].upper->clone();
  const auto write = [&](ConstByteSpan bytes) {
    const auto disk = open_disk(lower, *upper, Access::kReadWrite);
    write_differences(*disk, bytes);
    wanted(disk->close());
  };
  write(wide_clients_[0]);
  wanted(checkpoint_of(lower, *upper));
  add_pair("wide-layer", lower, *upper, wide_clients_);
  write(wide_clients_[1]);
  add_pair("wide-session", lower, *upper, wide_clients_);
  add_pair("wide-journal", lower, *with_journal(lower, *upper), wide_clients_);
}

void SoundImages::add_pair(std::string name, const SoundLower& lower, const MemoryFile& upper,
                           std::vector<std::vector<std::byte>> clients) {
  SoundPair pair;
  pair.name = std::move(name);
  pair.lower = &lower;
  pair.upper = upper.clone();
  pair.atlas = atlas_of_upper(*pair.upper);
  pair.merged = wanted(read_whole(*open_disk(lower, *pair.upper, Access::kReadOnly)));
  pair.merged_atlas = atlas_of(*file_of("merged image", pair.merged), SuperblockUse::kMerged);
  pair.clients = std::move(clients);
  if (pair.clients.empty()) {
    pair.clients.push_back(pair.merged);
  }
  pairs_.push_back(std::move(pair));
}

}  // namespace unionfs::fuzzing
