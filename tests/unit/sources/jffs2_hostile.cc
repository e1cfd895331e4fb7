// SPDX-License-Identifier: BSD-3-Clause
//
// jffs2 images whose checksums are right, and whose numbers are not.
#include "overlay/sources/jffs2_compression.h"
#include "overlay/sources/jffs2_source.h"
#include "tests/unit/sources/jffs2_writer.h"
#include "tests/unit/sources/tree_facts.h"
#include "tests/unit/support/expect.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

Jffs2Inode plain_node(uint32_t inode, uint32_t mode, const std::string& data) {
  Jffs2Inode node;
  node.inode = inode;
  node.mode = mode;
  node.data = data;
  node.size = static_cast<uint32_t>(data.size());
  return node;
}

ErrorKind refused(const Jffs2Writer& writer, std::initializer_list<std::string> parts) {
  const auto tree = read_jffs2_image(writer.image(), {});
  CHECK_THAT(tree ? "" : tree.error().message, Catch::Contains("flash.img"));
  return expect_error(tree, parts);
}

std::vector<std::byte> unpacked(uint8_t compr, const std::vector<int>& packed, size_t size,
                                bool& is_whole) {
  std::vector<std::byte> bytes;
  for (const int byte : packed) {
    bytes.push_back(std::byte(byte));
  }
  std::vector<std::byte> out(size);
  is_whole = jffs2::unpack(compr, bytes, out);
  return out;
}

}  // namespace

TEST_CASE("names that no file can have", "[jffs2]") {
  Jffs2Writer writer;
  const std::string name = GENERATE("", ".", "..", "a/b", "/", "../escape");
  writer.add_file(name, plain_node(2, 0100644, "x"));
  CHECK(refused(writer, {"inode 1", "name"}) == ErrorKind::kCorrupt);
}

TEST_CASE("directories that are in one another or have two names", "[jffs2]") {
  Jffs2Writer writer;
  writer.add_file("directory", plain_node(2, 0040755, ""));
  SECTION("a second name") {
    writer.add_name({1, 2, 2, "again"});
  }
  SECTION("the root inside") {
    writer.add_name({2, 1, 1, "root"});
  }
  SECTION("itself inside") {
    writer.add_name({2, 1, 2, "itself"});
  }
  CHECK(refused(writer, {"second name", "inode 2"}) == ErrorKind::kCorrupt);
}

TEST_CASE("a circle of directories that no name leads to is no tree", "[jffs2]") {
  Jffs2Writer writer;
  writer.add_file("file", plain_node(2, 0100644, "x"));
  writer.add(plain_node(3, 0040755, ""));
  writer.add(plain_node(4, 0040755, ""));
  writer.add_name({3, 1, 4, "down"});
  writer.add_name({4, 1, 3, "up"});
  const FileTree tree = value_of(read_jffs2_image(writer.image(), {}));
  CHECK(tree.file_count() == 2);
}

TEST_CASE("modes, flags and types that are not known", "[jffs2]") {
  Jffs2Writer writer;
  SECTION("a mode") {
    writer.add_file("file", plain_node(2, GENERATE(0, 0644, 0170644, 0300644), ""));
    CHECK(refused(writer, {"inode 2", "mode"}) == ErrorKind::kCorrupt);
  }
  SECTION("a root that is a file") {
    writer.add(plain_node(1, 0100644, ""));
    CHECK(refused(writer, {"root"}) == ErrorKind::kCorrupt);
  }
  SECTION("flags of a directory") {
    Jffs2Inode directory = plain_node(2, 0040755, "");
    directory.flags = 0x8000;
    writer.add_file("directory", directory);
    CHECK(refused(writer, {"inode 2", "flags 0x8000"}) == ErrorKind::kUnsupported);
  }
  SECTION("a name without an inode") {
    writer.add_name({1, 1, 0, "mark", 15});
    CHECK(refused(writer, {"\"mark\"", "type 15"}) == ErrorKind::kUnsupported);
  }
  SECTION("a node") {
    writer.add_node(0xe00f, "unknown");
    CHECK(refused(writer, {"byte 0", "0xe00f"}) == ErrorKind::kUnsupported);
  }
}

