// SPDX-License-Identifier: BSD-3-Clause
//
// The walk over a layer's names: their order, and the paths of deep trees.
#include "overlay/upper/layer_tree.h"

#include <catch2/catch.hpp>

#include "tests/unit/support/expect.h"
#include "tests/unit/support/real_image.h"

namespace unionfs {
namespace {

using namespace unionfs::testing;

struct Visit {
  std::string path;
  uint32_t depth = 0;

  bool operator==(const Visit&) const = default;
};

struct Visits {
  std::vector<Visit> directories;
  std::vector<Visit> names;
};

Visits walk(const Volume& volume) {
  Visits visits;
  expect_success(walk_layer(
      volume, {[&](const LayerDirectory& directory) -> Result<void> {
                 visits.directories.push_back({directory.path, directory.depth});
                 return {};
               },
               [&](const LayerDirectory& directory, const NamedEntry& entry) -> Result<void> {
                 visits.names.push_back({directory.path + "/" + entry.name, directory.depth});
                 return {};
               }}));
  return visits;
}

TEST_CASE("Layer tree: paths grow and are cut back, in the order of the names", "[layer_tree]") {
  const RealImage image(2048, {});
  image.change({"mkdir b", "mkdir a", "cd a", "mkdir z", "mkdir y", "cd y", "mkdir deep", "cd /",
                "mkdir c"});
  const MemoryImage bytes = image.load();
  const Visits visits = walk(value_of(Volume::open(bytes, SuperblockUse::kLower)));
  CHECK(visits.directories == std::vector<Visit>{{"", 0},
                                                 {"/a", 1},
                                                 {"/a/y", 2},
                                                 {"/a/y/deep", 3},
                                                 {"/a/z", 2},
                                                 {"/b", 1},
                                                 {"/c", 1},
                                                 {"/lost+found", 1}});
  CHECK(visits.names == std::vector<Visit>{{"/a", 0},
                                           {"/a/y", 1},
                                           {"/a/y/deep", 2},
                                           {"/a/z", 1},
                                           {"/b", 0},
                                           {"/c", 0},
                                           {"/lost+found", 0}});
}

TEST_CASE("Layer tree: a path longer than any host would take", "[layer_tree]") {
  constexpr uint32_t kDepth = 100;
  const std::string name(200, 'n');
  std::vector<std::string> requests;
  for (uint32_t depth = 0; depth < kDepth; ++depth) {
    requests.push_back("mkdir " + name);
    requests.push_back("cd " + name);
  }
  const RealImage image(4096, {});
  image.change(requests);
  const MemoryImage bytes = image.load();
  const Visits visits = walk(value_of(Volume::open(bytes, SuperblockUse::kLower)));
  REQUIRE(visits.directories.size() == kDepth + 2);  // the root and lost+found
  std::string path;
  for (uint32_t depth = 1; depth <= kDepth; ++depth) {
    path += "/" + name;
    CHECK(visits.directories[depth + 1] == Visit{path, depth});
  }
}

}  // namespace
}  // namespace unionfs
