// SPDX-License-Identifier: BSD-3-Clause
//
// What is asked of exports, and done with them, by who is no client of theirs.
#include <thread>

#include "tests/unit/support/many_disks.h"

using namespace unionfs;
using namespace unionfs::testing;
using std::chrono::seconds;

namespace {

constexpr auto kBeside = Exports::Visit::kBeside;
constexpr auto kAsClient = Exports::Visit::kAsClient;

void do_nothing(ServedDisk&) {}
void see_nothing(const Overlay&) {}

uint64_t flushed_count(Exports& exports) {
  const FlushedExports flushed = exports.flush_all();
  expect_success(flushed.result);
  return flushed.count;
}

}  // namespace

TEST_CASE("Exports: only what is open is told of, and visited", "[exports]") {
  ManyDisks disks;
  Exports& exports = *disks.exports;
  disks.exports->close(disks.open("anna"));  // it has left nothing
  for (const char* name : {"anna", "none"}) {
    const auto facts = exports.facts_of(name, see_nothing);
    CHECK(expect_error(facts, {"there is no export", name}) == ErrorKind::kSystem);
    CHECK(facts.error().error_number == ENOENT);
    CHECK(exports.visit(name, kBeside, do_nothing).error().error_number == ENOENT);
  }
  CHECK(expect_error(exports.visit("a/b", kBeside, do_nothing), {"slash"}) == ErrorKind::kInvalid);
  CHECK(expect_error(exports.facts_of("", see_nothing), {}) == ErrorKind::kInvalid);

  ClientPointer client = disks.open("anna");
  expect_success(ManyDisks::write(client, 1));
  bool was_there = false;
  expect_success(exports.visit("anna", kBeside,
                               [&](ServedDisk& disk) { was_there = &disk == &client->disk; }));
  CHECK(was_there);
  CHECK(value_of(exports.facts_of("anna", see_nothing)).clients == 1);
  disks.exports->close(std::move(client));
  disks.close_all();
  const Result<void> closed = exports.visit("anna", kBeside, do_nothing);
  CHECK(expect_error(closed, {"anna", "is not open"}) == ErrorKind::kSystem);
  CHECK(closed.error().error_number == EBUSY);
}

TEST_CASE("Exports: a visitor keeps an export open, and what was due is done then", "[exports]") {
  ManyDisks disks;
  ClientPointer looking = disks.open("bert");
  expect_success(disks.exports->visit("bert", kBeside, [&](ServedDisk& disk) {
    disks.exports->close(std::move(looking));  // would be closed at once
    CHECK(disks.exports->facts().size() == 1);
    CHECK(disks.exports->facts().front().clients == 0);
    CHECK_FALSE(disk.has_upper());
  }));
  CHECK(disks.exports->facts().empty());

  ClientPointer client = disks.open("anna");
  expect_success(ManyDisks::write(client, 1));
  expect_success(disks.exports->visit("anna", kBeside, [&](ServedDisk& disk) {
    disks.exports->close(std::move(client));
    disks.clock.advance(seconds(1));
    disks.clock.advance(seconds(200));
    CHECK(disk.has_upper());
    CHECK(disks.exports->facts().size() == 1);
  }));
  disks.close_all();
  CHECK(disks.log.has("anna.img: checkpoint made"));
}

TEST_CASE("Exports: a visitor who acts as a client has the checkpoint made later", "[exports]") {
  ManyDisks disks;
  ClientPointer client = disks.open("anna");
  expect_success(ManyDisks::write(client, 1));
  disks.exports->close(std::move(client));
  while (disks.exports->checkpoint_counts().made == 0) {
    disks.clock.advance(seconds(1));
    std::this_thread::yield();
  }
  const auto write = [](ServedDisk& disk) {
    disk.checkpointer()->client_opens();
    expect_success(disk.overlay().open(Access::kReadWrite));
    expect_success(disk.disk().write(place(), pattern(2, kBlock)));
    disk.checkpointer()->client_closed();
  };
  expect_success(disks.exports->visit("anna", kAsClient, write));
  disks.close_all();
  CHECK(disks.exports->checkpoint_counts().made == 2);
}