TEST_CASE("symlinks and devices with wrong contents", "[jffs2]") {
  Jffs2Writer writer;
  const auto [mode, data] = GENERATE(table<uint32_t, std::string>({
      {0120777, ""},
      {0120777, std::string("a\0b", 3)},
      {0120777, std::string(4096, 'x')},
      {0020644, ""},
      {0060644, "123"},
      {0020644, "12345"},
  }));
  writer.add_file("file", plain_node(2, mode, data));
  CHECK(refused(writer, {"inode 2"}) == ErrorKind::kCorrupt);
}

TEST_CASE("lengths of data that contradict one another", "[jffs2]") {
  Jffs2Writer writer;
  Jffs2Inode node = plain_node(2, 0100644, "content");
  node.size = 0xffffffff;
  SECTION("bytes as they are") {
    node.data_size = 4000000000;
    writer.add_file("file", node);
    CHECK(refused(writer, {"inode 2", "byte 0"}) == ErrorKind::kCorrupt);
  }
  SECTION("a bomb") {
    node.data_size = 4000000000;
    node.compression = jffs2::kComprZlib;
    writer.add_file("file", node);
    CHECK(refused(writer, {"inode 2", "byte 0", "4000000000"}) == ErrorKind::kCorrupt);
  }
  SECTION("an unknown compressor") {
    node.compression = 5;
    writer.add_file("file", node);
    CHECK(refused(writer, {"inode 2", "compressor 5"}) == ErrorKind::kUnsupported);
  }
  SECTION("bytes that cannot be unpacked") {
    node.data_size = 1000;
    node.size = 1000;
    node.compression = GENERATE(jffs2::kComprRtime, jffs2::kComprZlib, jffs2::kComprLzo);
    node.data = GENERATE("content", "");
    writer.add_file("file", node);
    const FileTree tree = value_of(read_jffs2_image(writer.image(), {}));
    std::vector<std::byte> bytes(1000);
    const auto result = tree_file(tree, "file").content->read(0, bytes);
    CHECK(expect_error(result, {"flash.img", "inode 2", "unpacked"}) == ErrorKind::kCorrupt);
  }
}

TEST_CASE("data that claim to be more than their node, or at the end of four gigabytes",
          "[jffs2]") {
  Jffs2Writer writer;
  writer.add_file("file", plain_node(2, 0100644, "right"));
  Jffs2Inode node = plain_node(2, 0100644, "wrong");
  node.version = 2;
  SECTION("more data than the node") {
    const size_t place = writer.add(node);
    writer.bytes()[place + 49] = 1;
    mend_jffs2(writer.bytes(), writer.order());
    CHECK(content_of(value_of(read_jffs2_image(writer.image(), {})), "file") == "right");
  }
  SECTION("behind its own end") {
    node.offset = 6;
    writer.add(node);
    CHECK(content_of(value_of(read_jffs2_image(writer.image(), {})), "file") == "right");
  }
  SECTION("behind all numbers") {
    node.offset = 0xfffffff0;
    node.size = 0xffffffff;
    node.data = std::string(40, 'x');
    writer.add(node);
    const FileTree tree = value_of(read_jffs2_image(writer.image(), {}));
    FileBytes& bytes = *tree_file(tree, "file").content;
    CHECK(bytes.size_bytes() == 0xffffffff);
    CHECK(value_of(bytes.next_data(5)) == ByteRange{0xfffffff0, 0xffffffff});
  }
}

