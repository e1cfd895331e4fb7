// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/tree/attribute_names.h"

#include "tests/unit/support/expect.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

std::vector<std::byte> bytes_of(std::initializer_list<int> numbers) {
  std::vector<std::byte> bytes;
  for (const int number : numbers) {
    bytes.push_back(std::byte(number));
  }
  return bytes;
}

// user::rw-, user 258:r--, group::r--, mask::r--, other::---
const std::vector<std::byte> kNamedAcl = bytes_of({
    2,  0, 0, 0,                                                       //
    1,  0, 6, 0, 255, 255, 255, 255, 2,  0, 4, 0, 2,   1,   0,   0,    //
    4,  0, 4, 0, 255, 255, 255, 255, 16, 0, 4, 0, 255, 255, 255, 255,  //
    32, 0, 0, 0, 255, 255, 255, 255,
});
const std::vector<std::byte> kStoredAcl = bytes_of({
    1, 0, 0, 0,                            //
    1, 0, 6, 0, 2,  0, 4, 0, 2,  1, 0, 0,  //
    4, 0, 4, 0, 16, 0, 4, 0, 32, 0, 0, 0,
});

}  // namespace

TEST_CASE("names of attributes are split and joined", "[attribute_names]") {
  const auto [name, index, rest] = GENERATE(table<std::string, uint8_t, std::string>({
      {"user.colour", ext2::kXattrIndexUser, "colour"},
      {"trusted.overlay.opaque", ext2::kXattrIndexTrusted, "overlay.opaque"},
      {"security.capability", ext2::kXattrIndexSecurity, "capability"},
      {"system.data", ext2::kXattrIndexSystem, "data"},
  }));
  const auto stored = value_of(stored_attribute(name, bytes_of({1, 2})));
  REQUIRE(stored);
  CHECK(*stored == Attribute{index, rest, bytes_of({1, 2})});
  CHECK(value_of(named_attribute(*stored)) == NamedAttribute{name, bytes_of({1, 2})});
}

TEST_CASE("names that ext2 has no place for", "[attribute_names]") {
  const std::string name = GENERATE("btrfs.compression", "user.", "user", "", "os2.x");
  CHECK(!value_of(stored_attribute(name, {})));
  CHECK(expect_error(named_attribute({99, "x", {}}), {"kind"}) == ErrorKind::kInvalid);
}

TEST_CASE("ACLs have a form in the kernel's interface and one in ext2", "[attribute_names]") {
  const std::string name = GENERATE("system.posix_acl_access", "system.posix_acl_default");
  const auto stored = value_of(stored_attribute(name, kNamedAcl));
  REQUIRE(stored);
  CHECK(stored->name.empty());
  CHECK(stored->value == kStoredAcl);
  CHECK(value_of(named_attribute(*stored)) == NamedAttribute{name, kNamedAcl});
}

TEST_CASE("what is no ACL is refused", "[attribute_names]") {
  std::vector<std::byte> bytes = kNamedAcl;
  SECTION("another version") {
    bytes[0] = std::byte{1};
  }
  SECTION("cut short") {
    bytes.pop_back();
  }
  SECTION("an unknown kind of entry") {
    bytes[4] = std::byte{3};
  }
  SECTION("nothing") {
    bytes.clear();
  }
  CHECK(expect_error(stored_attribute("system.posix_acl_access", bytes), {"ACL"}) ==
        ErrorKind::kInvalid);
}
