// SPDX-License-Identifier: BSD-3-Clause
//
// Clients that come and go, one after another, over files of the host: what the server
// does between them.
#include "overlay/service/auto_checkpoint.h"
#include "overlay/service/overlay.h"
#include "tests/unit/support/manual_clock.h"
#include "tests/unit/support/overlay_fixture.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

constexpr uint32_t kBlock = 1024;

struct Server {
  Server() { start(); }

  void start() {
    OverlayOptions options;
    options.lower_path = small_image(kBlock).path();
    options.upper_path = scratch.path() / "upper.img";
    options.log = quiet_log();
    overlay = value_of(Overlay::prepare(options));
  }
  // The server dies.  Another one over the same files finds its session.
  void restart() {
    overlay.reset();
    start();
  }

  ScratchDirectory scratch;
  std::unique_ptr<Overlay> overlay;
};

// The label, which a checkpoint takes over as it is.
constexpr uint64_t kLabelOffset = ext2::kSuperblockOffsetBytes + 120;

// Whether a checkpoint was made, where none must fail.
bool makes_checkpoint(Overlay& overlay) {
  const CheckpointResult result = overlay.checkpoint(AskedBy::kServer);
  if (!result) {
    FAIL(describe(result.error()));
  }
  return result->has_value();
}

}  // namespace

TEST_CASE("Clients: a checkpoint leaves the disk to a client that came first", "[clients]") {
  Server server;
  expect_success(server.overlay->open(Access::kReadWrite));
  expect_success(server.overlay->disk().write(kLabelOffset, pattern(1, 8)));
  // It was decided on, and then the next client came; see AutoCheckpoint.
  server.overlay->cancel_checkpoint(true);
  expect_success(server.overlay->open(Access::kReadWrite));
  const Disk* disk = &server.overlay->disk();
  CHECK_FALSE(makes_checkpoint(*server.overlay));
  CHECK(&server.overlay->disk() == disk);
  expect_success(server.overlay->disk().write(kLabelOffset, pattern(2, 8)));
  server.overlay->cancel_checkpoint(false);
  CHECK(makes_checkpoint(*server.overlay));
  expect_success(server.overlay->open(Access::kReadOnly));
  CHECK(read_range(server.overlay->disk(), kLabelOffset, 8) == pattern(2, 8));
  expect_success(server.overlay->close());
}

TEST_CASE("Clients: readers flush, and make no checkpoint", "[clients]") {
  Server server;
  expect_success(server.overlay->open(Access::kReadOnly));
  expect_success(server.overlay->disk().flush());
  CHECK_FALSE(makes_checkpoint(*server.overlay));
  expect_success(server.overlay->close());
}

TEST_CASE("Clients: a failed checkpoint says what became of the session", "[clients]") {
  Server server;
  expect_success(server.overlay->open(Access::kReadWrite));
  // The magic number: this is no file system any more.
  constexpr uint64_t kMagicOffset = ext2::kSuperblockOffsetBytes + 56;
  expect_success(server.overlay->disk().write(kMagicOffset, pattern(1, 2)));
  const CheckpointResult result = server.overlay->checkpoint(AskedBy::kServer);
  REQUIRE_FALSE(result);
  CHECK((result.error().commitment == Commitment::kNone));
  CHECK_THAT(describe(result.error()),
             Catch::StartsWith("no checkpoint: ") && Catch::EndsWith("; nothing is lost"));
  // What is committed must not be called none.
  const Error error{ErrorKind::kSystem, EIO, "upper.img: cannot write"};
  for (const Commitment commitment : {Commitment::kCommitted, Commitment::kUnknown}) {
    CHECK_THAT(describe({error, commitment}),
               Catch::StartsWith("checkpoint: upper.img: cannot write") &&
                   Catch::Contains("committed") && !Catch::Contains("no checkpoint"));
  }
}

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// A server with checkpoint=auto whose time the test makes.
struct CheckpointingServer : Server {
  CheckpointingServer() {
    start_checkpointer(LeftSession::kLayer);
    clock.await_idle();
  }

  void start_checkpointer(LeftSession left_session) {
    checkpointer = std::make_unique<AutoCheckpoint>(
        *overlay, [this](const std::string& line) { lines.push_back(line); },
        [](const std::string&) {}, clock);
    checkpointer->start(left_session);
  }
  // Dies with a session in which the label was written by this seed.
  void restart_with_session(uint64_t seed, LeftSession left_session) {
    open();
    write(seed);
    checkpointer.reset();
    restart();
    start_checkpointer(left_session);
  }
  bool has_label(uint64_t seed) {
    return read_range(overlay->disk(), kLabelOffset, 8) == pattern(seed, 8);
  }