TEST_CASE("heads that reach out of the image or are shorter than their kind", "[jffs2]") {
  Jffs2Writer writer;
  writer.add_file("file", plain_node(2, 0100644, "content"));
  for (const uint16_t type : {jffs2::kDirent, jffs2::kInode, jffs2::kXattr, jffs2::kXref}) {
    writer.add_node(type, "");
    writer.add_node(type, "1234567");
  }
  const size_t place = writer.add_name({1, 9, 0, "file"});
  for (const uint32_t length : {0U, 11U, 0x7fffffffU, 0xffffffffU}) {
    for (size_t at = 0; at < 4; ++at) {
      writer.bytes()[place + 4 + at] = static_cast<char>(length >> (8 * at));
    }
    const uint32_t sum = jffs2_checksum(std::string_view(writer.bytes()).substr(place, 8));
    for (size_t at = 0; at < 4; ++at) {
      writer.bytes()[place + 8 + at] = static_cast<char>(sum >> (8 * at));
    }
    CHECK(content_of(value_of(read_jffs2_image(writer.image(), {})), "file") == "content");
  }
}

TEST_CASE("attributes that are none", "[jffs2]") {
  Jffs2Writer writer;
  writer.add_file("file", plain_node(2, 0100644, ""));
  writer.add_xref(2, 1, 2);
  SECTION("an unknown kind") {
    writer.add(Jffs2Xattr{1, 1, 9, "name", "value"});
    CHECK(refused(writer, {"inode 2", "kind 9"}) == ErrorKind::kUnsupported);
  }
  SECTION("an ACL") {
    writer.add(Jffs2Xattr{
        1, 1, jffs2::kPrefixAclAccess, "",
        GENERATE(std::string(), std::string("\1\0\0\0\2\0\4\0", 8), std::string("\2\0\0\0", 4))});
    CHECK(refused(writer, {"inode 2", "ACL"}) == ErrorKind::kCorrupt);
  }
}

TEST_CASE("a read that fails is an error", "[jffs2]") {
  Jffs2Writer writer;
  writer.add_file("file", plain_node(2, 0100644, std::string(10000, 'x')));
  const auto image = writer.image();
  const FileTree tree = value_of(read_jffs2_image(image, {}));
  image->fail(5000, 6000);
  std::vector<std::byte> bytes(10000);
  CHECK(expect_error(tree_file(tree, "file").content->read(0, bytes), {"flash.img"}) ==
        ErrorKind::kSystem);
  CHECK(expect_error(read_jffs2_image(image, {}), {"flash.img"}) == ErrorKind::kSystem);
}

TEST_CASE("compressed bytes that end early, reach back too far or say too much",
          "[jffs2_compression]") {
  bool is_whole = true;
  // rtime: a repetition longer than what is wanted; half a pair.
  unpacked(jffs2::kComprRtime, {'a', 200}, 10, is_whole);
  CHECK_FALSE(is_whole);
  unpacked(jffs2::kComprRtime, {'a', 0, 'b'}, 10, is_whole);
  CHECK_FALSE(is_whole);
  CHECK(unpacked(jffs2::kComprRtime, {'a', 0, 'a', 3}, 5, is_whole) ==
        std::vector<std::byte>(5, std::byte('a')));
  CHECK(is_whole);
  // LZO: four literals and the end; the same without the end, with a distance of 2 too far.
  CHECK(unpacked(jffs2::kComprLzo, {21, 'a', 'b', 'c', 'd', 17, 0, 0}, 4, is_whole)[3] ==
        std::byte('d'));
  CHECK(is_whole);
  for (const auto& packed :
       std::vector<std::vector<int>>{{},
                                     {21, 'a', 'b', 'c', 'd'},
                                     {21, 'a', 'b'},
                                     {21, 'a', 'b', 'c', 'd', 17, 0, 0, 'x'},
                                     {21, 'a', 'b', 'c', 'd', 64, 255, 17, 0, 0},
                                     {0, 0, 0, 0, 0, 0, 0},
                                     {32, 0, 0, 0, 0, 255, 0, 0},
                                     {255},
                                     {16, 0, 0}}) {
    unpacked(jffs2::kComprLzo, packed, 5, is_whole);
    CHECK_FALSE(is_whole);
  }
  unpacked(jffs2::kComprZlib, {0x78, 0x9c, 3, 0}, 5, is_whole);
  CHECK_FALSE(is_whole);
  unpacked(4, {1, 2, 3}, 3, is_whole);
  CHECK_FALSE(is_whole);
}
