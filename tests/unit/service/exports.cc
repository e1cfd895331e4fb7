// SPDX-License-Identifier: BSD-3-Clause
//
// Many disks of one server: who gets which, what stays when one of them fails, and when they are
// closed.
#include "overlay/service/exports.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "tests/unit/support/many_disks.h"

using namespace unionfs;
using namespace unionfs::testing;
using std::chrono::seconds;

TEST_CASE("Exports: a file appears at the first write", "[exports]") {
  ManyDisks disks;
  ClientPointer looking = disks.open("anna");
  ClientPointer other = disks.open("bert");
  CHECK(looking->disk.size_bytes() == small_merged_size(kBlock));
  const std::vector<std::byte> before = ManyDisks::whole(looking);
  CHECK_FALSE(disks.has_file("anna"));
  CHECK(value_of(disks.exports->list()).empty());

  expect_success(ManyDisks::write(looking, 1));
  CHECK(disks.has_file("anna"));
  CHECK_FALSE(disks.has_file("bert"));
  CHECK(value_of(disks.exports->list()) == std::vector<std::string>{"anna"});
  std::vector<std::byte> wanted = before;
  const std::vector<std::byte> written = pattern(1, kBlock);
  std::copy(written.begin(), written.end(), wanted.begin() + static_cast<ptrdiff_t>(place()));
  CHECK((ManyDisks::whole(looking) == wanted));
  CHECK((ManyDisks::whole(other) == before));

  disks.exports->close(std::move(looking));
  disks.exports->close(std::move(other));
  CHECK(disks.exports->facts().size() == 1);  // bert has left nothing
}

TEST_CASE("Exports: who came before the first write sees it", "[exports]") {
  ManyDisks disks;
  ClientPointer writer = disks.open("anna", "a");
  ClientPointer reader = disks.open("anna", "b");
  expect_success(ManyDisks::write(writer, 1));
  CHECK(ManyDisks::shows(reader, 1));
  CHECK_FALSE(ManyDisks::write(reader, 2).has_value());
  expect_success(ManyDisks::write(writer, 3));
  CHECK(ManyDisks::shows(reader, 3));
  disks.exports->close(std::move(writer));
  disks.exports->close(std::move(reader));
}

TEST_CASE("Exports: an upper that appears under a client is not taken for its own", "[exports]") {
  ManyDisks disks;
  ClientPointer client = disks.open("anna");
  ClientPointer other = disks.open("bert");
  write_file(disks.path("anna"), "somebody else's");
  CHECK(expect_error(ManyDisks::write(client, 1), {"anna.img", "is there already"}) ==
        ErrorKind::kSystem);
  expect_success(ManyDisks::write(other, 2));
  std::filesystem::remove(disks.path("anna"));
  expect_success(ManyDisks::write(client, 1));
  CHECK(ManyDisks::shows(client, 1));
  disks.exports->close(std::move(client));
  disks.exports->close(std::move(other));
}

TEST_CASE("Exports: a disk is checkpointed and then closed when nobody has it", "[exports]") {
  ManyDisks disks;
  ClientPointer client = disks.open("anna");
  ClientPointer other = disks.open("bert");
  expect_success(ManyDisks::write(client, 1));
  disks.exports->close(std::move(client));
  disks.clock.advance(seconds(1));
  ManyDisks::await([&] { return disks.log.has("anna.img: checkpoint made"); });
  CHECK(expect_error(PosixFile::open(disks.path("anna"), FileLock::kExclusive), {"in use"}) ==
        ErrorKind::kSystem);
  disks.clock.advance(seconds(1));
  CHECK(disks.exports->facts().size() == 2);
  ManyDisks::await([&] {
    disks.clock.advance(seconds(1));
    return disks.exports->facts().size() == 1;
  });
  // It counts as closed when that begins.
  ManyDisks::await(
      [&] { return PosixFile::open(disks.path("anna"), FileLock::kExclusive).has_value(); });

  client = disks.open("anna");
  CHECK(ManyDisks::shows(client, 1));
  disks.exports->close(std::move(client));
  disks.exports->close(std::move(other));
}

