// SPDX-License-Identifier: BSD-3-Clause
#include "tools/command_line/state_json.h"

#include <catch2/catch.hpp>

using namespace unionfs;
using namespace unionfs::img;

namespace {

std::string base64_of(std::string_view bytes) {
  return base64({reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()});
}

std::vector<std::byte> value_of(std::string_view bytes) {
  const auto* begin = reinterpret_cast<const std::byte*>(bytes.data());
  return {begin, begin + bytes.size()};
}

}  // namespace

TEST_CASE("bytes in base64 are those of RFC 4648, section 10", "[state_json]") {
  CHECK(base64_of("") == "");
  CHECK(base64_of("f") == "Zg==");
  CHECK(base64_of("fo") == "Zm8=");
  CHECK(base64_of("foo") == "Zm9v");
  CHECK(base64_of("foob") == "Zm9vYg==");
  CHECK(base64_of("fooba") == "Zm9vYmE=");
  CHECK(base64_of("foobar") == "Zm9vYmFy");
  CHECK(base64_of("\xff\xfe\xfb") == "//77");
  CHECK(base64_of(std::string(2, '\0')) == "AAA=");
}

TEST_CASE("bytes that text cannot have come beside it", "[state_json]") {
  Json json = Json::object();
  put_bytes(json, "plain", "/etc/fstab");
  put_bytes(json, "broken", "/\xff");
  put_bytes(json, "backslash", "a\\b");
  CHECK(json == Json{{"plain", "/etc/fstab"},
                     {"broken", "/\\xff"},
                     {"broken_base64", "L/8="},
                     {"backslash", "a\\\\b"},
                     {"backslash_base64", "YVxi"}});
}

TEST_CASE("a regular file's state has what every file has", "[state_json]") {
  FileState state;
  state.inode = InodeNumber(12);
  state.mode = ext2::kModeRegular | 04711;
  state.user_id = 70000;
  state.group_id = 4;
  state.user_flags = 0x10;
  state.links_count = 2;
  state.size_bytes = 1ULL << 40;
  state.modified = {-2147483648LL, 999999999};
  state.changed = {15032385535LL, 0};
  CHECK(to_json(state) == Json{{"inode", 12},
                               {"type", "file"},
                               {"mode", "4711"},
                               {"uid", 70000},
                               {"gid", 4},
                               {"flags", 16},
                               {"size", 1ULL << 40},
                               {"links", 2},
                               {"mtime", {{"sec", -2147483648LL}, {"nsec", 999999999}}},
                               {"ctime", {{"sec", 15032385535LL}, {"nsec", 0}}}});
  state.created = FileTime{1, 2};
  CHECK(to_json(state)["crtime"] == Json{{"sec", 1}, {"nsec", 2}});
  state.mode = ext2::kModeRegular | 7;
  CHECK(to_json(state)["mode"] == "0007");
}

TEST_CASE("a state says what only some types of files have", "[state_json]") {
  FileState state;
  state.mode = ext2::kModeSymlink | 0777;
  state.target = "to\xff";
  Json json = to_json(state);
  CHECK(json["type"] == "symlink");
  CHECK(json["target"] == "to\\xff");
  CHECK(json["target_base64"] == "dG//");
  CHECK_FALSE(json.contains("device"));

  state = {};
  state.mode = ext2::kModeBlockDevice;
  state.device_major = 259;
  state.device_minor = 70000;
  json = to_json(state);
  CHECK(json["type"] == "block device");
  CHECK(json["device"] == Json{{"major", 259}, {"minor", 70000}});
  CHECK_FALSE(json.contains("target"));
  CHECK_FALSE(json.contains("xattrs"));
}

TEST_CASE("attributes are told by full name, whatever bytes it has", "[state_json]") {
  FileState state;
  state.mode = ext2::kModeDirectory | 0755;
  state.attributes = {{ext2::kXattrIndexUser, "colour", value_of("red")},
                      {ext2::kXattrIndexUser, "\xff", value_of("")},
                      {ext2::kXattrIndexPosixAclDefault, "", value_of(std::string("\1\0", 2))}};
  CHECK(to_json(state)["xattrs"] ==
        Json{{"user.colour", "cmVk"}, {"user.\\xff", ""}, {"system.posix_acl_default", "AQA="}});
}
