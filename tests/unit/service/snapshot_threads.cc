// SPDX-License-Identifier: BSD-3-Clause
//
// Many threads write while snapshots are taken.  Each level must show one moment: of each thread
// the first so many of its requests, and no request without all that ended before it began.
// Meant for the thread sanitizer too.
#include <algorithm>
#include <atomic>
#include <future>
#include <random>
#include <thread>

#include "tests/unit/service/snapshot_bench.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

constexpr uint64_t kWriters = 4;
constexpr uint64_t kRegionBytes = uint64_t{32} << 10;

// One request that has changed something.
struct LoggedChange {
  uint64_t offset = 0;  // in the region
  std::vector<std::byte> bytes;
  uint64_t began = 0;  // tickets
  uint64_t ended = 0;
};

// What a thread had begun and ended when a snapshot began and had come to its end.
struct Bounds {
  size_t least = 0;
  size_t most = 0;
};

class SnapshotWriter {
 public:
  SnapshotWriter(GatedDisk& disk, uint64_t number, std::atomic<uint64_t>& tickets)
      : disk_(disk), random_(number + 1), begin_(number * kRegionBytes), tickets_(tickets) {
    first_.resize(kRegionBytes);
    expect_success(disk_.read(begin_, first_));
    now_ = first_;
    changes_.reserve(kMost);
  }

  void run(const std::atomic<bool>& has_to_stop) {
    while (!has_to_stop.load() && changes_.size() < kMost) {
      if (random_() % 32 == 0) {
        is_good_ = is_good_ && disk_.flush();
      }
      change();
    }
  }
  size_t begun() const { return begun_.load(); }
  size_t ended() const { return ended_.load(); }
  bool is_good() const { return is_good_; }
  const std::vector<LoggedChange>& changes() const { return changes_; }
  uint64_t begin() const { return begin_; }

  // How many of the changes the bytes of the region show; nothing if they show anything else.
  std::optional<size_t> shown(ConstByteSpan region, Bounds bounds) const {
    std::vector<std::byte> model = first_;
    for (size_t count = 0; count <= bounds.most; ++count) {
      if (count >= bounds.least && is_same_bytes(model, region)) {
        return count;
      }
      if (count < bounds.most) {
        const LoggedChange& change = changes_[count];
        std::copy(change.bytes.begin(), change.bytes.end(),
                  model.begin() + static_cast<ptrdiff_t>(change.offset));
      }
    }
    return std::nullopt;
  }

 private:
  static constexpr size_t kMost = 20000;

  // Zeros go where the last request wrote, so that each request changes something; but not where
  // there were zeros before that, so that no bytes show two moments.
  void change() {
    LoggedChange change;
    const bool is_zero = may_zero_ && random_() % 4 == 0;
    if (is_zero) {
      change.offset = changes_.back().offset;
      change.bytes.resize(changes_.back().bytes.size());
    } else {
      change.offset = random_() % (kRegionBytes - 1);
      const uint64_t most = std::min<uint64_t>(kRegionBytes - change.offset, 1500);
      change.bytes = pattern(random_(), 1 + random_() % most);
      change.bytes[0] = std::byte(1 + random_() % 255);
    }
    const auto now = now_.begin() + static_cast<ptrdiff_t>(change.offset);
    may_zero_ = !is_zero && std::any_of(now, now + static_cast<ptrdiff_t>(change.bytes.size()),
                                        [](std::byte byte) { return byte != std::byte(0); });
    std::copy(change.bytes.begin(), change.bytes.end(), now);
    change.began = tickets_.fetch_add(1);
    begun_.fetch_add(1);
    const uint64_t at = begin_ + change.offset;
    const bool is_trim = is_zero && random_() % 2 == 0;
    is_good_ = is_good_ && (is_zero ? disk_.zero(at, change.bytes.size(), {is_trim, false})
                                    : disk_.write(at, change.bytes));
    ended_.fetch_add(1);
    change.ended = tickets_.fetch_add(1);
    changes_.push_back(std::move(change));
  }

  GatedDisk& disk_;
  std::mt19937_64 random_;
  const uint64_t begin_;
  std::atomic<uint64_t>& tickets_;
  std::vector<std::byte> first_;
  std::vector<LoggedChange> changes_;
  std::atomic<size_t> begun_{0};
  std::atomic<size_t> ended_{0};
  std::vector<std::byte> now_;  // with all changes
  bool may_zero_ = false;
  bool is_good_ = true;
};

using Writers4 = std::vector<std::unique_ptr<SnapshotWriter>>;

