// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sources/tar_source.h"

#include <algorithm>
#include <random>

#include "tests/unit/sources/sources_fixture.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

std::string text_of(const std::vector<TarEntry>& entries, TarRules rules = TarRules::kPlain) {
  TarTest test;
  return tree_text(value_of(test.read(tar_of(entries), rules)));
}

}  // namespace

TEST_CASE("all kinds of files come out of an archive", "[tar]") {
  CHECK(text_of({{"./", kDirectory, "", "", 0700},
                 {"./a", '0', "hello", "", 04755, 1000, 3000000000},
                 {"b", kHardLink, "", "./a"},
                 {"c", kSymlink, "", "../a"},
                 {"d/", kDirectory, "", "", 01777},
                 {"d/n", '3', "", "", 0600, 0, 0, 1, 1, 3},
                 {"d/sda", '4', "", "", 0600, 0, 0, 1, 8, 300000},
                 {"e", '6'},
                 {"old", '\0', "v7"},
                 {"contiguous", '7', "x"}}) ==
        "/ dir 0700 0:0 1000.000000000\n"
        "a file 4755 1000:3000000000 1000.000000000 5 bytes 0+5:hello\n"
        "b = a\n"
        "c link 0777 0:0 1000.000000000 -> ../a\n"
        "contiguous file 0644 0:0 1000.000000000 1 bytes 0+1:x\n"
        "d dir 1777 0:0 1000.000000000\n"
        "d/n char 0600 0:0 1.000000000 1:3\n"
        "d/sda block 0600 0:0 1.000000000 8:300000\n"
        "e fifo 0644 0:0 1000.000000000\n"
        "old file 0644 0:0 1000.000000000 2 bytes 0+2:v7\n");
}

TEST_CASE("names are bytes, whatever the locale says of them", "[tar]") {
  const std::string odd = "\xff\xfe\xed\xa0\xbd\xed\xb8\x80 \n\\";  // surrogates: no UTF-8
  const std::string many = odd + std::string(200, 'x');
  const std::string accents = std::string(60, 'a') + std::string(40, '\xc3') + "\xa9";
  for (const std::string& name : {odd, many, accents}) {
    TarTest test;
    const FileTree tree =
        value_of(test.read(tar_of({{name, kSymlink, "", name}, {"h", kHardLink, "", name}})));
    const TreeName* found = tree.find(kTreeRoot, name);
    REQUIRE(found != nullptr);
    CHECK(tree.file(found->file).state.target == name);
    CHECK(tree.find(kTreeRoot, "h")->file == found->file);
  }
}

TEST_CASE("the order of the entries says nothing", "[tar]") {
  std::vector<TarEntry> entries = {{"d/", kDirectory, "", "", 0700},
                                   {"d/e/", kDirectory},
                                   {"d/e/f", '0', "f"},
                                   {"d/g", kHardLink, "", "d/e/f"},
                                   {"h", kHardLink, "", "d/g"},
                                   {"d/.wh.x"},
                                   {"d/.wh.e"},
                                   {"i/j", '0', "j"},
                                   {"k/.wh..wh..opq"},
                                   {"k/l"}};
  const std::string expected =
      "/ implied\n"
      "d dir 0700 0:0 1000.000000000\n"
      "d/e dir 0644 0:0 1000.000000000 opaque\n"
      "d/e/f file 0644 0:0 1000.000000000 1 bytes 0+1:f\n"
      "d/g = d/e/f\n"
      "d/x whiteout\n"
      "h = d/e/f\n"
      "i implied\n"
      "i/j file 0644 0:0 1000.000000000 1 bytes 0+1:j\n"
      "k implied opaque\n"
      "k/l file 0644 0:0 1000.000000000\n";
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    REQUIRE(text_of(entries, TarRules::kLayer) == expected);
    std::shuffle(entries.begin(), entries.end(), random);
  }
}

TEST_CASE("a later entry of one name counts", "[tar]") {
  // Directory over directory: what is in it stays.  Everything else goes with all below it.
  CHECK(text_of({{"a", '0', "old"}, {"a", '0', "new!"}}) ==
        "/ implied\na file 0644 0:0 1000.000000000 4 bytes 0+4:new!\n");
  CHECK(text_of({{"d/", kDirectory}, {"d/a"}, {"d/", kDirectory, "", "", 0700}}) ==
        "/ implied\nd dir 0700 0:0 1000.000000000\nd/a file 0644 0:0 1000.000000000\n");
  CHECK(text_of({{"d/a"}, {"d/b/c"}, {"d", kSymlink, "", "e"}, {"d/", kDirectory}}) ==
        "/ implied\nd dir 0644 0:0 1000.000000000\n");
  // A hard link keeps the file that it led to.
  CHECK(text_of({{"a", '0', "1"}, {"b", kHardLink, "", "a"}, {"a", '0', "2"}}) ==
        "/ implied\na file 0644 0:0 1000.000000000 1 bytes 0+1:2\n"
        "b file 0644 0:0 1000.000000000 1 bytes 0+1:1\n");
  CHECK(text_of({{"d/a", '0', "1"}, {"d", kHardLink, "", "d/a"}}) ==
        "/ implied\nd file 0644 0:0 1000.000000000 1 bytes 0+1:1\n");
  CHECK(text_of({{"a", '0', "1"}, {"a", kHardLink, "", "a"}}) ==
        "/ implied\na file 0644 0:0 1000.000000000 1 bytes 0+1:1\n");
}