  void open() {
    checkpointer->client_opens();
    expect_success(overlay->open(Access::kReadWrite));
  }
  void write(uint64_t seed) {
    expect_success(overlay->disk().write(kLabelOffset, pattern(seed, 8)));
  }
  // How many checkpoints were made.  While nobody is about to make one.
  size_t made() const {
    for (const std::string& line : lines) {
      CHECK_THAT(line, Catch::Contains("upper.img: checkpoint made: ") &&
                           Catch::Contains("blocks") && Catch::Contains("files") &&
                           Catch::EndsWith(" s"));
    }
    return lines.size();
  }

  ManualClock clock;
  std::vector<std::string> lines;
  std::unique_ptr<AutoCheckpoint> checkpointer;
};

}  // namespace

TEST_CASE("Clients: a checkpoint is made one second after the last has gone", "[clients]") {
  CheckpointingServer server;
  server.open();
  server.open();
  server.write(1);
  server.checkpointer->client_closed();
  server.clock.await_idle();
  server.clock.advance(seconds(10));
  CHECK(server.made() == 0);
  server.checkpointer->client_closed();
  CHECK(server.clock.await_deadline() == seconds(1));
  server.clock.advance(milliseconds(999));
  CHECK(server.clock.await_deadline() == milliseconds(1));
  CHECK(server.made() == 0);
  server.clock.advance(milliseconds(1));
  server.clock.await_idle();
  CHECK(server.made() == 1);
  server.checkpointer->finish();
  CHECK(server.made() == 1);
}

TEST_CASE("Clients: one that comes back within the grace goes on with its session", "[clients]") {
  CheckpointingServer server;
  server.open();
  server.write(1);
  server.checkpointer->client_closed();
  CHECK(server.clock.await_deadline() == seconds(1));
  server.clock.advance(milliseconds(500));
  const Disk* disk = &server.overlay->disk();
  server.open();
  server.clock.await_idle();
  server.clock.advance(seconds(10));
  server.clock.await_idle();
  CHECK(server.made() == 0);
  CHECK(&server.overlay->disk() == disk);
  server.write(2);
  // The second begins anew.
  server.checkpointer->client_closed();
  CHECK(server.clock.await_deadline() == seconds(1));
  server.clock.advance(seconds(1));
  server.clock.await_idle();
  CHECK(server.made() == 1);
}

TEST_CASE("Clients: at the end a checkpoint that is due is made at once, and once", "[clients]") {
  CheckpointingServer server;
  server.open();
  server.write(1);
  server.checkpointer->client_closed();
  server.clock.await_deadline();
  server.checkpointer->finish();
  CHECK(server.made() == 1);
  server.clock.advance(seconds(10));
  server.checkpointer.reset();
  CHECK(server.made() == 1);
  expect_success(server.overlay->open(Access::kReadOnly));
  CHECK(read_range(server.overlay->disk(), kLabelOffset, 8) == pattern(1, 8));
  expect_success(server.overlay->close());
}

TEST_CASE("Clients: a session that was left is layered without a client", "[clients]") {
  CheckpointingServer server;
  server.restart_with_session(1, LeftSession::kLayer);
  CHECK(server.clock.await_deadline() == seconds(1));
  CHECK(server.made() == 0);
  server.clock.advance(seconds(1));
  server.clock.await_idle();
  CHECK(server.made() == 1);
  // There is none any more.
  server.checkpointer->finish();
  CHECK(server.made() == 1);
  server.restart();
  CHECK_FALSE(value_of(server.overlay->has_left_session()));
  expect_success(server.overlay->open(Access::kReadOnly));
  CHECK(server.has_label(1));
}

TEST_CASE("Clients: a session that was left is layered at the end, too", "[clients]") {
  CheckpointingServer server;
  server.restart_with_session(1, LeftSession::kLayer);
  server.checkpointer->finish();
  CHECK(server.made() == 1);
}

TEST_CASE("Clients: a session that was left stays where a server only reads", "[clients]") {
  CheckpointingServer server;
  server.restart_with_session(1, LeftSession::kKeep);
  server.clock.await_idle();
  server.checkpointer->finish();
  CHECK(server.made() == 0);
  // Also where it is only seen by the client that comes.
  server.restart();
  server.start_checkpointer(LeftSession::kLayer);
  server.checkpointer->client_opens();
  expect_success(server.overlay->open(Access::kReadOnly));
  CHECK(server.has_label(1));
  server.checkpointer->client_closed();
  server.clock.await_deadline();
  server.clock.advance(seconds(1));
  server.clock.await_idle();
  server.checkpointer->finish();
  CHECK(server.made() == 0);
  server.restart();
  CHECK(value_of(server.overlay->has_left_session()));
}

TEST_CASE("Clients: a session that was left goes on with a client that comes", "[clients]") {
  CheckpointingServer server;
  server.restart_with_session(1, LeftSession::kLayer);
  server.clock.await_deadline();
  server.open();
  CHECK(server.has_label(1));
  server.write(2);
  server.clock.await_idle();
  server.clock.advance(seconds(10));
  server.clock.await_idle();
  CHECK(server.made() == 0);
  server.checkpointer->client_closed();
  server.checkpointer->finish();
  CHECK(server.made() == 1);
}
