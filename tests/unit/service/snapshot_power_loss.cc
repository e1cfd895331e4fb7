// SPDX-License-Identifier: BSD-3-Clause
//
// Power loss at each step of a snapshot of a running disk: every sector of every file comes out as
// it was synced, or as at any time since, and so do names.
#include <sys/stat.h>

#include <map>
#include <random>

#include "overlay/host/file_copy.h"
#include "tests/unit/service/snapshot_bench.h"
#include "tests/unit/support/power_loss_file.h"
#include "tests/unit/support/sector_model.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

const std::atomic<bool> loss_goes_on{false};
constexpr size_t kSector = 512;

// What each sector of a file has held since the last sync.
class History {
 public:
  explicit History(bool forgets_syncs) : forgets_syncs_(forgets_syncs) {}

  template <typename Action>
  Result<void> change(const ReadableFile& file, uint64_t offset, uint64_t length, Action&& action) {
    const std::lock_guard<std::mutex> guard(mutex_);
    remember(file, offset, length);
    Result<void> result = action();
    remember(file, offset, length);
    return result;
  }
  Result<void> sync(WritableFile& file) {
    const std::lock_guard<std::mutex> guard(mutex_);
    if (!forgets_syncs_) {
      values_.clear();
    }
    return file.sync();
  }
  // Makes `copy`, which has the newest bytes, one that lost power.
  void lose_power(WritableFile& copy, Chooser& chooser) {
    const std::lock_guard<std::mutex> guard(mutex_);
    for (const auto& [sector, values] : values_) {
      const auto& chosen = values[chooser.choose(static_cast<uint32_t>(values.size()))];
      expect_success(copy.write(sector * kSector, chosen));
    }
  }

 private:
  void remember(const ReadableFile& file, uint64_t offset, uint64_t length) {
    for (uint64_t sector = offset / kSector; sector * kSector < offset + length; ++sector) {
      std::vector<std::byte> now(std::min(kSector, file.size_bytes() - sector * kSector));
      expect_success(file.read(sector * kSector, now));
      auto& values = values_[sector];
      if (values.empty() || values.back() != now) {
        values.push_back(std::move(now));
      }
    }
  }

  const bool forgets_syncs_;
  std::mutex mutex_;
  std::map<uint64_t, std::vector<std::vector<std::byte>>> values_;
};

// What is mapped is left out: the live bitmap of a copy is believed by nobody.
class RememberedFile final : public ForwardingFile {
 public:
  RememberedFile(WritableFile& file, std::shared_ptr<History> history)
      : ForwardingFile(file), history_(std::move(history)) {}

  Result<void> write(uint64_t offset, ConstByteSpan bytes) override {
    return history_->change(file_, offset, bytes.size(),
                            [&] { return file_.write(offset, bytes); });
  }
  Result<void> punch(uint64_t offset, uint64_t length) override {
    return history_->change(file_, offset, length, [&] { return file_.punch(offset, length); });
  }
  Result<void> zero_range(uint64_t offset, uint64_t length) override {
    return history_->change(file_, offset, length,
                            [&] { return file_.zero_range(offset, length); });
  }
  Result<void> sync() override { return history_->sync(file_); }

 private:
  const std::shared_ptr<History> history_;
};

