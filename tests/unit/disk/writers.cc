// SPDX-License-Identifier: BSD-3-Clause
//
// Which client may write when there are several.
#include "overlay/service/writers.h"

#include <atomic>
#include <set>
#include <thread>

#include "tests/unit/support/expect.h"
#include "tests/unit/support/manual_clock.h"

using namespace unionfs;
using namespace unionfs::testing;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

using Connection = std::unique_ptr<Writers::Connection>;

// Processes by letters; the test says which are gone, and moves the time.
struct Door {
  Connection open(const std::string& name) { return writers.open({name, "client " + name, 1, 1}); }
  bool may_change(const Connection& connection) { return writers.may_change(*connection); }
  void close(Connection& connection) { writers.close(std::move(connection)); }

  // What runs beside the test, which waits for the end of another's claim.
  template <typename Action>
  std::thread waiting(Action action) {
    return std::thread(std::move(action));
  }
  // Of a client that waits these times, one after the other, for a claim that stays.
  Connection open_in_vain(const std::string& name, std::initializer_list<milliseconds> waits) {
    Connection connection;
    std::thread thread = waiting([&] { connection = open(name); });
    for (const milliseconds wait : waits) {
      pass(wait);
    }
    thread.join();
    return connection;
  }
  void pass(milliseconds time) {
    CHECK(clock.await_deadline() == time);
    clock.advance(time);
  }
  size_t lines() {
    const std::lock_guard<std::mutex> guard(mutex);
    return log.size();
  }

  ManualClock clock;
  std::mutex mutex;
  std::vector<std::string> log;  // guarded by mutex
  std::set<std::string> gone;    // not changed while somebody waits
  Writers writers{[this](const Peer& peer) { return gone.count(peer.key) != 0; },
                  [this](const std::string& line) {
                    const std::lock_guard<std::mutex> guard(mutex);
                    log.push_back(line);
                  },
                  milliseconds(3000), clock};
};

}  // namespace

TEST_CASE("Writers: until somebody writes everybody may", "[writers]") {
  Door door;
  Connection a = door.open("a");
  Connection look = door.open("look");
  CHECK_FALSE(look->is_read_only());
  door.close(look);
  Connection b = door.open("b");
  CHECK_FALSE(b->is_read_only());
  CHECK(door.may_change(b));
  CHECK(door.may_change(b));
  CHECK(door.lines() == 0);
  door.close(a);
  door.close(b);
}

TEST_CASE("Writers: a client's connections are one writer", "[writers]") {
  Door door;
  Connection first = door.open("a");
  CHECK(door.may_change(first));
  Connection second = door.open("a");
  CHECK_FALSE(second->is_read_only());
  CHECK(door.may_change(second));
  // The claim does not end with the connection that made it.
  door.close(first);
  Connection other = door.open_in_vain("b", {milliseconds(500)});
  CHECK(other->is_read_only());
  CHECK(door.may_change(second));
  door.close(second);
  door.close(other);
}

TEST_CASE("Writers: others get an export to read, and the log names both", "[writers]") {
  Door door;
  Connection a = door.open("a");
  CHECK(door.may_change(a));
  Connection b = door.open_in_vain("b", {milliseconds(500)});
  CHECK(b->is_read_only());
  REQUIRE(door.lines() == 1);
  CHECK_THAT(door.log[0], Catch::Contains("client b") && Catch::Contains("client a") &&
                              Catch::Contains("read-only"));
  door.close(b);
  // Nothing is left of the claim when the writer has gone.
  door.close(a);
  b = door.open("b");
  CHECK_FALSE(b->is_read_only());
  CHECK(door.may_change(b));
  CHECK(door.lines() == 1);
  door.close(b);
}

