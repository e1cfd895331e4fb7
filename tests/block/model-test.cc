// SPDX-License-Identifier: BSD-3-Clause
//
// The model judges servers, so it is judged first: also that it refuses what it must refuse.

#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "content.h"
#include "model.h"

using blocktest::Change;
using blocktest::ChangeKind;
using blocktest::DiskModel;
using blocktest::sector_size_bytes;
using Bytes = std::vector<std::uint8_t>;

namespace {

constexpr std::uint64_t seed = 42;
constexpr std::uint64_t disk_size_bytes = std::uint64_t{64} * sector_size_bytes;

// A disk image in a file: every byte 0xab.
class Image {
 public:
  Image() {
    const char* directory = std::getenv("TMPDIR");
    path_ = std::string(directory != nullptr ? directory : "/var/tmp") + "/block-model-test.XXXXXX";
    const int descriptor = ::mkstemp(path_.data());
    REQUIRE(descriptor >= 0);
    const Bytes bytes = content();
    REQUIRE(::write(descriptor, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
    ::close(descriptor);
  }
  ~Image() { ::unlink(path_.c_str()); }
  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;

  const std::string& path() const { return path_; }
  static Bytes content() { return Bytes(disk_size_bytes, 0xab); }

 private:
  std::string path_;
};

void write_to(Bytes& disk, std::uint64_t offset_bytes, std::uint64_t length_bytes,
              std::uint64_t sequence) {
  blocktest::fill_stamped(offset_bytes, sequence, seed,
                          std::span(disk).subspan(offset_bytes, length_bytes));
}

std::uint64_t acknowledged_write(DiskModel& model, Bytes& disk, std::uint64_t offset_bytes,
                                 std::uint64_t length_bytes) {
  const std::uint64_t sequence = model.begin(ChangeKind::write, offset_bytes, length_bytes);
  write_to(disk, offset_bytes, length_bytes, sequence);
  model.acknowledge(sequence);
  return sequence;
}

bool accepts(DiskModel& model, const Bytes& disk) {
  return !model.check(0, disk);
}

// What it would say, without its learning from it.
bool would_accept(DiskModel model, const Bytes& disk) {
  return accepts(model, disk);
}

}  // namespace

TEST_CASE("a stamp says where it was made for, and parts of it are parts of the sector") {
  const auto sector = blocktest::stamped_sector(1234, 99, seed);
  const auto stamp = blocktest::read_stamp(sector, seed);
  REQUIRE(stamp);
  CHECK(stamp->sector == 1234);
  CHECK(stamp->sequence == 99);
  CHECK_FALSE(blocktest::read_stamp(sector, seed + 1));
  auto damaged = sector;
  damaged[100] ^= 1;
  CHECK_FALSE(blocktest::read_stamp(damaged, seed));

  Bytes part(700);
  blocktest::fill_stamped(1234 * sector_size_bytes - 100, 99, seed, part);
  CHECK(std::equal(sector.begin(), sector.end(), part.begin() + 100));
  CHECK(std::equal(part.begin(), part.begin() + 100,
                   blocktest::stamped_sector(1233, 99, seed).begin() + 412));
}

TEST_CASE("no stamp sets s_state of a superblock") {
  Bytes bytes(4096, 0xff);
  blocktest::fill_stamped(0, 77, seed, bytes);
  CHECK(bytes[blocktest::superblock_state_offset_bytes] == 0);
  CHECK(bytes[blocktest::superblock_state_offset_bytes + 1] == 0);
}

TEST_CASE("an acknowledged write is all there, whatever its alignment") {
  const Image image;
  DiskModel model(disk_size_bytes, seed, image.path());
  Bytes disk = Image::content();
  CHECK(would_accept(model, disk));
  for (const auto& [offset_bytes, length_bytes] :
       {std::pair{0, 512}, {511, 2}, {1000, 1}, {1025, 5000}, {32767, 1}}) {
    const Bytes before = disk;
    acknowledged_write(model, disk, static_cast<std::uint64_t>(offset_bytes),
                       static_cast<std::uint64_t>(length_bytes));
    CHECK(would_accept(model, disk));
    CHECK_FALSE(would_accept(model, before));
    Bytes damaged = disk;
    damaged[static_cast<std::size_t>(offset_bytes + length_bytes - 1)] ^= 0x80;
    CHECK_FALSE(would_accept(model, damaged));
  }
}

TEST_CASE("a mismatch names the byte and what was found") {
  const Image image;
  DiskModel model(disk_size_bytes, seed, image.path());
  Bytes disk = Image::content();
  const std::uint64_t first = acknowledged_write(model, disk, 5120, 512);
  const Bytes stale = disk;
  acknowledged_write(model, disk, 5120, 512);
  const auto mismatch = model.check(0, stale);
  REQUIRE(mismatch);
  CHECK(mismatch->sector == 10);
  CHECK(mismatch->offset_bytes == 5120);
  CHECK(mismatch->text.find("holds what change " + std::to_string(first) + " wrote to sector 10") !=
        std::string::npos);
}

TEST_CASE(
    "a write in flight at a kill happened or not, sector by sector, and what was seen stays") {
  const Image image;
  DiskModel model(disk_size_bytes, seed, image.path());
  const Bytes before = Image::content();
  const std::uint64_t sequence = model.begin(ChangeKind::write, 100, 1500);
  Bytes after = before;
  write_to(after, 100, 1500, sequence);
  model.kill_server();

  Bytes half = before;
  std::copy(after.begin() + 512, after.begin() + 1024, half.begin() + 512);
  Bytes torn = before;
  std::copy(after.begin() + 512, after.begin() + 800, torn.begin() + 512);
  CHECK(would_accept(model, before));
  CHECK(would_accept(model, after));
  CHECK_FALSE(would_accept(model, torn));
  CHECK(accepts(model, half));
  CHECK_FALSE(would_accept(model, before));
  CHECK_FALSE(would_accept(model, after));
  CHECK(accepts(model, half));
}

TEST_CASE("reading a part of a sector rules out what it shows to be false") {
  const Image image;
  DiskModel model(disk_size_bytes, seed, image.path());
  const std::uint64_t sequence = model.begin(ChangeKind::write, 0, 512);
  Bytes after = Image::content();
  write_to(after, 0, 512, sequence);
  model.kill_server();
  CHECK(model.content_count(0) == 2);
  CHECK_FALSE(model.check(300, std::span(after).subspan(300, 8)));
  CHECK(model.content_count(0) == 1);
  CHECK(model.check(0, std::span<const std::uint8_t>(Image::content()).first(8)));
}

TEST_CASE("a trimmed range holds what it held or zeros, no more than the range") {
  const Image image;
  DiskModel model(disk_size_bytes, seed, image.path());
  const Bytes before = Image::content();
  model.acknowledge(model.begin(ChangeKind::trim, 700, 1000));
  Bytes trimmed = before;
  std::fill(trimmed.begin() + 700, trimmed.begin() + 1700, std::uint8_t{0});
  Bytes too_far = trimmed;
  too_far[1700] = 0;
  CHECK(would_accept(model, before));
  CHECK_FALSE(would_accept(model, too_far));
  CHECK(accepts(model, trimmed));
  CHECK_FALSE(would_accept(model, before));
}

TEST_CASE("a refused change did not happen, and a zero is zeros") {
  const Image image;
  DiskModel model(disk_size_bytes, seed, image.path());
  Bytes disk = Image::content();
  model.reject(model.begin(ChangeKind::zero, 0, 4096));
  CHECK(accepts(model, disk));
  model.acknowledge(model.begin(ChangeKind::zero, 0, 4096));
  CHECK_FALSE(would_accept(model, disk));
  CHECK_FALSE(model.check_zeros(0, 4096));
  CHECK(model.check_zeros(0, 4097));
}

TEST_CASE("two changes in flight may share a block but not a sector") {
  const Image image;
  DiskModel model(disk_size_bytes, seed, image.path());
  model.begin(ChangeKind::write, 0, 512);
  model.begin(ChangeKind::write, 512, 100);
  CHECK_THROWS_AS(model.begin(ChangeKind::write, 700, 512), std::logic_error);
}

TEST_CASE("a saved model judges like the one it was saved from") {
  const Image image;
  DiskModel model(disk_size_bytes, seed, image.path());
  Bytes disk = Image::content();
  acknowledged_write(model, disk, 1000, 3000);
  model.acknowledge(model.begin(ChangeKind::trim, 8192, 700));
  const std::string state_path = image.path() + ".state";
  model.save(state_path);
  DiskModel loaded = DiskModel::load(state_path);
  ::unlink(state_path.c_str());
  CHECK(loaded.size_bytes() == disk_size_bytes);
  CHECK(would_accept(loaded, disk));
  CHECK(loaded.changed_chunks() == model.changed_chunks());
  CHECK(loaded.content_count(16) == 2);
  Bytes damaged = disk;
  damaged[2000] ^= 1;
  CHECK_FALSE(would_accept(loaded, damaged));
  // Sequence numbers go on, or an old value would pass for a new one.
  CHECK(loaded.begin(ChangeKind::write, 0, 1) == model.begin(ChangeKind::write, 0, 1));
}

TEST_CASE("a flush covers what was acknowledged when it was sent") {
  const Image image;
  DiskModel model(disk_size_bytes, seed, image.path(), DiskModel::PowerLoss::tracked);
  Bytes disk = Image::content();
  const Bytes before = disk;
  acknowledged_write(model, disk, 0, 512);
  const Bytes first = disk;
  const std::uint64_t late = model.begin(ChangeKind::write, 512, 512);
  write_to(disk, 512, 512, late);
  const auto mark = model.begin_flush();
  model.acknowledge(late);
  model.complete_flush(mark);
  model.lose_power();
  CHECK(would_accept(model, disk));
  CHECK(would_accept(model, first));
  CHECK_FALSE(would_accept(model, before));
}

TEST_CASE("a write with FUA is durable, its neighbours are not") {
  const Image image;
  DiskModel model(disk_size_bytes, seed, image.path(), DiskModel::PowerLoss::tracked);
  Bytes disk = Image::content();
  const Bytes before = disk;
  acknowledged_write(model, disk, 0, 1536);
  const std::uint64_t durable = model.begin(ChangeKind::write, 600, 100);
  write_to(disk, 600, 100, durable);
  model.acknowledge(durable, true);
  model.lose_power();
  CHECK(would_accept(model, disk));
  CHECK_FALSE(would_accept(model, before));
  Bytes only_durable = before;
  std::copy(disk.begin() + 512, disk.begin() + 1024, only_durable.begin() + 512);
  CHECK(would_accept(model, only_durable));
}

// A disk with a write cache: since the last flush it remembers every state each sector went
// through, and losing power it keeps one of them.
TEST_CASE("after power loss exactly the states since the last flush are allowed") {
  const auto run_seed = std::uint64_t{Catch::rngSeed()};
  INFO("replay with --rng-seed " << run_seed);
  std::mt19937_64 random(run_seed);
  const Image image;
  constexpr std::size_t sector_count = disk_size_bytes / sector_size_bytes;
  for (int round = 0; round < 20; ++round) {
    DiskModel model(disk_size_bytes, seed, image.path(), DiskModel::PowerLoss::tracked);
    Bytes disk = Image::content();
    std::vector<std::vector<Bytes>> states(sector_count);
    std::vector<std::vector<Bytes>> gone(sector_count);
    auto sector_of = [&](std::size_t sector) {
      const auto begin = disk.begin() + static_cast<std::ptrdiff_t>(sector * sector_size_bytes);
      return Bytes(begin, begin + sector_size_bytes);
    };
    for (std::size_t sector = 0; sector < sector_count; ++sector) {
      states[sector].push_back(sector_of(sector));
    }
    auto forget = [&](std::size_t sector) {
      gone[sector].insert(gone[sector].end(), states[sector].begin(), states[sector].end() - 1);
      states[sector] = {states[sector].back()};
    };
    for (int operation = 0; operation < 60; ++operation) {
      if (random() % 8 == 0) {
        model.complete_flush(model.begin_flush());
        for (std::size_t sector = 0; sector < sector_count; ++sector) {
          forget(sector);
        }
        continue;
      }
      const std::uint64_t offset_bytes = random() % disk_size_bytes;
      const std::uint64_t length_bytes =
          std::min<std::uint64_t>(random() % 3000 + 1, disk_size_bytes - offset_bytes);
      const bool durable = random() % 8 == 0;
      const std::uint64_t sequence = model.begin(ChangeKind::write, offset_bytes, length_bytes);
      write_to(disk, offset_bytes, length_bytes, sequence);
      model.acknowledge(sequence, durable);
      const Change change = {ChangeKind::write, offset_bytes, length_bytes, sequence};
      for (std::uint64_t sector = change.first_sector(); sector < change.end_sector(); ++sector) {
        states[sector].push_back(sector_of(sector));
        if (durable) {
          forget(sector);
        }
      }
    }
    model.lose_power();
    Bytes kept(disk_size_bytes);
    for (std::size_t sector = 0; sector < sector_count; ++sector) {
      REQUIRE(model.content_count(sector) == states[sector].size());
      for (const Bytes& lost : gone[sector]) {
        DiskModel copy = model;
        CHECK(copy.check(sector * sector_size_bytes, lost));
      }
      const Bytes& state = states[sector][random() % states[sector].size()];
      std::copy(state.begin(), state.end(),
                kept.begin() + static_cast<std::ptrdiff_t>(sector * sector_size_bytes));
    }
    CHECK(accepts(model, kept));
  }
}