TEST_CASE("Exports: a visitor who is refused keeps nothing open for long", "[exports]") {
  ManyDisks disks([](ExportsOptions& options) { options.checkpoints_by_itself = false; });
  ClientPointer client = disks.open("anna");
  expect_success(ManyDisks::write(client, 1));
  disks.exports->close(std::move(client));
  const auto visit = [&](Exports::Visit what) {
    disks.clock.advance(Exports::kIdle - seconds(1));
    REQUIRE(disks.exports->facts().size() == 1);
    expect_success(disks.exports->visit("anna", [what](ServedDisk&) { return what; }));
  };
  visit(kAsClient);  // from now on a minute
  visit(Exports::Visit::kStopsCheckpoint);
  disks.clock.advance(seconds(1));
  ManyDisks::await([&] { return disks.exports->facts().empty(); });
}

TEST_CASE("Exports: an export is frozen, and others go on", "[exports]") {
  ManyDisks disks;
  ClientPointer anna = disks.open("anna");
  ClientPointer bert = disks.open("bert");
  expect_success(ManyDisks::write(anna, 1));
  expect_success(ManyDisks::write(bert, 2));
  Result<SnapshotFigures> figures = SnapshotFigures{};
  expect_success(disks.exports->visit("anna", kAsClient, [&](ServedDisk& disk) {
    figures = disk.overlay().snapshot("anna.monday");
  }));
  REQUIRE(figures.has_value());
  expect_success(ManyDisks::write(anna, 3));
  CHECK(ManyDisks::shows(anna, 3));
  CHECK(ManyDisks::shows(bert, 2));
  CHECK(value_of(disks.exports->list()) == std::vector<std::string>{"anna", "bert"});
  const std::vector<LevelFacts> levels = anna->disk.overlay().level_facts();
  REQUIRE(levels.size() == 3);
  CHECK(levels[1].kind == LevelKind::kFrozen);
  CHECK(levels[1].name.ends_with("/anna.monday"));
  CHECK(bert->disk.overlay().level_facts().size() == 2);
  disks.exports->close(std::move(anna));
  disks.exports->close(std::move(bert));
  disks.close_all();
  anna = disks.open("anna");
  CHECK(ManyDisks::shows(anna, 3));
  disks.exports->close(std::move(anna));
}

TEST_CASE("Exports: checkpoints are counted, also of what is closed", "[exports]") {
  ManyDisks disks;
  for (const char* name : {"anna", "bert"}) {
    ClientPointer client = disks.open(name);
    expect_success(ManyDisks::write(client, 1));
    disks.exports->close(std::move(client));
  }
  disks.close_all();
  CHECK(disks.exports->checkpoint_counts().made == 2);
  ClientPointer client = disks.open("anna");
  CHECK(value_of(disks.exports->facts_of("anna", see_nothing)).checkpoints.made == 0);
  disks.exports->close(std::move(client));
  disks.exports->finish();
  CHECK(disks.exports->checkpoint_counts().made == 2);
}

TEST_CASE("Exports: where only somebody who asks makes checkpoints, none is made", "[exports]") {
  ManyDisks disks([](ExportsOptions& options) {
    options.checkpoints_by_itself = false;
    options.checkpoints_when_asked = true;
  });
  ClientPointer client = disks.open("anna");
  expect_success(ManyDisks::write(client, 1));
  disks.exports->close(std::move(client));
  disks.clock.advance(seconds(10));
  CHECK(disks.exports->checkpoint_counts().made == 0);
  expect_success(disks.exports->visit("anna", kBeside, [](ServedDisk& disk) {
    CHECK(disk.checkpointer()->ask().result.value().has_value());
  }));
  CHECK(disks.exports->checkpoint_counts().made == 1);
  client = disks.open("anna");
  expect_success(ManyDisks::write(client, 2));
  disks.exports->close(std::move(client));
  disks.exports->finish();
  CHECK(disks.exports->checkpoint_counts().made == 1);
}

