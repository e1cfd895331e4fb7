// SPDX-License-Identifier: BSD-3-Clause
#include "tests/unit/session/session_bench.h"

#include <algorithm>
#include <stdexcept>

namespace unionfs::testing {
namespace {

BlockNumber first_of(const Geometry& geometry, GroupNumber group, FixedKind kind) {
  for (const FixedRange& range : geometry.fixed_ranges()) {
    if (range.group == group && range.kind == kind) {
      return range.blocks.begin;
    }
  }
  throw std::logic_error("no such F-block");
}

}  // namespace

const BenchImages& BenchImages::of(uint32_t block_size_bytes) {
  static std::map<uint32_t, std::unique_ptr<BenchImages>> all;
  std::unique_ptr<BenchImages>& images = all[block_size_bytes];
  if (!images) {
    images.reset(new BenchImages(block_size_bytes));
  }
  return *images;
}

BenchImages::BenchImages(uint32_t block_size_bytes)
    : lower_(small_image(block_size_bytes)),
      upper_(make_upper(lower_, small_merged_size(block_size_bytes))) {
  const Geometry geometry =
      value_of(Geometry::grow(lower_.volume, small_merged_size(block_size_bytes)));
  const Layout& merged = geometry.merged();
  // In the middle of a group of the lower, far from its metadata.
  const BlockNumber middle = merged.blocks_of(GroupNumber(2)).begin + 150;
  const BlockRange own{middle, middle + 6};
  make_own(*upper_, geometry, own, pattern(77, 6 * block_size_bytes));
  const auto disk = load_disk(lower_, *upper_);
  expect_success(disk->attach(Access::kReadOnly));
  merged_ = read_all(*disk);

  const GroupNumber appended(lower_.layout().group_count() + 1);
  places_ = {
      {"superblock", BlockNumber(merged.first_data_block)},
      {"descriptors", first_of(geometry, GroupNumber(0), FixedKind::kDescriptors)},
      {"block bitmap", first_of(geometry, GroupNumber(1), FixedKind::kBlockBitmap)},
      {"appended bitmap", first_of(geometry, appended, FixedKind::kInodeBitmap)},
      {"synthesized inodes", first_of(geometry, GroupNumber(0), FixedKind::kInodeTable)},
      {"plain inodes", first_of(geometry, GroupNumber(1), FixedKind::kInodeTable)},
      {"translated", disk->layer().layer().tables().translated.front().block},
      {"own", own.begin + 2, true},
      {"lower data", merged.blocks_of(GroupNumber(1)).begin + 100},
      {"lower end", BlockNumber(lower_.layout().block_count - 1)},
      {"zeros", merged.blocks_of(appended).begin + 100},
  };
  if (merged.first_data_block == 1) {
    places_.push_back({"boot", BlockNumber(0)});
  }
}

BlockNumber BenchImages::place(const std::string& name) const {
  for (const NamedPlace& place : places_) {
    if (place.name == name) {
      return place.block;
    }
  }
  throw std::logic_error("no place called " + name);
}

SessionBench::SessionBench(uint32_t block_size_bytes, Clock& clock)
    : images_(BenchImages::of(block_size_bytes)),
      block_size_(block_size_bytes),
      clock_(clock),
      upper_(images_.upper()),
      disk_(open_disk(images_.lower(), *upper_, kBootId, clock)) {
  upper_->reset_counts();
}

ConstByteSpan SessionBench::block(uint64_t number) const {
  const auto found = touched_.find(number);
  return found != touched_.end()
             ? ConstByteSpan(found->second)
             : ConstByteSpan(images_.merged()).subspan(number * block_size_, block_size_);
}

ByteSpan SessionBench::touch(uint64_t number) {
  const ConstByteSpan before = block(number);
  return touched_.try_emplace(number, before.begin(), before.end()).first->second;
}

void SessionBench::apply(Action action, uint64_t offset, uint64_t length, uint64_t seed) {
  if (action == Action::kTrim) {
    expect_success(disk_->trim(offset, length));
    for (uint64_t number = divide_round_up(offset, block_size_);
         number < (offset + length) / block_size_; ++number) {
      const ByteSpan bytes = touch(number);
      std::fill(bytes.begin(), bytes.end(), std::byte{0});
    }
    return;
  }
  std::vector<std::byte> bytes(length);
  if (action == Action::kWrite) {
    bytes = pattern(seed, length);
    expect_success(disk_->write(offset, bytes));
  } else {
    expect_success(disk_->zero(offset, length, {action == Action::kZeroAndTrim, false}));
  }
  ConstByteSpan rest(bytes);
  while (!rest.empty()) {
    const uint64_t skip = offset % block_size_;
    const auto piece = static_cast<size_t>(std::min<uint64_t>(block_size_ - skip, rest.size()));
    const ByteSpan target = touch(offset / block_size_).subspan(skip, piece);
    std::copy_n(rest.begin(), piece, target.begin());
    offset += piece;
    rest = rest.subspan(piece);
  }
}

void SessionBench::reopen(bool orderly, const std::string& boot_id) {
  if (orderly) {
    expect_success(disk_->close());
  }
  disk_.reset();
  disk_ = open_disk(images_.lower(), *upper_, boot_id, clock_);
}

void SessionBench::check(uint64_t offset, uint64_t length) const {
  const std::vector<std::byte> found = read_range(*disk_, offset, length);
  ConstByteSpan rest(found);
  while (!rest.empty()) {
    const uint64_t skip = offset % block_size_;
    const auto piece = static_cast<size_t>(std::min<uint64_t>(block_size_ - skip, rest.size()));
    const ConstByteSpan expected = block(offset / block_size_).subspan(skip, piece);
    if (!std::equal(expected.begin(), expected.end(), rest.begin())) {
      FAIL_CHECK("block " << offset / block_size_ << " is not as it should be");
    }
    offset += piece;
    rest = rest.subspan(piece);
  }
}

void SessionBench::check_extents() const {
  const std::vector<std::byte> bytes = read_all(*disk_);
  uint64_t next = 0;
  uint64_t wrong_holes = 0;
  disk_->view().for_each_extent(
      0, bytes.size(), [&](uint64_t offset, uint64_t length, bool is_hole) {
        CHECK(offset == next);
        CHECK(length > 0);
        next = offset + length;
        if (is_hole && next <= bytes.size()) {
          wrong_holes += std::any_of(bytes.begin() + static_cast<ptrdiff_t>(offset),
                                     bytes.begin() + static_cast<ptrdiff_t>(next),
                                     [](std::byte b) { return b != std::byte{0}; })
                             ? 1
                             : 0;
        }
        return true;
      });
  CHECK(next == bytes.size());
  CHECK(wrong_holes == 0);
}

}  // namespace unionfs::testing
