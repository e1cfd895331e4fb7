// SPDX-License-Identifier: BSD-3-Clause
//
// Clients that come and go, one after another, over files of the host: what the server
// does between them.
#include <atomic>
#include <thread>

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
    options.level_paths = {small_image(kBlock).path()};
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

namespace {

// A server that makes a checkpoint only when it is asked for one.
struct AskedServer : CheckpointingServer {
  AskedServer() { restart_asked(); }

  void restart_asked() {
    checkpointer.reset();
    restart();
    checkpointer = std::make_unique<AutoCheckpoint>(
        *overlay, [this](const std::string& line) { lines.push_back(line); },
        [](const std::string&) {}, clock);
    checkpointer->start(LeftSession::kLayer, CheckpointsWhen::kAsked);
  }
  // Whether a checkpoint was made.
  bool asks() {
    const AskedCheckpoint asked = checkpointer->ask();
    if (!asked.result) {
      FAIL(describe(asked.result.error()));
    }
    return asked.result->has_value();
  }
};

}  // namespace

TEST_CASE("Clients: a checkpoint that is asked for is made when nobody is there", "[clients]") {
  AskedServer server;
  CHECK_FALSE(server.asks());
  server.open();
  server.open();
  server.write(1);
  CHECK(server.checkpointer->ask().clients == 2);
  server.checkpointer->client_closed();
  CHECK(server.checkpointer->client_count() == 1);
  CHECK(server.checkpointer->ask().clients == 1);
  server.checkpointer->client_closed();
  CHECK(server.made() == 0);
  CHECK(server.asks());
  CHECK(server.made() == 1);
  CHECK_FALSE(server.asks());
  CHECK(server.checkpointer->counts().made == 1);
  CHECK(server.checkpointer->counts().refused == 0);
  // By itself it makes none.
  server.open();
  server.write(2);
  server.checkpointer->client_closed();
  server.checkpointer->finish();
  CHECK(server.made() == 1);
  // What was left is made a layer, too.
  server.restart_asked();
  CHECK(server.asks());
  CHECK(server.made() == 2);
}

TEST_CASE("Clients: a checkpoint that is asked for and refused is counted", "[clients]") {
  AskedServer server;
  server.open();
  // The magic number: this is no file system any more.
  expect_success(server.overlay->disk().write(ext2::kSuperblockOffsetBytes + 56, pattern(1, 2)));
  server.checkpointer->client_closed();
  const AskedCheckpoint asked = server.checkpointer->ask();
  CHECK(asked.clients == 0);
  REQUIRE_FALSE(asked.result);
  CHECK(server.checkpointer->counts().made == 0);
  CHECK(server.checkpointer->counts().refused == 1);
  CHECK(server.lines.size() == 1);
}

TEST_CASE("Clients: a session is seen and flushed from beside", "[clients]") {
  AskedServer server;
  const OverlayFacts before = server.overlay->facts();
  CHECK(before.size_bytes == server.overlay->size_bytes());
  CHECK(before.block_size_bytes == kBlock);
  CHECK_FALSE(before.session);
  CHECK_FALSE(before.upper);
  expect_success(server.overlay->flush());
  server.open();
  server.write(1);
  const OverlayFacts written = server.overlay->facts();
  REQUIRE(written.session);
  CHECK(written.session->blocks == 1);
  CHECK(written.session->bitmap_pages == 1);
  REQUIRE(written.upper);
  CHECK(written.upper->used_bytes > 0);
  CHECK(written.upper->free_bytes > 0);
  CHECK_FALSE(written.has_failed);
  expect_success(server.overlay->flush());
  server.checkpointer->client_closed();
  CHECK(server.asks());
  const OverlayFacts layered = server.overlay->facts();
  CHECK_FALSE(layered.session);
  CHECK(layered.upper);
  server.open();
  CHECK(server.overlay->facts().session->blocks == 0);
  server.checkpointer->client_closed();
}

TEST_CASE("Clients: looks and flushes from beside meet checkpoints and clients", "[clients]") {
  AskedServer server;
  std::atomic<bool> is_over{false};
  std::atomic<int> failures{0};
  std::thread looking([&] {
    while (!is_over.load()) {
      (void)server.overlay->facts();
      (void)server.checkpointer->counts();
    }
  });
  std::thread flushing([&] {
    while (!is_over.load()) {
      failures += server.overlay->flush() ? 0 : 1;
    }
  });
  for (uint64_t round = 1; round <= 5; ++round) {
    server.open();
    server.write(round);
    server.checkpointer->client_closed();
    CHECK(server.asks());
  }
  is_over.store(true);
  looking.join();
  flushing.join();
  CHECK(failures.load() == 0);
  CHECK(server.made() == 5);
}