// Whether the bytes show one moment.
void check_moment(const Writers4& writers, const std::vector<Bounds>& bounds,
                  ConstByteSpan shown_bytes) {
  uint64_t last_begin = 0;            // of what shows
  uint64_t first_end = ~uint64_t{0};  // of what does not
  for (size_t i = 0; i < writers.size(); ++i) {
    const SnapshotWriter& writer = *writers[i];
    const auto count = writer.shown(shown_bytes.subspan(writer.begin(), kRegionBytes), bounds[i]);
    INFO("writer " << i << ", from " << bounds[i].least << " to " << bounds[i].most << " changes");
    REQUIRE(count.has_value());
    if (*count > 0) {
      last_begin = std::max(last_begin, writer.changes()[*count - 1].began);
    }
    if (*count < writer.changes().size()) {
      first_end = std::min(first_end, writer.changes()[*count].ended);
    }
  }
  CHECK(last_begin < first_end);
}

}  // namespace

TEST_CASE("Snapshot: many threads write through snapshots", "[snapshot][threads]") {
  SnapshotBench bench;
  const auto overlay = bench.serve();
  std::atomic<uint64_t> tickets{1};
  std::atomic<bool> has_to_stop{false};
  Writers4 writers;
  for (uint64_t number = 0; number < kWriters; ++number) {
    writers.push_back(std::make_unique<SnapshotWriter>(overlay->requests(), number, tickets));
  }
  std::vector<std::thread> threads;
  for (auto& writer : writers) {
    threads.emplace_back([&writer, &has_to_stop] { writer->run(has_to_stop); });
  }
  std::vector<std::vector<Bounds>> bounds;
  bool is_taken = true;
  for (int number = 1; number <= 5; ++number) {
    std::vector<Bounds> now(writers.size());
    for (size_t i = 0; i < writers.size(); ++i) {
      now[i].least = writers[i]->ended();
    }
    const std::string name = "level-" + std::to_string(number);
    is_taken = overlay->snapshot(name).has_value() && is_taken;
    for (size_t i = 0; i < writers.size(); ++i) {
      now[i].most = writers[i]->begun();
    }
    bench.names.push_back(name);
    bounds.push_back(std::move(now));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    (void)overlay->facts();
  }
  has_to_stop.store(true);
  for (std::thread& thread : threads) {
    thread.join();
  }
  CHECK(is_taken);
  std::vector<Bounds> all(writers.size());
  for (size_t i = 0; i < writers.size(); ++i) {
    CHECK(writers[i]->is_good());
    all[i] = {writers[i]->ended(), writers[i]->ended()};
  }
  check_moment(writers, all, read_all(overlay->disk()));
  for (size_t number = 0; number < bench.names.size(); ++number) {
    INFO(bench.names[number]);
    check_moment(writers, bounds[number], bench.frozen(bench.names[number]));
  }
  expect_success(overlay->close());
}

namespace {

// A disk of its own over levels that another one stands on, too: it is written, gets snapshots, and
// is read all the time.
class DiskOverRow {
 public:
  DiskOverRow(const SnapshotBench& bench, std::shared_ptr<const Chain> base, std::string name)
      : name_(std::move(name)) {
    OverlayOptions options = bench.options(name_ + ".img");
    options.base = std::move(base);
    options.size_bytes.reset();
    overlay_ = SnapshotBench::serve(std::move(options));
    model_ = read_all(overlay_->disk());
    first_ = model_;
  }

  // Writes to the first half, and takes snapshots.
  void write() {
    std::mt19937_64 random(name_.size());
    for (int number = 0; number < 4; ++number) {
      for (int i = 0; i < 10; ++i) {
        const std::vector<std::byte> bytes = pattern(random(), 1 + random() % 3000);
        const uint64_t offset = random() % (model_.size() / 2 - bytes.size());
        is_good_ = is_good_ && overlay_->requests().write(offset, bytes);
        std::copy(bytes.begin(), bytes.end(), model_.begin() + static_cast<ptrdiff_t>(offset));
      }
      is_good_ = is_good_ && overlay_->snapshot(name_ + "-" + std::to_string(number));
      has_table_ = has_table_ && overlay_->chain().frozen_view()->session_runs() != nullptr;
    }
    is_written_.store(true);
  }
  // Reads the other half, which comes through all tables.
  void read() {
    const size_t half = first_.size() / 2;
    std::vector<std::byte> bytes(first_.size() - half);
    while (!is_written_.load()) {
      const bool is_read = overlay_->requests().read(half, bytes).has_value();
      if (!is_read ||
          !std::equal(bytes.begin(), bytes.end(), first_.begin() + static_cast<ptrdiff_t>(half))) {
        is_same_.store(false);
      }
    }
  }

