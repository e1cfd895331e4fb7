// SPDX-License-Identifier: BSD-3-Clause
//
// A disk over a small lower whose layer owns something of everything, with a
// plain copy of the merged image beside it.
#ifndef UNIONFS_TESTS_UNIT_SESSION_SESSION_BENCH_H
#define UNIONFS_TESTS_UNIT_SESSION_SESSION_BENCH_H

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/unit/support/overlay_fixture.h"

namespace unionfs::testing {

// One block of each way that the disk can take.
struct NamedPlace {
  std::string name;
  BlockNumber block;
  bool is_own = false;  // the layer's own plain data: lies home from the start
};

// The lower, and the upper as every test begins with it.  Made once per block size.
class BenchImages {
 public:
  static const BenchImages& of(uint32_t block_size_bytes);

  const Lower& lower() const { return lower_; }
  std::unique_ptr<MemoryFile> upper() const { return upper_->clone(); }
  const std::vector<std::byte>& merged() const { return merged_; }
  const std::vector<NamedPlace>& places() const { return places_; }
  BlockNumber place(const std::string& name) const;

 private:
  explicit BenchImages(uint32_t block_size_bytes);

  Lower lower_;
  std::unique_ptr<MemoryFile> upper_;
  std::vector<std::byte> merged_;
  std::vector<NamedPlace> places_;
};

enum class Action { kWrite, kZero, kZeroAndTrim, kTrim };
constexpr Action kActions[] = {Action::kWrite, Action::kZero, Action::kZeroAndTrim, Action::kTrim};

// The model: bytes.  Whole blocks that were trimmed read as zeros.
class SessionBench {
 public:
  explicit SessionBench(uint32_t block_size_bytes, Clock& clock = steady_clock());

  MemoryFile& upper() { return *upper_; }
  Disk& disk() { return *disk_; }
  uint32_t block_size() const { return block_size_; }

  // Does it to the disk and to the model; `seed` makes the bytes written.
  void apply(Action action, uint64_t offset, uint64_t length, uint64_t seed = 1);
  // The disk, loaded anew in this boot or another.
  void reopen(bool orderly, const std::string& boot_id = kBootId);

  void check(uint64_t offset, uint64_t length) const;
  void check_all() const { check(0, images_.merged().size()); }
  // Extents are adjacent, cover the range, and a hole reads as zeros.
  void check_extents() const;

 private:
  // A block as it should be; for changing, and then it counts as touched.
  ConstByteSpan block(uint64_t number) const;
  ByteSpan touch(uint64_t number);

  const BenchImages& images_;
  uint32_t block_size_;
  Clock& clock_;
  std::unique_ptr<MemoryFile> upper_;
  std::unique_ptr<Disk> disk_;
  std::map<uint64_t, std::vector<std::byte>> touched_;  // all other blocks are as at first
};

}  // namespace unionfs::testing

#endif  // UNIONFS_TESTS_UNIT_SESSION_SESSION_BENCH_H
