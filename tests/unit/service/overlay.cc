// SPDX-License-Identifier: BSD-3-Clause
//
// The order of a disk's life on a host that fails: what a checkpoint that failed leaves, and
// who may come while one waits to be brought home.
#include "overlay/service/overlay.h"

#include "tests/unit/checkpoint/checkpoint_bench.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

constexpr uint32_t kBlock = 1024;

// The host of an upper: its changes and syncs fail from the `number`th on, if that is set.
struct HostPlan {
  uint64_t changes = 0;
  uint64_t fail_at = 0;     // 0: never
  bool fails_once = false;  // else all that come later as well
  bool reads_fail = false;  // after the first failure
  bool has_failed = false;
};

class PlannedFile final : public GuardedFile {
 public:
  PlannedFile(WritableFile& file, HostPlan& plan) : GuardedFile(file), plan_(plan) {}

  Result<void> read(uint64_t offset, ByteSpan buffer) const override {
    if (plan_.has_failed && plan_.reads_fail) {
      return system_failure(EIO, fmt::format("{}: told not to read", file_.name()));
    }
    return file_.read(offset, buffer);
  }
  size_t read_cached(uint64_t, ByteSpan) const override { return 0; }

 private:
  Result<void> pass() override {
    ++plan_.changes;
    const bool is_due = plan_.fail_at != 0 && plan_.changes >= plan_.fail_at;
    if (!is_due || (plan_.fails_once && plan_.has_failed)) {
      return {};
    }
    plan_.has_failed = true;
    return system_failure(EIO, fmt::format("{}: told to fail", file_.name()));
  }

  HostPlan& plan_;
};

// A server's overlay over paths, and the host under its upper.
class Server {
 public:
  explicit Server(const std::filesystem::path& upper) {
    OverlayOptions options;
    options.level_paths = {small_image(kBlock).path()};
    options.upper_path = upper;
    options.size_bytes = small_merged_size(kBlock);
    options.log = quiet_log();
    options.wrap_upper = [this](WritableFile& file) {
      return std::make_unique<PlannedFile>(file, plan_);
    };
    overlay_ = value_of(Overlay::prepare(options));
  }

  HostPlan& plan() { return plan_; }
  Overlay& overlay() { return *overlay_; }
  std::vector<std::byte> bytes() { return read_all(overlay_->disk()); }

  // A client comes, changes something, and goes.
  void change() {
    expect_success(overlay_->open(Access::kReadWrite));
    write_differences(overlay_->disk(),
                      changed_by_debugfs(overlay_->disk(), {"write @/large /new", "rm /small"}));
    expect_success(overlay_->close());
  }

 private:
  HostPlan plan_;
  std::unique_ptr<Overlay> overlay_;
};

// The changes that a checkpoint makes to the upper's file.
uint64_t changes_of_a_checkpoint() {
  const ScratchDirectory scratch;
  Server server(scratch.path() / "upper.img");
  server.change();
  server.plan().changes = 0;
  REQUIRE(server.overlay().checkpoint(AskedBy::kPerson).has_value());
  return server.plan().changes;
}

// How often a checkpoint ended so.
struct Ends {
  int none = 0;
  int committed = 0;
  int unknown = 0;
};

// The host fails at each change of a checkpoint in turn.
Ends try_all(const HostPlan& plan) {
  Ends ends;
  const uint64_t count = changes_of_a_checkpoint();
  for (uint64_t number = 1; number <= count; ++number) {
    INFO("change " << number << " of " << count << " fails");
    const ScratchDirectory scratch;
    auto server = std::make_unique<Server>(scratch.path() / "upper.img");
    server->change();
    const Facts wanted = facts_of(server->bytes());
    const uint64_t session_number = server->overlay().disk().state_area().session_number;
    server->plan() = plan;
    server->plan().fail_at = number;
    const CheckpointResult result = server->overlay().checkpoint(AskedBy::kPerson);
    server->plan() = {};
    if (result) {
      FAIL_CHECK("the failure was not told");
      continue;
    }
    const Commitment commitment = result.error().commitment;
    ++(commitment == Commitment::kNone        ? ends.none
       : commitment == Commitment::kCommitted ? ends.committed
                                              : ends.unknown);
    expect_success(server->overlay().open(Access::kReadOnly));
    const Disk& disk = server->overlay().disk();
    const bool is_new = disk.state_area().session_number > session_number;
    CHECK((commitment == Commitment::kUnknown || is_new == (commitment == Commitment::kCommitted)));
    if (!disk.has_failed()) {  // after a failed sync every request fails until a restart
      CHECK(difference(wanted, facts_of(server->bytes())).empty());
    }
    server.reset();

    server = std::make_unique<Server>(scratch.path() / "upper.img");
    expect_success(server->overlay().open(Access::kReadWrite));
    CHECK(difference(wanted, facts_of(server->bytes())).empty());
    expect_success(server->overlay().close());
    CHECK(server->overlay().checkpoint(AskedBy::kPerson).has_value());
    CHECK(difference(wanted, facts_of(server->bytes())).empty());
    CHECK(server->overlay().disk().state_area().session_number == session_number + 1);
  }
  return ends;
}

}  // namespace

TEST_CASE("Overlay: a checkpoint that failed is told as what it is", "[overlay][service]") {
  SECTION("one change fails") {
    HostPlan plan;
    plan.fails_once = true;
    const Ends ends = try_all(plan);
    CHECK(ends.none > 0);
    CHECK(ends.committed > 0);
  }
  SECTION("from then on all fail") {
    const Ends ends = try_all({});
    CHECK(ends.none > 0);
    CHECK(ends.committed > 0);
  }
  SECTION("from then on nothing can be read, too") {
    HostPlan plan;
    plan.reads_fail = true;
    const Ends ends = try_all(plan);
    CHECK(ends.committed == 0);
    CHECK(ends.unknown > 0);
  }
}

TEST_CASE("Overlay: who reads through a journal keeps the disk", "[overlay][service]") {
  const ScratchDirectory scratch;
  const std::filesystem::path upper = scratch.path() / "upper.img";
  Facts wanted;
  {
    Server server(upper);
    server.change();
    wanted = facts_of(server.bytes());
    // The last changes are those that bring the journal home.
    const uint64_t count = changes_of_a_checkpoint();
    server.plan().changes = 0;
    server.plan().fail_at = count - 2;
    const CheckpointResult result = server.overlay().checkpoint(AskedBy::kPerson);
    REQUIRE_FALSE(result);
    REQUIRE(result.error().commitment == Commitment::kCommitted);
    REQUIRE(server.overlay().disk().has_journal());
  }
  Server server(upper);
  expect_success(server.overlay().open(Access::kReadOnly));
  Disk& disk = server.overlay().disk();
  CHECK(difference(wanted, facts_of(read_all(disk))).empty());
  server.plan().changes = 0;
  expect_error(server.overlay().open(Access::kReadWrite), {"upper.img", "connect again"});
  CHECK(server.plan().changes == 0);
  CHECK(&server.overlay().disk() == &disk);
  CHECK(difference(wanted, facts_of(read_all(disk))).empty());
  expect_success(server.overlay().open(Access::kReadOnly));

  expect_success(server.overlay().close());
  expect_success(server.overlay().open(Access::kReadWrite));
  CHECK_FALSE(server.overlay().disk().has_journal());
  CHECK(difference(wanted, facts_of(server.bytes())).empty());
  // A reader beside the writer is nothing special any more.
  expect_success(server.overlay().open(Access::kReadOnly));
  expect_success(server.overlay().close());
}
