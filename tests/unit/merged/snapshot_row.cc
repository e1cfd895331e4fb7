// SPDX-License-Identifier: BSD-3-Clause
//
// A row of snapshots of a disk to which clients write all the time, and one layer of all of them.
// UNIONFS_SNAPSHOTS says how many.
#include <catch2/catch.hpp>

#include <array>
#include <atomic>
#include <cstring>
#include <thread>

#include "overlay/check/upper_check.h"
#include "overlay/stack/chain.h"
#include "overlay/stack/squash.h"
#include "tests/unit/checkpoint/checkpoint_bench.h"
#include "tests/unit/merged/chain_bench.h"
#include "tests/unit/service/snapshot_bench.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

const std::atomic<bool> row_goes_on{false};
constexpr size_t kClients = 2;

// The data blocks of a file of the disk.
std::vector<BlockNumber> blocks_of(const Disk& disk, const std::string& name) {
  const auto image = value_of(MergedImage::open("merged image", disk.view()));
  const InodeRecord root = value_of(read_inode(image->volume(), kRootDirectory));
  const auto entry = value_of(find_name(image->volume(), root, name));
  REQUIRE(entry.has_value());
  std::vector<BlockNumber> blocks;
  expect_success(walk_block_map(image->volume(),
                                value_of(read_inode(image->volume(), entry->inode)),
                                [&](BlockRole role, BlockNumber block) -> Result<WalkStep> {
                                  if (role.level == 0) {
                                    blocks.push_back(block);
                                  }
                                  return WalkStep::kContinue;
                                }));
  return blocks;
}

// Writes version after version to its blocks, so that no structure of the file system changes.
class LoadingClient {
 public:
  LoadingClient(GatedDisk& disk, std::vector<BlockNumber> blocks)
      : disk_(disk), blocks_(std::move(blocks)), begun_(blocks_.size()), ended_(blocks_.size()) {}

  void start() {
    has_to_stop_ = false;
    thread_ = std::thread([this] { run(); });
  }
  void stop() {
    has_to_stop_ = true;
    thread_.join();
    REQUIRE(is_good_);
  }
  const std::vector<BlockNumber>& blocks() const { return blocks_; }
  uint64_t writes() const { return writes_; }

  // The versions that a snapshot may show which begins now, or has come to its end.
  std::vector<uint64_t> least() const { return {ended_.begin(), ended_.end()}; }
  std::vector<uint64_t> most() const { return {begun_.begin(), begun_.end()}; }

 private:
  void run() {
    std::vector<std::byte> bytes(kSnapshotBlock);
    for (size_t at = 0; !has_to_stop_; at = (at + 7) % blocks_.size()) {
      const uint64_t version = begun_[at] + 1;
      begun_[at] = version;
      for (size_t i = 0; i < bytes.size(); i += sizeof(version)) {
        std::memcpy(bytes.data() + i, &version, sizeof(version));
      }
      is_good_ = is_good_ && disk_.write(blocks_[at].value() * kSnapshotBlock, bytes);
      ended_[at] = version;
      ++writes_;
      if (writes_ % 64 == 0) {
        is_good_ = is_good_ && disk_.flush();
      }
    }
  }

  GatedDisk& disk_;
  const std::vector<BlockNumber> blocks_;
  std::vector<std::atomic<uint64_t>> begun_;
  std::vector<std::atomic<uint64_t>> ended_;
  std::atomic<uint64_t> writes_{0};
  std::atomic<bool> has_to_stop_{false};
  std::atomic<bool> is_good_{true};
  std::thread thread_;
};

// What is known of one level.
struct KnownLevel {
  std::vector<std::byte> bytes;  // but for those of the clients
  std::array<std::vector<uint64_t>, kClients> least;
  std::array<std::vector<uint64_t>, kClients> most;
};

class LoadedRow {
 public:
  explicit LoadedRow(int snapshots) : requests_(5), overlay_(bench_.serve()) {
    apply({"write @/larger /load"});
    const std::vector<BlockNumber> blocks = blocks_of(overlay_->disk(), "load");
    const size_t half = blocks.size() / 2;
    for (size_t i = 0; i < kClients; ++i) {
      const auto begin = blocks.begin() + static_cast<ptrdiff_t>(i * half);
      clients_[i] = std::make_unique<LoadingClient>(
          overlay_->requests(),
          std::vector<BlockNumber>(begin, begin + static_cast<ptrdiff_t>(half)));
    }
    for (int number = 0; number < snapshots; ++number) {
      take(fmt::format("level-{:03}", number));
    }
  }