TEST_CASE("Exports: all are flushed, and one that cannot be is an error", "[exports]") {
  ManyDisks disks;
  CHECK(flushed_count(*disks.exports) == 0);
  std::vector<ClientPointer> clients;
  for (const char* name : {"anna", "bert", "sick"}) {
    clients.push_back(disks.open(name));
    expect_success(ManyDisks::write(clients.back(), 1));
  }
  clients.push_back(disks.open("empty"));
  CHECK(flushed_count(*disks.exports) == 3);
  for (size_t i = 0; i < 3; ++i) {
    expect_success(ManyDisks::write(clients[i], 2));
  }
  disks.is_sick = true;
  const FlushedExports flushed = disks.exports->flush_all();
  CHECK(expect_error(flushed.result, {"sick.img"}) == ErrorKind::kSystem);
  CHECK(flushed.count == 2);
  expect_success(ManyDisks::write(clients[0], 3));
  for (ClientPointer& client : clients) {
    disks.exports->close(std::move(client));
  }
  expect_error(disks.exports->flush_all().result, {"\"sick\"", "may be lost"});
  CHECK(flushed_count(*disks.exports) == 2);
  CHECK(disks.exports->lost_count() == 1);
}

TEST_CASE("Exports: what a closing has lost is told, whoever opened the export again",
          "[exports]") {
  ManyDisks disks;
  const auto lose = [&] {
    ClientPointer client = disks.open("sick");
    expect_success(ManyDisks::write(client, 1));
    disks.is_sick = true;
    expect_error(client->disk.disk().flush(), {"sick.img"});
    disks.exports->close(std::move(client));
    disks.is_sick = false;
  };
  lose();
  ClientPointer client = disks.open("sick");
  expect_error(disks.exports->flush_all().result, {"\"sick\"", "may be lost"});
  CHECK(flushed_count(*disks.exports) == 1);
  disks.exports->close(std::move(client));
  disks.close_all();
  lose();
  expect_success(disks.exports->take_loss("anna"));
  expect_error(disks.exports->take_loss("sick"), {"\"sick\"", "may be lost"});
  expect_success(disks.exports->take_loss("sick"));
  CHECK(flushed_count(*disks.exports) == 0);
  CHECK(disks.exports->lost_count() == 2);
}

// A client that comes gets a disk that works.
TEST_CASE("Exports: one that fails without clients is opened anew", "[exports]") {
  ManyDisks disks;
  ClientPointer client = disks.open("sick");
  expect_success(ManyDisks::write(client, 1));
  client->traffic.count_write(kBlock, true);
  Overlay& overlay = client->disk.overlay();
  disks.exports->close(std::move(client));
  REQUIRE(disks.exports->facts().size() == 1);
  disks.is_sick = true;
  SECTION("closed by who met it") {
    expect_success(disks.exports->visit("sick", kBeside, [](ServedDisk& disk) {
      expect_error(disk.overlay().flush(), {"sick.img"});
    }));
    CHECK(disks.exports->facts().empty());
  }
  SECTION("or by the client that comes") {
    expect_error(overlay.flush(), {"sick.img"});  // as the flusher would
    REQUIRE(disks.exports->facts().size() == 1);
  }
  disks.is_sick = false;
  client = disks.open("sick");
  CHECK_FALSE(client->disk.overlay().facts().has_failed);
  CHECK(client->traffic.counts().writes == 0);
  expect_success(ManyDisks::write(client, 2));
  CHECK(ManyDisks::shows(client, 2));
  disks.exports->close(std::move(client));
  disks.close_all();
}
