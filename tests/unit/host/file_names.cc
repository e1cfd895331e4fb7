// SPDX-License-Identifier: BSD-3-Clause
//
// A new file takes the name of an old one, and the old one is kept.
#include "overlay/host/file_names.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <fstream>

#include "tests/unit/support/expect.h"
#include "tests/unit/support/real_image.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

namespace fs = std::filesystem;

std::string content_of(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A directory with the file "image" in it, which is open.
struct Room {
  Room() {
    write_file(path, "old");
    old = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    REQUIRE(old != -1);
  }
  ~Room() { ::close(old); }
  Room(const Room&) = delete;
  Room& operator=(const Room&) = delete;

  Result<std::string> replace(KeepWay way) {
    hidden = value_of(choose_hidden_path(path));
    write_file(hidden, "new");
    return replace_and_keep(hidden, path, old, way, kBeforeImport);
  }
  std::string kept(const std::string& end = "") const { return path + ".before-import" + end; }
  size_t names() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(scratch.path()), {}));
  }

  ScratchDirectory scratch;
  std::string path = scratch.path() / "image";
  std::string hidden;
  int old = -1;
};

}  // namespace

TEST_CASE("File names: the old file is kept, in both ways", "[file_names]") {
  for (const KeepWay way : {KeepWay::kLink, KeepWay::kExchange}) {
    Room room;
    CHECK(value_of(room.replace(way)) == room.kept());
    CHECK(room.hidden.empty());
    CHECK(content_of(room.path) == "new");
    CHECK(content_of(room.kept()) == "old");
    CHECK(fs::hard_link_count(room.kept()) == 1);
    CHECK(room.names() == 2);
  }
}

TEST_CASE("File names: what others have kept stays", "[file_names]") {
  for (const KeepWay way : {KeepWay::kLink, KeepWay::kExchange}) {
    Room room;
    write_file(room.kept(), "another");
    fs::create_symlink("nowhere", room.kept(".2"));
    CHECK(value_of(room.replace(way)) == room.kept(".3"));
    CHECK(content_of(room.kept()) == "another");
    CHECK(content_of(room.kept(".3")) == "old");
  }
}

TEST_CASE("File names: a try that died behind its link goes on", "[file_names]") {
  Room room;
  write_file(room.kept(), "another");
  fs::create_hard_link(room.path, room.kept(".2"));
  (void)value_of(find_keep_way(room.path, kBeforeImport));
  CHECK(value_of(room.replace(KeepWay::kLink)) == room.kept(".2"));
  CHECK(content_of(room.path) == "new");
  CHECK(content_of(room.kept(".2")) == "old");
  CHECK(room.names() == 3);
}

TEST_CASE("File names: when all names are taken nothing happens", "[file_names]") {
  Room room;
  write_file(room.kept(), "another");
  for (int number = 2; number <= 99; ++number) {
    write_file(room.kept("." + std::to_string(number)), "another");
  }
  expect_error(find_keep_way(room.path, kBeforeImport), {"image", "before-import.99", "taken"});
  expect_error(room.replace(KeepWay::kLink), {"image", "taken"});
  CHECK(content_of(room.path) == "old");
  CHECK(content_of(room.hidden) == "new");
  fs::remove(room.kept(".57"));
  (void)value_of(find_keep_way(room.path, kBeforeImport));
  CHECK(value_of(room.replace(KeepWay::kLink)) == room.kept(".57"));
}

TEST_CASE("File names: finding the way leaves nothing", "[file_names]") {
  Room room;
  CHECK((value_of(find_keep_way(room.path, kBeforeImport)) == KeepWay::kLink));
  CHECK(room.names() == 1);
  const std::string long_name = room.scratch.path() / std::string(250, 'x');
  write_file(long_name, "old");
  expect_error(find_keep_way(long_name, kBeforeImport),
               {"cannot keep it as", "File name too long"});
}

TEST_CASE("File names: what may have only one name is refused when that is taken", "[file_names]") {
  Room room;
  write_file(room.path + ".before-rebase", "another");
  expect_error(find_keep_way(room.path, kBeforeRebase), {"image", "before-rebase is taken"});
  room.hidden = value_of(choose_hidden_path(room.path, "rebase"));
  write_file(room.hidden, "new");
  expect_error(replace_and_keep(room.hidden, room.path, room.old, KeepWay::kLink, kBeforeRebase),
               {"image", "before-rebase is taken"});
  CHECK(content_of(room.path) == "old");
  CHECK(content_of(room.path + ".before-rebase") == "another");
}

TEST_CASE("File names: what is replaced without being kept is gone", "[file_names]") {
  Room room;
  room.hidden = value_of(choose_hidden_path(room.path));
  write_file(room.hidden, "new");
  expect_success(replace_without_keeping(room.hidden, room.path));
  CHECK(room.hidden.empty());
  CHECK(content_of(room.path) == "new");
  CHECK(room.names() == 1);
}

TEST_CASE("File names: leftovers of one purpose are removed, unless they are in use",
          "[file_names]") {
  Room room;
  const std::string left = value_of(choose_hidden_path(room.path, "rebase"));
  const std::string used = value_of(choose_hidden_path(room.path, "rebase"));
  const std::string other = value_of(choose_hidden_path(room.path));
  const std::string linked = left.substr(0, left.size() - 1) + (left.back() == '0' ? "1" : "0");
  for (const std::string& name : {left, used, other, left + "0", room.path + ".rebase-0123"}) {
    write_file(name, "left");
  }
  fs::create_symlink(room.path, linked);
  const int descriptor = ::open(used.c_str(), O_RDONLY | O_CLOEXEC);
  REQUIRE(::flock(descriptor, LOCK_EX | LOCK_NB) == 0);
  expect_success(remove_leftovers(room.path, "rebase"));
  CHECK_FALSE(fs::exists(left));
  CHECK(fs::exists(used));
  CHECK(fs::exists(other));
  CHECK(fs::exists(left + "0"));
  CHECK(fs::is_symlink(linked));
  CHECK(fs::exists(room.path));
  ::close(descriptor);
  expect_success(remove_leftovers(room.path, "rebase"));
  CHECK_FALSE(fs::exists(used));
}