  // Each level shows the files of its moment, and of each block of the clients one version of it.
  void check_levels() const {
    std::array<std::vector<uint64_t>, kClients> last;
    for (size_t i = 0; i < levels_.size(); ++i) {
      INFO(bench_.names[i]);
      std::vector<std::byte> shown = bytes_of(*chain(i)->frozen_view());
      for (size_t client = 0; client < kClients; ++client) {
        last[client] = take_versions(shown, levels_[i], client, last[client]);
      }
      REQUIRE((shown == levels_[i].bytes));
    }
  }

  std::unique_ptr<Chain> chain(size_t level) const {
    return value_of(
        Chain::open(bench_.levels_up_to(bench_.names[level]), FileLock::kShared, quiet_log()));
  }
  size_t count() const { return levels_.size(); }
  uint64_t writes() const { return clients_[0]->writes() + clients_[1]->writes(); }

 private:
  void apply(const std::vector<std::string>& requests) {
    write_differences(overlay_->disk(), changed_by_debugfs(overlay_->disk(), requests));
  }

  void take(const std::string& name) {
    apply(requests_.next(3));
    KnownLevel level;
    level.bytes = read_all(overlay_->disk());
    for (size_t i = 0; i < kClients; ++i) {
      clear(level.bytes, *clients_[i]);
      // Else a level might have no session, and would be one more name of the one below it.
      const uint64_t before = clients_[i]->writes();
      clients_[i]->start();
      while (clients_[i]->writes() < before + 20) {
        std::this_thread::yield();
      }
    }
    for (size_t i = 0; i < kClients; ++i) {
      level.least[i] = clients_[i]->least();
    }
    (void)value_of(overlay_->snapshot(name));
    for (size_t i = 0; i < kClients; ++i) {
      level.most[i] = clients_[i]->most();
    }
    for (const auto& client : clients_) {
      client->stop();
    }
    bench_.names.push_back(name);
    levels_.push_back(std::move(level));
  }

  static void clear(std::vector<std::byte>& bytes, const LoadingClient& client) {
    for (const BlockNumber block : client.blocks()) {
      std::memset(bytes.data() + block.value() * kSnapshotBlock, 0, kSnapshotBlock);
    }
  }

  // Checks them, and clears them.
  std::vector<uint64_t> take_versions(std::vector<std::byte>& shown, const KnownLevel& level,
                                      size_t client, const std::vector<uint64_t>& before) const {
    const std::vector<BlockNumber>& blocks = clients_[client]->blocks();
    std::vector<uint64_t> versions(blocks.size());
    for (size_t i = 0; i < blocks.size(); ++i) {
      const std::byte* found = shown.data() + blocks[i].value() * kSnapshotBlock;
      std::memcpy(&versions[i], found, sizeof(versions[i]));
      if (level.most[client][i] == 0) {
        versions[i] = 0;  // still as the file was made
        continue;
      }
      INFO("block " << blocks[i].value());
      const bool is_whole = std::memcmp(found, found + sizeof(versions[i]),
                                        kSnapshotBlock - sizeof(versions[i])) == 0;
      const bool is_first = level.least[client][i] == 0;  // or as the file was made
      REQUIRE((is_first || is_whole));
      REQUIRE((is_first || versions[i] >= level.least[client][i]));
      REQUIRE((is_first || versions[i] <= level.most[client][i]));
      REQUIRE((is_first || before.empty() || versions[i] >= before[i]));
    }
    clear(shown, *clients_[client]);
    return versions;
  }

  SnapshotBench bench_;
  RandomRequests requests_;
  std::unique_ptr<Overlay> overlay_;
  std::array<std::unique_ptr<LoadingClient>, kClients> clients_;
  std::vector<KnownLevel> levels_;
};

}  // namespace

TEST_CASE("Row: snapshots under load, and one layer of all", "[snapshot_row]") {
  const char* given = std::getenv("UNIONFS_SNAPSHOTS");
  const LoadedRow row(given != nullptr ? static_cast<int>(std::strtol(given, nullptr, 0)) : 12);
  CHECK(row.writes() > 40 * row.count());
  row.check_levels();

  const auto chain = row.chain(row.count() - 1);
  const LayerOverLower& lowest = *chain->layers().front();
  MemoryFile output("squashed.img");
  const auto figures = value_of(squash_levels({lowest, lowest, *chain->frozen_view()}, output,
                                              {.log = quiet_log()}, row_goes_on));
  CHECK(figures.proven_blocks > 0);
  const CheckReport report =
      value_of(check_upper(lowest.below(), output, CheckPurpose::kLook, quiet_log()));
  CHECK(report.found.empty());
  const auto layer = value_of(LayerOverLower::load(lowest.below(), output, {}));
  CHECK(difference(facts_of(bytes_of(*chain->frozen_view())), facts_of(bytes_of(layer->view())))
            .empty());
  row.check_levels();  // which are as they were
}
