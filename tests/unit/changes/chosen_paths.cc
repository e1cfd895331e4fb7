// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/changes/chosen_paths.h"

#include "tests/unit/support/expect.h"
#include "tests/unit/support/open_image.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

ChosenPaths chosen(const std::vector<std::string>& paths) {
  return value_of(ChosenPaths::parse(paths));
}

Change at(std::string path, std::string from = "") {
  Change change;
  change.kind = from.empty() ? ChangeKind::kModified : ChangeKind::kRenamed;
  change.path = std::move(path);
  change.from = std::move(from);
  return change;
}

}  // namespace

TEST_CASE("no path and the root choose everything", "[chosen_paths]") {
  for (const auto& paths : {std::vector<std::string>{}, {"/"}, {"."}, {"//"}, {"/etc", "/"}}) {
    const ChosenPaths all = chosen(paths);
    CHECK(all.has(at("/")));
    CHECK(all.has(at("/a")));
    CHECK(all.has(at("/a/b", "/c")));
  }
}

TEST_CASE("a path chooses itself and what is below, by whole components", "[chosen_paths]") {
  for (const char* path : {"/etc/ssl", "etc/ssl", "//etc//ssl/", "/etc/./ssl/."}) {
    const ChosenPaths paths = chosen({path, "/var"});
    CHECK(paths.has(at("/etc/ssl")));
    CHECK(paths.has(at("/etc/ssl/certs/a")));
    CHECK(paths.has(at("/var/log")));
    CHECK_FALSE(paths.has(at("/")));
    CHECK_FALSE(paths.has(at("/etc")));
    CHECK_FALSE(paths.has(at("/etc/ssl2")));
    CHECK_FALSE(paths.has(at("/etc/ss")));
    CHECK_FALSE(paths.has(at("/usr/etc/ssl")));
  }
}

TEST_CASE("a renamed name is chosen by its old and by its new path", "[chosen_paths]") {
  const ChosenPaths paths = chosen({"/a"});
  CHECK(paths.has(at("/b/x", "/a/x")));
  CHECK(paths.has(at("/a/x", "/b/x")));
  CHECK_FALSE(paths.has(at("/b/x", "/c/x")));
}

TEST_CASE("a change is a part of the path next above it", "[chosen_paths]") {
  CHECK(chosen({}).part_of(at("/")) == "/");
  CHECK(chosen({}).part_of(at("/usr")) == "/usr");
  CHECK(chosen({}).part_of(at("/usr/bin/ls")) == "/usr");
  const ChosenPaths nested = chosen({"/usr", "/usr/share/doc"});
  CHECK(nested.part_of(at("/usr")) == "/usr");
  CHECK(nested.part_of(at("/usr/bin/ls")) == "/usr/bin");
  CHECK(nested.part_of(at("/usr/share/doc")) == "/usr/share/doc");
  CHECK(nested.part_of(at("/usr/share/doc/x/y")) == "/usr/share/doc/x");
  CHECK(nested.part_of(at("/opt/x", "/usr/lib/x")) == "/usr/lib");
}

TEST_CASE("paths that name nothing are refused", "[chosen_paths]") {
  CHECK(expect_error(ChosenPaths::parse({"/a", ""}), {"empty"}) == ErrorKind::kInvalid);
  CHECK(expect_error(ChosenPaths::parse({"/a/../b"}), {"/a/../b"}) == ErrorKind::kInvalid);
  CHECK(ChosenPaths::parse({"/a/..b"}));
}

TEST_CASE("a path must be in one of the two images", "[chosen_paths]") {
  const RealImage before(4096, {});
  before.change({"mkdir old", "mkdir old/below", "symlink link old"});
  const RealImage after(4096, {});
  after.change({"mkdir new"});
  const OpenImage lower(before.load());
  const OpenImage merged(after.load());
  const auto present = [&](const std::vector<std::string>& paths) {
    return chosen(paths).check_present(lower.volume, merged.volume);
  };
  expect_success(present({}));
  expect_success(present({"/old/below", "/new", "/link"}));
  CHECK(expect_error(present({"/new", "/old/other"}),
                     {"\"/old/other\": no such path in lower.img"}) == ErrorKind::kInvalid);
  CHECK(expect_error(present({"/link/below"}), {"\"/link/below\": no such path"}) ==
        ErrorKind::kInvalid);
}