  void check() {
    CHECK(is_good_);
    CHECK(is_same_);
    CHECK(has_table_);
    CHECK((read_all(overlay_->disk()) == model_));
    expect_success(overlay_->close());
  }

 private:
  const std::string name_;
  std::unique_ptr<Overlay> overlay_;
  std::vector<std::byte> model_;
  std::vector<std::byte> first_;
  std::atomic<bool> is_written_{false};
  bool is_good_ = true;
  std::atomic<bool> is_same_{true};  // two readers
  bool has_table_ = true;
};

}  // namespace

// The table of the row is of both disks; what each stacks on it is its own.
TEST_CASE("Snapshot: two disks over one row of frozen levels", "[snapshot][threads]") {
  SnapshotBench bench;
  {
    const auto overlay = bench.serve();
    std::mt19937_64 random(9);
    for (int number = 0; number < 3; ++number) {
      for (int i = 0; i < 20; ++i) {
        const std::vector<std::byte> bytes = pattern(random(), 2000);
        const uint64_t offset = random() % (overlay->size_bytes() - bytes.size());
        expect_success(overlay->disk().write(offset, bytes));
      }
      bench.names.push_back("row-" + std::to_string(number));
      (void)value_of(overlay->snapshot(bench.names.back()));
    }
    expect_success(overlay->close());
  }
  const std::shared_ptr<const Chain> base =
      value_of(Chain::open(bench.levels_up_to(bench.names.back()), FileLock::kShared, quiet_log()));
  REQUIRE(base->frozen_view()->session_runs() != nullptr);
  DiskOverRow one(bench, base, "one");
  DiskOverRow other(bench, base, "other");
  std::vector<std::thread> threads;
  for (DiskOverRow* disk : {&one, &other}) {
    threads.emplace_back([disk] { disk->write(); });
    threads.emplace_back([disk] { disk->read(); });
    threads.emplace_back([disk] { disk->read(); });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  one.check();
  other.check();
  CHECK(base->frozen_view()->session_runs() != nullptr);
}

// As while a read of a remote level waits for an answer.
TEST_CASE("Snapshot: who looks does not wait with it for a request", "[snapshot][threads]") {
  constexpr std::chrono::milliseconds kUntilItWaits(100);
  constexpr std::chrono::seconds kFarTooLong(60);
  SnapshotBench bench;
  std::promise<void> named;
  OverlayOptions options = bench.options();
  options.at_snapshot_step = [&](SnapshotStep step) {
    if (step == SnapshotStep::kNamed) {
      named.set_value();
    }
  };
  const auto overlay = SnapshotBench::serve(std::move(options));
  expect_success(overlay->requests().write(0, pattern(1, 600)));
  std::promise<void> begun;
  std::promise<void> may_end;
  std::thread request([&] {
    overlay->requests().with_view([&](const MergedView&) {
      begun.set_value();
      may_end.get_future().wait();
    });
  });
  begun.get_future().wait();
  auto snapshot = std::async(std::launch::async, [&] { return overlay->snapshot("frozen"); });
  named.get_future().wait();
  CHECK(snapshot.wait_for(kUntilItWaits) == std::future_status::timeout);
  auto levels = std::async(std::launch::async, [&] { return overlay->level_facts(); });
  const bool is_told = levels.wait_for(kFarTooLong) == std::future_status::ready;
  CHECK(is_told);
  may_end.set_value();
  request.join();
  (void)value_of(snapshot.get());
  CHECK(levels.get().size() == 2);
  CHECK(overlay->level_facts().size() == 3);
}

TEST_CASE("Snapshot: it is taken though others look all the time", "[snapshot][threads]") {
  SnapshotBench bench;
  const auto overlay = SnapshotBench::serve(bench.options());
  expect_success(overlay->requests().write(0, pattern(1, 600)));
  std::atomic<bool> is_over = false;
  std::vector<std::thread> looking;
  for (int i = 0; i < 3; ++i) {
    looking.emplace_back([&] {
      while (!is_over) {
        const size_t levels = overlay->level_facts().size();
        if (levels < 2 || !overlay->facts().session) {
          is_over = true;
        }
      }
    });
  }
  size_t levels = 2;
  for (const char* name : {"one", "two", "three"}) {
    (void)value_of(overlay->snapshot(name));
    expect_success(overlay->requests().write(0, pattern(2, 600)));
    CHECK(overlay->level_facts().size() == ++levels);
  }
  CHECK_FALSE(is_over.exchange(true));
  for (std::thread& thread : looking) {
    thread.join();
  }
}