TEST_CASE("Exports: a client that comes back keeps its disk open", "[exports]") {
  ManyDisks disks;
  ClientPointer client = disks.open("anna");
  expect_success(ManyDisks::write(client, 1));
  disks.exports->close(std::move(client));
  client = disks.open("anna");
  disks.clock.advance(seconds(100));
  CHECK(ManyDisks::shows(client, 1));
  CHECK_FALSE(disks.log.has("checkpoint made"));
  disks.exports->close(std::move(client));
  disks.exports->finish();
  CHECK(disks.log.has("anna.img: checkpoint made"));
}

TEST_CASE("Exports: a failed sync marks one disk, which is opened anew", "[exports]") {
  ManyDisks disks;
  ClientPointer sick = disks.open("sick");
  ClientPointer other = disks.open("bert");
  expect_success(ManyDisks::write(sick, 1));
  expect_success(ManyDisks::write(other, 1));
  expect_success(sick->disk.disk().flush());
  disks.is_sick = true;
  CHECK_FALSE(sick->disk.disk().flush().has_value());
  CHECK_FALSE(ManyDisks::shows(sick, 1));
  CHECK_FALSE(ManyDisks::write(sick, 2).has_value());
  expect_success(ManyDisks::write(other, 2));
  expect_success(other->disk.disk().flush());

  ClientPointer late = disks.open("sick");
  CHECK_FALSE(ManyDisks::shows(late, 1));  // as long as anybody has it
  disks.exports->close(std::move(late));
  disks.exports->close(std::move(sick));
  disks.is_sick = false;
  sick = disks.open("sick");
  CHECK(ManyDisks::shows(sick, 1));
  expect_success(ManyDisks::write(sick, 3));
  expect_success(sick->disk.disk().flush());
  CHECK(ManyDisks::shows(other, 2));
  disks.exports->close(std::move(sick));
  disks.exports->close(std::move(other));
}

TEST_CASE("Exports: after a failure the next client tries", "[exports]") {
  ManyDisks disks;
  write_file(disks.path("anna"), "no upper");
  CHECK_FALSE(disks.try_open("anna").has_value());
  CHECK_FALSE(disks.try_open("anna").has_value());
  CHECK(disks.exports->facts().empty());
  std::filesystem::remove(disks.path("anna"));
  ClientPointer client = disks.open("anna");
  expect_success(ManyDisks::write(client, 1));
  disks.exports->close(std::move(client));
}

TEST_CASE("Exports: only regular files of the directory are uppers", "[exports]") {
  ManyDisks disks;
  ClientPointer client = disks.open("anna");
  expect_success(ManyDisks::write(client, 1));
  disks.exports->close(std::move(client));
  disks.close_all();
  std::filesystem::create_symlink(disks.path("anna"), disks.path("link"));
  std::filesystem::create_symlink("nowhere", disks.path("dangling"));
  std::filesystem::create_directory(disks.path("folder"));
  REQUIRE(::mkfifo(disks.path("pipe").c_str(), 0600) == 0);
  for (const char* name : {"link", "dangling", "folder", "pipe"}) {
    CHECK(expect_error(disks.try_open(name), {name, "regular file"}) == ErrorKind::kInvalid);
  }
  CHECK(expect_error(disks.try_open("sub/anna"), {"slash"}) == ErrorKind::kInvalid);
  CHECK(value_of(disks.exports->list()) == std::vector<std::string>{"anna"});
}

TEST_CASE("Exports: what is not to be created, or is too many, is refused", "[exports]") {
  ManyDisks disks([](ExportsOptions& options) { options.max_exports = 2; });
  ClientPointer anna = disks.open("anna");
  ClientPointer bert = disks.open("bert");
  expect_success(ManyDisks::write(anna, 1));
  CHECK(expect_error(disks.try_open("carl"), {"max-exports=2"}) == ErrorKind::kSystem);
  disks.exports->close(std::move(bert));
  disks.exports->close(disks.open("carl"));
  disks.exports->close(std::move(anna));

  ManyDisks existing([](ExportsOptions& options) { options.may_create = false; });
  CHECK(expect_error(existing.try_open("anna"), {"create=no"}) == ErrorKind::kSystem);
  CHECK_FALSE(existing.has_file("anna"));
}