uint64_t inode_of(const std::filesystem::path& path) {
  struct stat status = {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return status.st_ino;
}

// The directory of a server, and copies of it as a power loss leaves it.
class LosingHost {
 public:
  LosingHost(uint64_t seed, bool forgets_syncs) : random_(seed), forgets_syncs_(forgets_syncs) {}

  SnapshotBench bench;

  std::unique_ptr<WritableFile> wrap(WritableFile& file) {
    const auto history = std::make_shared<History>(forgets_syncs_);
    histories_[file.identity().inode] = history;
    return std::make_unique<RememberedFile>(file, history);
  }
  // Names that are there now may be gone after a power loss, until they are called durable.
  void note_names() { names_ = names(); }

  enum class Names { kNow, kNoted };

  void lose_power(const std::filesystem::path& to, Names which) {
    RandomChooser chooser(random_);
    std::map<uint64_t, std::string> copied;
    const auto now = names();
    for (const auto& [name, inode] : which == Names::kNow ? now : names_) {
      const auto [first, is_new] = copied.try_emplace(inode, name);
      if (!is_new) {
        std::filesystem::create_hard_link(to / first->second, to / name);
        continue;
      }
      const auto known =
          std::find_if(now.begin(), now.end(),
                       [&, wanted = inode](const auto& entry) { return entry.second == wanted; });
      REQUIRE(known != now.end());
      copy(bench.place(known->first), to / name, inode, chooser);
    }
  }

 private:
  std::map<std::string, uint64_t> names() const {
    std::map<std::string, uint64_t> found;
    for (const auto& entry : std::filesystem::directory_iterator(
             std::filesystem::path(bench.place("x")).parent_path())) {
      found[entry.path().filename().string()] = inode_of(entry.path());
    }
    return found;
  }

  void copy(const std::string& from, const std::filesystem::path& to, uint64_t inode,
            Chooser& chooser) {
    const auto source = value_of(PosixFile::open(from, FileLock::kNone));
    const auto target = value_of(PosixFile::create_for(to.string()));
    expect_success(copy_file(*source, *target, loss_goes_on));
    if (const auto history = histories_.find(inode); history != histories_.end()) {
      history->second->lose_power(*target, chooser);
    }
    expect_success(target->publish());
  }

  std::mt19937_64 random_;
  const bool forgets_syncs_;
  std::map<uint64_t, std::shared_ptr<History>> histories_;  // by inode
  std::map<std::string, uint64_t> names_;
};

// One snapshot, with a power loss at each of its steps.
class LossRound {
 public:
  LossRound(uint64_t seed, bool forgets_syncs)
      : host_(seed, forgets_syncs), random_(seed), model_({}) {}

  std::optional<std::string> run() {
    OverlayOptions options = host_.bench.options();
    options.wrap_upper = [this](WritableFile& file) { return host_.wrap(file); };
    options.at_snapshot_step = [this](SnapshotStep step) {
      if (is_watching_) {
        at_step(step);
      }
    };
    overlay_ = SnapshotBench::serve(std::move(options));
    model_ = SectorModel(read_all(overlay_->disk()));
    write_some();
    (void)value_of(overlay_->snapshot("first.img"));
    model_.flushed();
    write_some();
    is_watching_ = true;
    (void)value_of(overlay_->snapshot("frozen.img"));
    is_watching_ = false;
    return complaint_;
  }

 private:
  void write_some() {
    for (int i = 0; i < 6; ++i) {
      const std::vector<std::byte> bytes = pattern(random_(), 1 + random_() % 5'000);
      const uint64_t offset = random_() % (model_.now().size() - bytes.size());
      expect_success(overlay_->requests().write(offset, bytes));
      model_.changed(offset, bytes);
      if (random_() % 5 == 0 && !is_watching_) {
        expect_success(overlay_->requests().flush());
        model_.flushed();
      }
    }
  }

  void at_step(SnapshotStep step) {
    if (step == SnapshotStep::kNextUpper) {
      model_.flushed();  // step 1 did
    }
    // While the gate is closed no request comes.
    if (step != SnapshotStep::kClosed && step != SnapshotStep::kRenamed) {
      write_some();
    }
    if (step == SnapshotStep::kClosed) {
      host_.note_names();
      frozen_ = model_;
    }
    lose_power(step, LosingHost::Names::kNow);
    if (step == SnapshotStep::kRenamed || step == SnapshotStep::kServed) {
      lose_power(step, LosingHost::Names::kNoted);
    }
  }

  static OverlayOptions options_in(const std::filesystem::path& place) {
    OverlayOptions options;
    options.level_paths = {place / "base.img"};
    options.upper_path = place / "upper.img";
    options.log = quiet_log();
    options.server_access = Access::kReadWrite;
    return options;
  }

  static Result<std::unique_ptr<Overlay>> begin(OverlayOptions options) {
    UNIONFS_ASSIGN(auto overlay, Overlay::prepare(std::move(options)));
    UNIONFS_TRY(overlay->open(Access::kReadWrite));
    return overlay;
  }

  void lose_power(SnapshotStep step, LosingHost::Names names) {
    if (complaint_) {
      return;
    }
    INFO("step " << static_cast<int>(step) << ", names " << static_cast<int>(names));
    const ScratchDirectory scratch;
    host_.lose_power(scratch.path(), names);
    Result<std::unique_ptr<Overlay>> begun = begin(options_in(scratch.path()));
    if (!begun) {
      complaint_ = "after a power loss: " + begun.error().message;
      return;
    }
    std::unique_ptr<Overlay> overlay = *std::move(begun);
    complaint_ = model_.judge_after_power_loss(read_all(overlay->disk()));
    if (complaint_) {
      return;
    }
    // It goes on from there.
    const std::vector<std::byte> bytes = pattern(1, 5'000);
    expect_success(overlay->disk().write(30'000, bytes));
    const std::vector<std::byte> now = read_all(overlay->disk());
    if (overlay->disk().is_void() && overlay->chain().layers().size() == 2 && frozen_) {
      std::vector<std::byte> level(now.size());
      expect_success(overlay->chain().frozen_view()->read(0, level));
      complaint_ = frozen_->judge_after_power_loss(level);
      ++frozen_levels_;
    }
    if (complaint_) {
      return;
    }
    expect_success(overlay->close());
    overlay.reset();
    overlay = SnapshotBench::serve(options_in(scratch.path()));
    CHECK((read_all(overlay->disk()) == now));
    CHECK((step < SnapshotStep::kFrozen || frozen_levels_ > 0));
  }

  LosingHost host_;
  std::mt19937_64 random_;
  SectorModel model_;
  std::optional<SectorModel> frozen_;  // when the gate was closed
  std::unique_ptr<Overlay> overlay_;
  bool is_watching_ = false;
  uint64_t frozen_levels_ = 0;
  std::optional<std::string> complaint_;
};

}  // namespace

TEST_CASE("Snapshot: a power loss at each step and in each sector", "[snapshot]") {
  const uint64_t seed = test_seed("power loss of snapshots");
  const char* given = std::getenv("UNIONFS_ROUNDS");
  const uint64_t rounds = given != nullptr ? std::strtoull(given, nullptr, 0) : 2;
  for (uint64_t round = 0; round < rounds; ++round) {
    const auto complaint = LossRound(seed + round, false).run();
    INFO("round " << round << ": " << complaint.value_or(""));
    CHECK_FALSE(complaint);
  }
}

TEST_CASE("Snapshot: a sync that does nothing is found", "[snapshot]") {
  CHECK_THAT(LossRound(1, true).run().value_or("not found"), Catch::Contains("after a power loss"));
}