TEST_CASE("a million entries of one name take neither memory nor space", "[tar]") {
  TarTest test;
  std::vector<TarEntry> entries;
  for (int round = 0; round < 300; ++round) {
    entries.push_back({"a/b/c", '0', std::string(1000, 'x')});
    entries.push_back({"a", kSymlink, "", "y"});
    entries.push_back({"a/", kDirectory});
    entries.push_back({"d", '0', std::string(1000, 'x')});
  }
  const FileTree tree = value_of(test.read(tar_of(entries)));
  CHECK(tree.file_count() < 10);
  CHECK(test.context.spool->end() < 3000);
}

TEST_CASE("extended attributes, ACLs and flags are kept", "[tar]") {
  const std::string acl =
      "user::rw-,user:1000:r-x,user:lisa:r--:502,group::r--,mask::rwx,other::---";
  CHECK(text_of({{"a",
                  '0',
                  "",
                  "",
                  0670,
                  0,
                  0,
                  1,
                  0,
                  0,
                  {{"SCHILY.xattr.user.b", std::string("1\0\n", 3)},
                   {"SCHILY.xattr.security.capability", "cap"},
                   {"SCHILY.acl.access", acl},
                   {"SCHILY.fflags", "nodump"}}},
                 {"d/",
                  kDirectory,
                  "",
                  "",
                  0755,
                  0,
                  0,
                  1,
                  0,
                  0,
                  {{"SCHILY.acl.default", "user::rwx,group::r-x,other::r-x"}}}}) ==
        "/ implied\n"
        "a file 0670 0:0 1.000000000 flags 0x40 user.b=1\\00\\0a "
        // ext2's form: version 1; tag, permissions and, for a user, the id.
        "system.posix_acl_access=\\01\\00\\00\\00\\01\\00\\06\\00"
        "\\02\\00\\04\\00\\f6\\01\\00\\00\\02\\00\\05\\00\\e8\\03\\00\\00"
        "\\04\\00\\04\\00\\10\\00\\07\\00 \\00\\00\\00 security.capability=cap\n"
        "d dir 0755 0:0 1.000000000 system.posix_acl_default=\\01\\00\\00\\00"
        "\\01\\00\\07\\00\\04\\00\\05\\00 \\00\\05\\00\n");
  TarTest test;
  expect_error(
      test.read(tar_of(
          {{"n",
            '0',
            "",
            "",
            0670,
            0,
            0,
            1,
            0,
            0,
            {{"SCHILY.acl.access", "user::rw-,user:lisa:r--,group::r--,mask::rwx,other::---"}}}})),
      {"a.tar", "\"n\"", "\"lisa\"", "--numeric-owner"});
  value_of(test.read(tar_of(
      {{"n", '0', "", "", 0670, 0, 0, 1, 0, 0, {{"SCHILY.xattr.com.apple.quarantine", "x"}}}})));
  REQUIRE(test.warnings.size() == 1);
  CHECK_THAT(test.warnings[0], Catch::Contains("com.apple.quarantine"));
}

TEST_CASE("times have their nanoseconds, also before 1970", "[tar]") {
  const auto time_of = [](const std::string& mtime) {
    TarTest test;
    const FileTree tree =
        value_of(test.read(tar_of({{"a",
                                    '0',
                                    "",
                                    "",
                                    0600,
                                    0,
                                    0,
                                    1,
                                    0,
                                    0,
                                    {{"mtime", mtime}, {"atime", "77"}, {"ctime", "78"}}}})));
    const FileState& state = tree.file(tree.find(kTreeRoot, "a")->file).state;
    CHECK(state.accessed == state.modified);
    CHECK(state.changed == state.modified);
    return fmt::format("{} {}", state.modified.seconds, state.modified.nanoseconds);
  };
  CHECK(time_of("1234567890.123456789") == "1234567890 123456789");
  CHECK(time_of("-1.25") == "-2 750000000");
  CHECK(time_of("-2") == "-2 0");
  CHECK(time_of("4294967296.5") == "4294967296 500000000");
}

TEST_CASE("whiteouts are marks in a layer and files elsewhere", "[tar]") {
  const std::vector<TarEntry> entries = {{"d/.wh.a"},
                                         {"d/.wh..wh..opq"},
                                         {".wh.b"},
                                         {"b", '0', "new"},
                                         {".wh.c", kHardLink, "", ".wh..wh.aufs"},
                                         {".wh..wh.aufs"},
                                         {".wh..wh.plnk/1.2", '0', "x"}};
  TarTest test;
  CHECK(tree_text(value_of(test.read(tar_of(entries), TarRules::kLayer))) ==
        "/ implied\nb file 0644 0:0 1000.000000000 3 bytes 0+3:new\nc whiteout\n"
        "d implied opaque\nd/a whiteout\n");
  REQUIRE(test.warnings.size() == 1);
  CHECK_THAT(test.warnings[0], Catch::Contains("left out 2 entries that aufs"));
  CHECK(text_of({{".wh.a"}, {"d/.wh..wh..opq"}}) ==
        "/ implied\n.wh.a file 0644 0:0 1000.000000000\nd implied\n"
        "d/.wh..wh..opq file 0644 0:0 1000.000000000\n");
  CHECK(text_of({{".wh..wh..opq"}}, TarRules::kLayer) == "/ implied opaque\n");

  const auto refused = [&](TarEntry entry, const std::string& why) {
    expect_error(test.read(tar_of({std::move(entry)}), TarRules::kLayer), {"a.tar", ".wh.", why});
  };
  refused({"d/.wh."}, "a whiteout of no name");
  refused({".wh..."}, "a whiteout of no name");
  refused({".wh.."}, "a whiteout of no name");
  refused({".wh.a/", kDirectory}, "no empty file");
  refused({".wh.a", '0', "content"}, "no empty file");
  refused({".wh.a", kSymlink, "", "b"}, "no empty file");
  refused({".wh.a/b"}, "lies below a whiteout");
}