TEST_CASE("Exports: what others put into the directory is counted a second later", "[exports]") {
  ManyDisks disks([](ExportsOptions& options) { options.max_exports = 3; });
  disks.exports->close(disks.open("anna"));
  for (const char* name : {"x", "y", "z"}) {
    write_file(disks.path(name), "somebody else's");
  }
  disks.exports->close(disks.open("bert"));
  disks.clock.advance(seconds(1));
  CHECK(expect_error(disks.try_open("carl"), {"max-exports=3"}) == ErrorKind::kSystem);
  std::filesystem::remove(disks.path("x"));
  disks.exports->close(disks.open("carl"));  // where it leaves no room, it is counted anew
}

TEST_CASE("Exports: a server that only reads shows what is there, and makes nothing", "[exports]") {
  ManyDisks disks(
      [](ExportsOptions& options) { options.overlay.server_access = Access::kReadOnly; });
  ClientPointer client = value_of(disks.exports->open("anna", Access::kReadOnly, [] {
    return Peer{"a", "a", 1, 1};
  }));
  CHECK(ManyDisks::whole(client).size() == small_merged_size(kBlock));
  CHECK_FALSE(disks.has_file("anna"));
  disks.exports->close(std::move(client));
}

namespace {

// What one of many clients does, round after round; the number of things that went wrong.
uint64_t live(ManyDisks& disks, uint64_t number, std::atomic<uint64_t>& refused) {
  uint64_t wrong = 0;
  const std::vector<std::string> names = {"anna", "bert", "carl", "damaged", "sick"};
  for (uint64_t round = 0; round < 25; ++round) {
    const std::string& name = names[(round + number) % names.size()];
    Result<ClientPointer> client = disks.try_open(name, "client " + std::to_string(number));
    if (!client) {
      refused += name == "damaged" ? 1 : 0;
      wrong += name == "damaged" || name == "sick" ? 0 : 1;
      continue;
    }
    // Somebody else may write there.
    const bool may_change = (*client)->disk.may_change(*(*client)->on_disk);
    const Result<void> written = may_change ? ManyDisks::write(*client, number) : Result<void>();
    const bool is_well = written.has_value() && (*client)->disk.disk().flush().has_value() &&
                         (!may_change || ManyDisks::shows(*client, number));
    wrong += is_well || name == "sick" ? 0 : 1;
    disks.exports->close(std::move(*client));
    if (round % 7 == number % 7) {
      disks.clock.advance(seconds(round % 2 == 0 ? 1 : 61));
    }
  }
  return wrong;
}

}  // namespace

TEST_CASE("Exports: many clients of many disks, two of which fail", "[exports]") {
  constexpr uint64_t kClients = 8;
  ManyDisks disks;
  write_file(disks.path("damaged"), "no upper");
  disks.is_sick = true;
  std::atomic<uint64_t> wrong{0};
  std::atomic<uint64_t> refused{0};
  std::vector<std::thread> clients;
  for (uint64_t number = 0; number < kClients; ++number) {
    clients.emplace_back([&, number] { wrong += live(disks, number, refused); });
  }
  for (std::thread& client : clients) {
    client.join();
  }
  CHECK(wrong == 0);
  CHECK(refused == kClients * 5);
  disks.is_sick = false;
  disks.close_all();
  for (const char* name : {"anna", "bert", "carl"}) {
    value_of(PosixFile::open(disks.path(name), FileLock::kExclusive));
  }
}

TEST_CASE("Exports: quiet sessions of all disks are flushed", "[exports]") {
  ManyDisks disks;
  std::vector<ClientPointer> clients;
  for (const char* name : {"anna", "bert", "sick"}) {
    clients.push_back(disks.open(name));
    expect_success(ManyDisks::write(clients.back(), 1));
  }
  disks.is_sick = true;  // so the flush shows
  ManyDisks::await([&] {
    disks.clock.advance(seconds(2));
    return disks.log.has("every request fails until a restart");
  });
  expect_success(ManyDisks::write(clients.front(), 2));
  CHECK_FALSE(ManyDisks::write(clients.back(), 2).has_value());
  for (ClientPointer& client : clients) {
    disks.exports->close(std::move(client));
  }
}
