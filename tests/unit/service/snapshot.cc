// SPDX-License-Identifier: BSD-3-Clause
//
// Snapshots of an upper that is served: what a start finds where the server died, what is refused,
// and what a host that fails leaves.
#include <sys/wait.h>
#include <unistd.h>

#include <random>

#include "overlay/stack/snapshot.h"
#include "overlay/upper/upper_state.h"
#include "tests/unit/checkpoint/checkpoint_bench.h"
#include "tests/unit/service/snapshot_bench.h"
#include "tests/unit/support/image_facts.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

void write_both(Disk& disk, std::vector<std::byte>& model, std::mt19937_64& random) {
  for (int i = 0; i < 20; ++i) {
    const uint64_t offset = random() % (model.size() - 20'000);
    const std::vector<std::byte> bytes = pattern(random(), 1 + random() % 20'000);
    expect_success(disk.write(offset, bytes));
    std::copy(bytes.begin(), bytes.end(), model.begin() + static_cast<ptrdiff_t>(offset));
  }
}

// A server in a process of its own, which dies at a step.  Returns what it had answered.
std::vector<std::byte> die_at(const SnapshotBench& bench, SnapshotStep step, bool has_parent) {
  const std::string model_path = bench.place("model");
  (void)small_image(kSnapshotBlock);
  const pid_t child = ::fork();
  REQUIRE(child != -1);
  if (child == 0) {
    OverlayOptions options = bench.options();
    options.at_snapshot_step = [&](SnapshotStep now) {
      if (now == step && std::filesystem::exists(model_path)) {
        ::_exit(0);
      }
    };
    auto overlay = Overlay::prepare(std::move(options));
    if (!overlay || !(*overlay)->open(Access::kReadWrite)) {
      ::_exit(1);
    }
    std::mt19937_64 random(5);
    std::vector<std::byte> model = read_all((*overlay)->disk());
    write_both((*overlay)->disk(), model, random);
    if (has_parent && !(*overlay)->snapshot("first.img")) {
      ::_exit(2);
    }
    write_both((*overlay)->disk(), model, random);
    save(model, model_path);
    (void)(*overlay)->snapshot("frozen.img");
    ::_exit(3);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  REQUIRE(WEXITSTATUS(status) == 0);
  std::vector<std::byte> model(std::filesystem::file_size(model_path));
  expect_success(value_of(PosixFile::open(model_path, FileLock::kNone))->read(0, model));
  std::filesystem::remove(model_path);
  return model;
}

constexpr SnapshotStep kAllSteps[] = {
    SnapshotStep::kNextUpper, SnapshotStep::kFreezing, SnapshotStep::kNamed, SnapshotStep::kClosed,
    SnapshotStep::kRenamed,   SnapshotStep::kServed,   SnapshotStep::kFrozen};

// As after a restart of the host, if all that was written got to the disk: no stamp is believed.
void forget_boot(const std::string& path) {
  const auto file = value_of(PosixFile::open(path, FileLock::kExclusive));
  expect_success(file->make_writable());
  const StateArea area = value_of(read_upper_state(*file)).area;
  const std::vector<std::byte> none(upper_format::kPageBytes);
  expect_success(file->write(area.stamp_offset(), none));
}

StateArea area_of_file(const std::string& path) {
  return value_of(read_upper_state(*value_of(PosixFile::open(path, FileLock::kNone)))).area;
}

// A host that fails when it is told to, and says which file it was.
struct SnapshotHost {
  bool fails_changes = false;
  bool fails_syncs = false;
  int error_number = ENOSPC;
  std::vector<size_t> synced;  // the files, in the order of their syncs
  size_t count = 0;            // of files
};

class SnapshotHostFile final : public GuardedFile {
 public:
  SnapshotHostFile(WritableFile& file, SnapshotHost& host)
      : GuardedFile(file), host_(host), number_(host.count++) {}

  Result<void> sync() override {
    host_.synced.push_back(number_);
    if (host_.fails_syncs) {
      return system_failure(EIO, fmt::format("{}: told not to sync", file_.name()));
    }
    return file_.sync();
  }

 private:
  // Only of the upper that is being frozen: the first one.
  Result<void> pass() override {
    return host_.fails_changes && number_ == 0
               ? system_failure(host_.error_number, fmt::format("{}: told to fail", file_.name()))
               : Result<void>();
  }

  SnapshotHost& host_;
  const size_t number_;
};

}  // namespace

TEST_CASE("Snapshot: the moment stays under its name, and the disk goes on", "[snapshot]") {
  SnapshotBench bench;
  std::mt19937_64 random(3);
  auto overlay = bench.serve();
  std::vector<std::byte> model = read_all(overlay->disk());
  std::vector<std::vector<std::byte>> kept;
  for (int number = 1; number <= 4; ++number) {
    write_both(overlay->disk(), model, random);
    bench.names.push_back("level-" + std::to_string(number));
    const SnapshotFigures figures = value_of(overlay->snapshot(bench.names.back()));
    CHECK(figures.pause_seconds <= figures.flush_seconds);
    kept.push_back(model);
    CHECK((read_all(overlay->disk()) == model));
    CHECK(overlay->disk().is_void());
    CHECK(area_of_file(bench.place(bench.names.back())).is_frozen());
    CHECK((std::filesystem::status(bench.place(bench.names.back())).permissions() &
           std::filesystem::perms::owner_write) == std::filesystem::perms::none);
  }
  CHECK(bench.hidden_count() == 0);
  // A fork is another disk, while the first one is served.
  for (size_t i = 0; i < kept.size(); ++i) {
    INFO(bench.names[i]);
    CHECK((bench.frozen(bench.names[i]) == kept[i]));
  }
  // Nothing was written since, so the parent gets one more name.
  expect_success(overlay->requests().flush());
  const auto again = overlay->snapshot("again");
  (void)value_of(again);
  CHECK(again->pause_seconds == 0);
  CHECK(std::filesystem::equivalent(bench.place("again"), bench.place("level-4")));
  write_both(overlay->disk(), model, random);
  expect_success(overlay->close());
  overlay.reset();
  overlay = bench.serve();
  CHECK((read_all(overlay->disk()) == model));
}

TEST_CASE("Snapshot: a checkpoint ends the row, and a new one begins", "[snapshot]") {
  SnapshotBench bench;
  auto overlay = bench.serve();
  const auto apply = [&](const std::vector<std::string>& requests) {
    write_differences(overlay->disk(), changed_by_debugfs(overlay->disk(), requests));
    return facts_of(read_all(overlay->disk()));
  };
  (void)apply({"write @/small /one"});
  (void)value_of(overlay->snapshot("monday"));
  (void)apply({"write @/large /two", "rm /small"});
  (void)value_of(overlay->snapshot("tuesday"));
  Facts wanted = apply({"mkdir /made"});
  REQUIRE(overlay->checkpoint(AskedBy::kPerson).has_value());
  expect_success(overlay->open(Access::kReadWrite));
  CHECK_FALSE(overlay->disk().is_void());
  CHECK(overlay->chain().layers().size() == 1);
  CHECK(difference(wanted, facts_of(read_all(overlay->disk()))).empty());
  std::filesystem::remove(bench.place("tuesday"));

  (void)apply({"write @/small /three"});
  const std::vector<std::byte> wednesday = read_all(overlay->disk());
  (void)value_of(overlay->snapshot("wednesday"));
  wanted = apply({"rm /one"});
  bench.names = {"monday", "wednesday"};
  CHECK((bench.frozen("wednesday") == wednesday));
  expect_success(overlay->close());
  overlay.reset();
  overlay = bench.serve();
  CHECK(difference(wanted, facts_of(read_all(overlay->disk()))).empty());
  REQUIRE(overlay->checkpoint(AskedBy::kPerson).has_value());
  CHECK(overlay->chain().layers().size() == 2);
  CHECK(difference(wanted, facts_of(read_all(overlay->disk()))).empty());
}

TEST_CASE("Snapshot: a kill at each step", "[snapshot]") {
  const bool has_parent = GENERATE(false, true);
  for (const SnapshotStep step : kAllSteps) {
    INFO("step " << static_cast<int>(step) << (has_parent ? ", over a frozen level" : ""));
    SnapshotBench bench;
    if (has_parent) {
      bench.names.push_back("first.img");
    }
    std::vector<std::byte> model = die_at(bench, step, has_parent);
    const bool is_new = step >= SnapshotStep::kRenamed;
    const StateArea before = area_of_file(bench.place("upper.img"));
    CHECK(before.is_freezing() ==
          (step >= SnapshotStep::kFreezing && step <= SnapshotStep::kClosed));

    // Who only reads sees the same, and writes nothing.
    OverlayOptions reading = bench.options();
    reading.server_access = Access::kReadOnly;
    {
      const auto reader = SnapshotBench::serve(reading);
      CHECK((read_all(reader->disk()) == model));
      // A row of two levels has a table, also where the upper one is not frozen yet.
      const MergedView* frozen = reader->chain().frozen_view();
      CHECK((frozen != nullptr && frozen->session_runs() != nullptr) == (has_parent && is_new));
    }
    CHECK(area_of_file(bench.place("upper.img")).generation == before.generation);

    if (is_new && step != SnapshotStep::kFrozen) {
      CHECK(area_of_file(bench.place("frozen.img")).is_freezing());
      expect_error(Overlay::prepare(bench.options("frozen.img")), {"frozen.img", "another upper"});
      OverlayOptions fork = bench.options("fork.img");
      fork.size_bytes.reset();
      fork.level_paths = bench.levels_up_to("first.img");
      fork.level_paths.resize(has_parent ? 2 : 1);
      fork.level_paths.push_back(bench.place("frozen.img"));
      expect_error(Overlay::prepare(fork), {"frozen.img", "cut off"});
    }
    auto overlay = bench.serve();
    CHECK((read_all(overlay->disk()) == model));
    CHECK(std::filesystem::exists(bench.place("frozen.img")) == is_new);
    CHECK_FALSE(area_of_file(bench.place("upper.img")).is_freezing());
    std::mt19937_64 random(6);
    if (is_new) {
      bench.names.push_back("frozen.img");
      CHECK((bench.frozen("frozen.img") == model));
    }
    write_both(overlay->disk(), model, random);
    (void)value_of(overlay->snapshot("later.img"));
    bench.names.push_back("later.img");
    CHECK(bench.hidden_count() == 0);
    CHECK((read_all(overlay->disk()) == model));
    CHECK((bench.frozen("later.img") == model));
    expect_success(overlay->close());
  }
}

TEST_CASE("Snapshot: a start without a client ends what was cut off, too", "[snapshot]") {
  const SnapshotStep step = GENERATE(SnapshotStep::kNamed, SnapshotStep::kServed);
  SnapshotBench bench;
  const std::vector<std::byte> model = die_at(bench, step, false);
  auto overlay = value_of(Overlay::prepare(bench.options()));
  (void)value_of(overlay->has_left_session());
  expect_success(overlay->take_left_session());
  CHECK_FALSE(area_of_file(bench.place("upper.img")).is_freezing());
  if (step == SnapshotStep::kServed) {
    CHECK(area_of_file(bench.place("frozen.img")).is_frozen());
  }
  CHECK((read_all(overlay->disk()) == model));
}

TEST_CASE("Snapshot: without a server it takes back or ends what was cut off, too", "[snapshot]") {
  const bool has_parent = GENERATE(false, true);
  for (const SnapshotStep step : kAllSteps) {
    INFO("step " << static_cast<int>(step) << (has_parent ? ", over a frozen level" : ""));
    SnapshotBench bench;
    const std::vector<std::byte> model = die_at(bench, step, has_parent);
    if (has_parent) {
      bench.names.push_back("first.img");
    }
    const bool is_new = step >= SnapshotStep::kRenamed;
    if (is_new) {
      // The name leads to a level, and no upper is lost by a wrong call.
      if (step != SnapshotStep::kFrozen) {
        expect_error(take_snapshot({bench.place("base.img")}, bench.place("frozen.img"),
                                   "other.img", quiet_log()),
                     {"frozen.img", "another upper"});
      }
      bench.names.push_back("frozen.img");
    }
    expect_success(take_snapshot({bench.place("base.img")}, bench.place("upper.img"), "later.img",
                                 quiet_log()));
    CHECK(std::filesystem::exists(bench.place("frozen.img")) == is_new);
    CHECK(bench.hidden_count() == 0);
    CHECK(area_of_file(bench.place("later.img")).is_frozen());
    if (is_new) {
      CHECK(area_of_file(bench.place("frozen.img")).is_frozen());
      CHECK((bench.frozen("frozen.img") == model));
    }
    bench.names.push_back("later.img");
    CHECK((bench.frozen("later.img") == model));
    const auto overlay = bench.serve();
    CHECK((read_all(overlay->disk()) == model));
    expect_success(overlay->close());
  }
}

// All that was written before the call was flushed by it.
TEST_CASE("Snapshot: a power loss at each step", "[snapshot]") {
  for (const SnapshotStep step : kAllSteps) {
    INFO("step " << static_cast<int>(step));
    SnapshotBench bench;
    std::vector<std::byte> model = die_at(bench, step, true);
    bench.names.push_back("first.img");
    forget_boot(bench.place("upper.img"));
    if (step >= SnapshotStep::kRenamed) {
      if (step < SnapshotStep::kFrozen) {
        forget_boot(bench.place("frozen.img"));
      }
      bench.names.push_back("frozen.img");
    }
    auto overlay = bench.serve();
    CHECK((read_all(overlay->disk()) == model));
    std::mt19937_64 random(6);
    write_both(overlay->disk(), model, random);
    expect_success(overlay->close());
    overlay.reset();
    overlay = bench.serve();
    CHECK((read_all(overlay->disk()) == model));
  }
}

TEST_CASE("Snapshot: nothing of the next upper is durable before its parent", "[snapshot]") {
  SnapshotBench bench;
  SnapshotHost host;
  OverlayOptions options = bench.options();
  options.wrap_upper = [&](WritableFile& file) {
    return std::make_unique<SnapshotHostFile>(file, host);
  };
  size_t at_commit = 0;
  size_t at_end = 0;
  std::unique_ptr<Overlay> overlay;
  std::vector<std::byte> bytes = pattern(1, 50'000);
  options.at_snapshot_step = [&](SnapshotStep step) {
    if (step == SnapshotStep::kServed) {
      at_commit = host.synced.size();
      (void)overlay->requests().write(7, bytes);
    }
    at_end = step == SnapshotStep::kFrozen ? host.synced.size() : at_end;
  };
  overlay = SnapshotBench::serve(std::move(options));
  expect_success(overlay->disk().write(0, bytes));
  (void)value_of(overlay->snapshot("frozen.img"));
  REQUIRE(at_end > at_commit);
  for (size_t i = at_commit; i < at_end; ++i) {
    CHECK(host.synced[i] == 0);
  }
}

TEST_CASE("Snapshot: on a full host the disk goes on, and flushes try again", "[snapshot]") {
  SnapshotBench bench;
  SnapshotHost host;
  OverlayOptions options = bench.options();
  options.wrap_upper = [&](WritableFile& file) {
    return std::make_unique<SnapshotHostFile>(file, host);
  };
  SnapshotStep from = SnapshotStep::kServed;
  bool fails_syncs = false;
  options.at_snapshot_step = [&](SnapshotStep step) {
    host.fails_changes |= step == from && !fails_syncs;
    host.fails_syncs |= step == from && fails_syncs;
  };
  auto overlay = SnapshotBench::serve(std::move(options));
  std::mt19937_64 random(4);
  std::vector<std::byte> model = read_all(overlay->disk());
  write_both(overlay->disk(), model, random);
  expect_success(overlay->disk().flush());
  const std::vector<std::byte> flushed = model;

  SECTION("before the commit nothing has happened") {
    from = SnapshotStep::kNextUpper;
    CHECK(expect_error(overlay->snapshot("frozen.img"), {"told to fail"}) == ErrorKind::kSystem);
    CHECK_FALSE(std::filesystem::exists(bench.place("frozen.img")));
    host.fails_changes = false;
    write_both(overlay->disk(), model, random);
    CHECK((read_all(overlay->disk()) == model));
    from = SnapshotStep::kFrozen;
    (void)value_of(overlay->snapshot("frozen.img"));
  }
  SECTION("behind it") {
    const ErrorKind kind = expect_error(overlay->snapshot("frozen.img"), {"not frozen yet"});
    CHECK(kind == ErrorKind::kSystem);
    write_both(overlay->disk(), model, random);
    CHECK((read_all(overlay->disk()) == model));
    const auto flushing = overlay->requests().flush();
    REQUIRE_FALSE(flushing);
    CHECK(flushing.error().error_number == ENOSPC);
    CHECK_FALSE(overlay->snapshot("second.img"));
    CHECK(area_of_file(bench.place("frozen.img")).is_freezing());
    SECTION("until there is room") {
      host.fails_changes = false;
      expect_success(overlay->requests().flush());
      CHECK(area_of_file(bench.place("frozen.img")).is_frozen());
      bench.names.push_back("frozen.img");
      CHECK((bench.frozen("frozen.img") == flushed));
    }
    SECTION("or until the server is killed") {
      overlay.reset();
      overlay = bench.serve();
      CHECK(area_of_file(bench.place("frozen.img")).is_frozen());
    }
    CHECK((read_all(overlay->disk()) == model));
    (void)value_of(overlay->snapshot("third.img"));
  }
  SECTION("a sync that fails ends both") {
    fails_syncs = true;
    expect_error(overlay->snapshot("frozen.img"), {"told not to sync"});
    CHECK(overlay->facts().has_failed);
    CHECK_FALSE(overlay->requests().write(0, ConstByteSpan(flushed).first(512)));
    overlay.reset();
    overlay = bench.serve();
    CHECK((read_all(overlay->disk()) == flushed));
  }
}

TEST_CASE("Snapshot: what is refused", "[snapshot]") {
  SnapshotBench bench;
  const auto refused = [](Overlay& overlay, const std::string& name,
                          std::initializer_list<std::string> parts) {
    CHECK(expect_error(overlay.snapshot(name), parts) == ErrorKind::kInvalid);
  };
  auto overlay = bench.serve();
  refused(*overlay, "a/b", {"file name"});
  refused(*overlay, ".hidden", {"no dot"});
  refused(*overlay, "", {"file name"});
  refused(*overlay, "base.img", {"base.img", "exists already"});
  std::filesystem::create_symlink("nowhere", bench.place("dangling"));
  refused(*overlay, "dangling", {"exists already"});
  std::filesystem::create_hard_link(bench.place("upper.img"), bench.place("other.img"));
  refused(*overlay, "frozen.img", {"another name"});
  std::filesystem::remove(bench.place("other.img"));
  CHECK(bench.hidden_count() == 0);
  CHECK_FALSE(area_of_file(bench.place("upper.img")).is_freezing());
  overlay.reset();

  SECTION("a server that only reads") {
    OverlayOptions reading = bench.options();
    reading.server_access = Access::kReadOnly;
    refused(*SnapshotBench::serve(std::move(reading)), "frozen.img", {"only reads"});
  }
  SECTION("a temporary upper") {
    OverlayOptions temporary = bench.options();
    temporary.upper_path.clear();
    temporary.temporary_directory = bench.place("");
    refused(*SnapshotBench::serve(std::move(temporary)), "frozen.img", {"temporary"});
  }
  SECTION("an upper under another name is its file") {
    std::filesystem::create_directory(bench.place("links"));
    std::filesystem::create_symlink(bench.place("upper.img"), bench.place("links/link.img"));
    overlay = bench.serve(bench.options("links/link.img"));
    expect_success(overlay->disk().write(0, pattern(2, 600)));
    (void)value_of(overlay->snapshot("frozen.img"));
    CHECK(std::filesystem::exists(bench.place("frozen.img")));
    CHECK(std::filesystem::is_symlink(bench.place("links/link.img")));
  }
}
