// SPDX-License-Identifier: BSD-3-Clause
//
// A file on a disk that loses power: knows for every sector what it may hold.
#ifndef UNIONFS_TESTS_UNIT_SUPPORT_POWER_LOSS_FILE_H
#define UNIONFS_TESTS_UNIT_SUPPORT_POWER_LOSS_FILE_H

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <vector>

#include "tests/unit/support/test_files.h"

namespace unionfs::testing {

// Decides what the disk has written by itself when the power goes.
class Chooser {
 public:
  virtual ~Chooser() = default;
  // One of the values 0 (as of the last sync) .. count - 1 (the newest).
  virtual uint32_t choose(uint32_t count) = 0;
};

// Mostly old, mostly new, or anything: which of them is drawn at the start.
class RandomChooser final : public Chooser {
 public:
  explicit RandomChooser(std::mt19937_64& random) : random_(random), mood_(random() % 5) {}
  uint32_t choose(uint32_t count) override;

 private:
  std::mt19937_64& random_;
  uint64_t mood_;
};

// Every combination, one after another:  do { ... } while (chooser.next());
class EveryChooser final : public Chooser {
 public:
  uint32_t choose(uint32_t count) override;
  // Goes to the next combination; false when there is none.
  bool next();

 private:
  struct Digit {
    uint32_t value = 0;
    uint32_t count = 0;
  };

  std::vector<Digit> digits_;
  size_t position_ = 0;
};

// Remembers every value each sector has had since the last sync.  A power loss
// leaves any of them, or the one before, in each sector by itself: a disk
// reorders and tears as it likes, but never within a sector.  Mapped memory
// was perhaps written back, perhaps not, in any of its sectors.  A sync keeps
// what was written before it began.  Sizes and space do not get lost.
//
// Safe for concurrent use by multiple threads, which wait for one another.
class PowerLossFile final : public WritableFile {
 public:
  static constexpr uint64_t kSectorBytes = 512;

  // What the file holds now is on the disk.
  explicit PowerLossFile(std::unique_ptr<MemoryFile> file) : file_(std::move(file)) {}

  // The change (or sync) that is this many from now (1: the next) is the last
  // one: it happens, but fails, as does everything after it.
  void crash_after(uint64_t changes);
  bool has_crashed() const;
  uint64_t change_count() const;
  // Sectors whose content a power loss now would leave open.
  size_t open_sectors() const;

  // What is on the disk after the power was lost.
  std::unique_ptr<MemoryFile> lose_power(Chooser& chooser) const;
  // The machine lives on, only the process died: nothing is lost, and what was
  // not synced is still not.  No mapped region may be left.
  void restart();

  const std::string& name() const override { return file_->name(); }
  uint64_t size_bytes() const override { return file_->size_bytes(); }
  Result<void> read(uint64_t offset, ByteSpan buffer) const override;
  FileExtent extent_at(uint64_t offset) const override { return file_->extent_at(offset); }
  FileIdentity identity() const override { return file_->identity(); }
  Result<void> write(uint64_t offset, ConstByteSpan bytes) override;
  Result<void> punch(uint64_t offset, uint64_t length) override;
  Result<void> zero_range(uint64_t offset, uint64_t length) override;
  Result<void> allocate(uint64_t offset, uint64_t length) override;
  Result<void> resize(uint64_t size_bytes) override;
  Result<void> sync() override;
  bool overwrites_in_place() const override { return file_->overwrites_in_place(); }
  Result<std::unique_ptr<MappedRegion>> map(uint64_t offset, uint64_t length) override;

 private:
  using Sector = std::array<std::byte, kSectorBytes>;
  // A range whose memory may have been stored to since the last sync.
  struct Mapping {
    uint64_t offset = 0;
    std::vector<std::byte> synced;  // its bytes as of the last sync
    std::vector<std::byte> frozen;  // its bytes at the crash
  };

  template <typename Action>
  Result<void> change(uint64_t offset, uint64_t length, Action&& action);
  // The functions below are called with the mutex held.
  Result<void> check_alive() const;
  bool count_change();
  Sector sector_at(uint64_t sector) const;
  void remember_before(uint64_t offset, uint64_t length);
  void remember_after(uint64_t offset, uint64_t length);
  bool is_mapped(uint64_t sector) const;
  std::vector<std::byte> newest_of(const Mapping& mapping) const;

  std::unique_ptr<MemoryFile> file_;
  mutable std::mutex mutex_;                        // guards what follows
  std::map<uint64_t, std::vector<Sector>> values_;  // of a sector: synced, then each newer one
  std::vector<Mapping> mappings_;
  uint64_t changes_ = 0;
  std::optional<uint64_t> crash_at_;
  bool has_crashed_ = false;
};

}  // namespace unionfs::testing

#endif  // UNIONFS_TESTS_UNIT_SUPPORT_POWER_LOSS_FILE_H
