// SPDX-License-Identifier: BSD-3-Clause
//
// Chains in memory whose levels are made by random requests of debugfs.
#ifndef UNIONFS_TESTS_UNIT_MERGED_CHAIN_BENCH_H
#define UNIONFS_TESTS_UNIT_MERGED_CHAIN_BENCH_H

#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "overlay/disk.h"
#include "overlay/merged/merged_image.h"
#include "tests/unit/support/overlay_fixture.h"

namespace unionfs::testing {

// All of the image.
std::vector<std::byte> bytes_of(const MergedView& view);

// Levels that stand on one another, and what each of them shows.
class Levels {
 public:
  explicit Levels(uint32_t block_size);

  const Below& top() const {
    return belows_.empty() ? static_cast<const Below&>(*lower_.image) : *belows_.back();
  }
  size_t count() const { return layers_.size(); }
  const LayerOverLower& layer(size_t index) const { return *layers_[index]; }
  MemoryFile& file(size_t index) { return *files_[index]; }
  const std::vector<std::byte>& shown() const { return shown_.back(); }
  uint64_t size_bytes() const { return size_bytes_; }
  void grow_by(uint64_t bytes) { size_bytes_ += bytes; }

  // A level more, with what these requests of debugfs do.  It is made twice, over the levels
  // below it and over a plain copy of their merged image, and must show the same bytes.
  void add(const std::vector<std::string>& requests) { add_sessions({requests}); }
  // The same with a checkpoint behind each of several sessions.
  void add_sessions(const std::vector<std::vector<std::string>>& sessions);

 private:
  // What a client finds on a new upper, and what it leaves.
  struct Client {
    std::vector<std::byte> found;
    std::vector<std::byte> left;
  };

  // Serves a new upper over `below` to clients, one after another, that leave what `change` makes
  // of the disk.
  std::vector<Client> make_layer(
      const Below& below, MemoryFile& upper, size_t count,
      const std::function<std::vector<std::byte>(const Disk&, size_t)>& change) const;

  const Lower lower_;
  uint64_t size_bytes_;
  std::vector<std::unique_ptr<MemoryFile>> files_;
  std::vector<std::unique_ptr<LayerOverLower>> layers_;
  std::vector<std::unique_ptr<LayerBelow>> belows_;
  std::vector<std::vector<std::byte>> shown_;  // the lower's bytes first
};

// Changes of every kind, to names that this or an earlier level has made.
class RandomRequests {
 public:
  explicit RandomRequests(uint32_t seed) : random_(seed) {}

  std::vector<std::string> next(size_t count);

 private:
  uint32_t below(uint32_t end) {
    return std::uniform_int_distribution<uint32_t>(0, end - 1)(random_);
  }
  std::string name();
  std::string request();

  std::mt19937 random_;
};

}  // namespace unionfs::testing

#endif  // UNIONFS_TESTS_UNIT_MERGED_CHAIN_BENCH_H