TEST_CASE("Writers: one that was open already is refused, in one line", "[writers]") {
  Door door;
  Connection a = door.open("a");
  Connection b = door.open("b");
  CHECK(door.may_change(a));
  bool may_b = true;
  std::thread thread = door.waiting([&] { may_b = door.may_change(b); });
  door.pass(milliseconds(500));
  thread.join();
  CHECK_FALSE(may_b);
  // From now on without waiting.
  CHECK_FALSE(door.may_change(b));
  REQUIRE(door.lines() == 1);
  CHECK_THAT(door.log[0], Catch::Contains("client b may not write") && Catch::Contains("client a"));
  CHECK(door.may_change(a));
  door.close(a);
  // What it knows of the disk is old.
  CHECK_FALSE(door.may_change(b));
  door.close(b);
  b = door.open("b");
  CHECK(door.may_change(b));
  door.close(b);
}

TEST_CASE("Writers: the close of one that lives is waited for a moment", "[writers]") {
  Door door;
  Connection a = door.open("a");
  CHECK(door.may_change(a));
  Connection b;
  std::thread thread = door.waiting([&] { b = door.open("b"); });
  CHECK(door.clock.await_deadline() == milliseconds(500));
  door.clock.advance(milliseconds(499));
  door.close(a);
  thread.join();
  CHECK_FALSE(b->is_read_only());
  CHECK(door.lines() == 0);
  door.close(b);
}

TEST_CASE("Writers: a killed client that comes back waits for its old connection", "[writers]") {
  Door door;
  Connection a = door.open("a");
  CHECK(door.may_change(a));
  door.gone.insert("a");
  Connection again;
  std::thread thread = door.waiting([&] { again = door.open("b"); });
  door.pass(milliseconds(500));
  // A request of the dead client is still at work.
  CHECK(door.clock.await_deadline() == milliseconds(4500));
  door.clock.advance(milliseconds(2500));
  door.close(a);
  thread.join();
  CHECK_FALSE(again->is_read_only());
  CHECK(door.may_change(again));
  CHECK(door.lines() == 0);
  door.close(again);
}

TEST_CASE("Writers: a dead process with an open connection is a mounted disk", "[writers]") {
  Door door;
  Connection a = door.open("a");
  CHECK(door.may_change(a));
  door.gone.insert("a");
  Connection b = door.open_in_vain("b", {milliseconds(500), milliseconds(4500)});
  CHECK(b->is_read_only());
  CHECK(door.may_change(a));
  door.close(b);
  door.close(a);
}

TEST_CASE("Writers: who waits finds the next writer, too", "[writers]") {
  Door door;
  Connection a = door.open("a");
  Connection c = door.open("c");
  CHECK(door.may_change(a));
  Connection b;
  std::thread thread = door.waiting([&] { b = door.open("b"); });
  CHECK(door.clock.await_deadline() == milliseconds(500));
  door.close(a);
  thread.join();
  CHECK_FALSE(b->is_read_only());
  CHECK(door.may_change(c));
  bool may_b = true;
  thread = door.waiting([&] { may_b = door.may_change(b); });
  door.pass(milliseconds(500));
  thread.join();
  CHECK_FALSE(may_b);
  door.close(b);
  door.close(c);
}

TEST_CASE("Writers: of many that write first one wins", "[writers]") {
  Door door;
  constexpr int kClients = 8;
  std::vector<Connection> connections;
  for (int number = 0; number < kClients; ++number) {
    connections.push_back(door.open(std::to_string(number)));
  }
  std::atomic<int> writers{0};
  std::atomic<int> answers{0};
  std::vector<std::thread> threads;
  for (Connection& connection : connections) {
    threads.emplace_back([&] {
      writers += door.may_change(connection) ? 1 : 0;
      ++answers;
    });
  }
  while (answers < kClients) {
    door.clock.advance(milliseconds(100));
    std::this_thread::yield();
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  CHECK(writers == 1);
  CHECK(door.lines() == kClients - 1);
  for (Connection& connection : connections) {
    door.close(connection);
  }
}
