// SPDX-License-Identifier: BSD-3-Clause
//
// What nodes of a jffs2 image mean together.
#include "overlay/sources/jffs2_source.h"
#include "tests/unit/sources/jffs2_writer.h"
#include "tests/unit/sources/tree_facts.h"
#include "tests/unit/support/expect.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

FileTree read(const Jffs2Writer& writer) {
  return value_of(read_jffs2_image(writer.image(), {}));
}

std::vector<std::string> notes_of(const Jffs2Writer& writer) {
  std::vector<std::string> notes;
  value_of(
      read_jffs2_image(writer.image(), [&](const std::string& note) { notes.push_back(note); }));
  return notes;
}

Jffs2Inode file_of(uint32_t inode, const std::string& data) {
  Jffs2Inode node;
  node.inode = inode;
  node.data = data;
  node.size = static_cast<uint32_t>(data.size());
  return node;
}

Jffs2Inode node_of(uint32_t inode, uint32_t mode, const std::string& data) {
  Jffs2Inode node = file_of(inode, data);
  node.mode = mode;
  return node;
}

jffs2::ByteOrder any_order() {
  return GENERATE(jffs2::ByteOrder::kLittle, jffs2::ByteOrder::kBig);
}

std::string number_of(std::initializer_list<uint8_t> bytes) {
  return {bytes.begin(), bytes.end()};
}

}  // namespace

TEST_CASE("the newest node of a file counts, wherever it lies", "[jffs2]") {
  Jffs2Writer writer(any_order());
  Jffs2Inode newer = file_of(2, "XY");
  newer.version = 7;
  newer.offset = 3;
  newer.size = 10;
  newer.owner = 77;
  newer.mode = 0100600;
  newer.time = 5000;
  writer.add(newer);
  writer.add_file("file", file_of(2, "0123456789"));
  const FileTree tree = read(writer);
  CHECK(content_of(tree, "file") == "012XY56789");
  const FileState& state = tree_file(tree, "file").state;
  CHECK(state.mode == 0100600);
  CHECK(state.user_id == 77);
  CHECK(state.group_id == 77);
  CHECK(state.accessed == FileTime{5000, 0});
  CHECK(state.modified == FileTime{5001, 0});
  CHECK(state.changed == FileTime{5002, 0});
}

TEST_CASE("a file that was cut and grew again has zeros there", "[jffs2]") {
  Jffs2Writer writer(any_order());
  writer.add_file("file", file_of(2, "0123456789"));
  Jffs2Inode cut = file_of(2, "");
  cut.version = 2;
  cut.size = 4;
  writer.add(cut);
  CHECK(content_of(read(writer), "file") == "0123");
  Jffs2Inode hole = file_of(2, "");
  hole.version = 3;
  hole.offset = 4;
  hole.data_size = 1000000;
  hole.size = 1000004;
  hole.compression = jffs2::kComprZero;
  writer.add(hole);
  Jffs2Inode end = file_of(2, "end");
  end.version = 4;
  end.offset = 1000004;
  end.size = 1000007;
  writer.add(end);
  const FileTree tree = read(writer);
  const std::string expected = "0123" + std::string(1000000, '\0') + "end";
  CHECK(content_of(tree, "file") == expected);
  FileBytes& bytes = *tree_file(tree, "file").content;
  CHECK(value_of(bytes.next_data(0)) == ByteRange{0, 4});
  CHECK(value_of(bytes.next_data(2)) == ByteRange{2, 4});
  CHECK(value_of(bytes.next_data(4)) == ByteRange{1000004, 1000007});
  CHECK_FALSE(value_of(bytes.next_data(1000007)));
  std::vector<std::byte> beyond(8, std::byte{1});
  expect_success(bytes.read(1000005, beyond));
  CHECK(beyond == std::vector<std::byte>{std::byte('n'), std::byte('d'), {}, {}, {}, {}, {}, {}});
}

TEST_CASE("pieces of many versions lie over one another", "[jffs2]") {
  Jffs2Writer writer;
  std::string model(200, 'a');
  writer.add_file("file", file_of(2, model));
  uint32_t state = 4711;
  for (uint32_t version = 2; version < 60; ++version) {
    state = state * 1664525 + 1013904223;
    const uint32_t offset = (state >> 8) % 190;
    Jffs2Inode node =
        file_of(2, std::string(1 + (state >> 20) % 40, static_cast<char>('A' + version)));
    node.offset = offset;
    node.version = version;
    if (model.size() < offset + node.data.size()) {
      model.resize(offset + node.data.size());
    }
    model.replace(offset, node.data.size(), node.data);
    node.size = static_cast<uint32_t>(model.size());
    writer.add(node);
    CHECK(content_of(read(writer), "file") == model);
  }
}

TEST_CASE("the newest dirent of a name counts", "[jffs2]") {
  Jffs2Writer writer(any_order());
  writer.add(file_of(2, "two"));
  writer.add(file_of(3, "three"));
  writer.add_name({1, 5, 3, "name"});
  writer.add_name({1, 4, 2, "name"});
  writer.add_name({1, 6, 2, "deleted"});
  writer.add_name({1, 7, 0, "deleted"});
  writer.add_name({1, 9, 2, "back"});
  writer.add_name({1, 8, 0, "back"});
  const FileTree tree = read(writer);
  CHECK(content_of(tree, "name") == "three");
  CHECK_FALSE(has_path(tree, "deleted"));
  CHECK(content_of(tree, "back") == "two");
}

TEST_CASE("hard links are one file, and what has no name is none", "[jffs2]") {
  Jffs2Writer writer;
  writer.add(file_of(2, "linked"));
  writer.add(file_of(9, "unlinked"));
  writer.add(node_of(3, 0040755, ""));
  writer.add_name({1, 1, 3, "directory"});
  writer.add_name({1, 2, 2, "one"});
  writer.add_name({3, 1, 2, "other"});
  const FileTree tree = read(writer);
  CHECK(tree_name(tree, "one").file == tree_name(tree, "directory/other").file);
  CHECK(tree.file_count() == 3);
}

TEST_CASE("a directory has the time of its newest dirent or node", "[jffs2]") {
  Jffs2Writer writer;
  Jffs2Inode directory = node_of(3, 0040700, "");
  directory.version = 5;
  writer.add_file("directory", directory);
  writer.add(file_of(2, ""));
  writer.add_name({3, 4, 2, "old", 0, 9000});
  CHECK(tree_file(read(writer), "directory").state.modified.seconds == 1001);
  writer.add_name({3, 6, 0, "old", 0, 9100});
  const FileTree tree = read(writer);
  CHECK(tree_file(tree, "directory").state.modified.seconds == 9100);
  CHECK(tree_file(tree, "directory").state.changed.seconds == 9100);
}

TEST_CASE("the root may have a state or none", "[jffs2]") {
  Jffs2Writer writer;
  writer.add_file("file", file_of(2, "x"));
  CHECK(read(writer).root().is_implied);
  Jffs2Inode root = node_of(1, 0041777, "");
  writer.add(root);
  const FileTree tree = read(writer);
  CHECK_FALSE(tree.root().is_implied);
  CHECK(tree.root().state.mode == 0041777);
}

TEST_CASE("devices in both encodings, and symlinks", "[jffs2]") {
  const jffs2::ByteOrder order = any_order();
  Jffs2Writer writer(order);
  const bool is_big = order == jffs2::ByteOrder::kBig;
  writer.add_file("old", node_of(2, 0020600, is_big ? number_of({4, 64}) : number_of({64, 4})));
  // Major 259, minor 0x12345: 0x123 10345.
  writer.add_file("new", node_of(3, 0060600,
                                 is_big ? number_of({0x12, 0x31, 0x03, 0x45})
                                        : number_of({0x45, 0x03, 0x31, 0x12})));
  writer.add_file("link", node_of(4, 0120777, "a/target"));
  const FileTree tree = read(writer);
  CHECK(tree_file(tree, "old").state.device_major == 4);
  CHECK(tree_file(tree, "old").state.device_minor == 64);
  CHECK(tree_file(tree, "new").state.device_major == 0x103);
  CHECK(tree_file(tree, "new").state.device_minor == 0x12345);
  CHECK(tree_file(tree, "link").state.target == "a/target");
}

TEST_CASE("attributes: the newest value, by references that were not deleted", "[jffs2]") {
  Jffs2Writer writer(any_order());
  writer.add_file("file", file_of(2, ""));
  writer.add_file("other", file_of(3, ""));
  writer.add(Jffs2Xattr{1, 2, jffs2::kPrefixUser, "colour", "new"});
  writer.add(Jffs2Xattr{1, 1, jffs2::kPrefixUser, "colour", "old"});
  writer.add(Jffs2Xattr{2, 1, jffs2::kPrefixTrusted, "gone", "value"});
  writer.add(Jffs2Xattr{3, 1, jffs2::kPrefixSecurity, "dead", ""});
  writer.add(Jffs2Xattr{3, jffs2::kXattrDeleted, 0, "", ""});
  writer.add(Jffs2Xattr{4, 1, jffs2::kPrefixUser, "colour", "replaced"});
  writer.add_xref(2, 4, 8);
  writer.add_xref(2, 1, 10);
  writer.add_xref(2, 2, 12);
  writer.add_xref(2, 2, 13);
  writer.add_xref(2, 3, 14);
  writer.add_xref(2, 99, 16);
  writer.add_xref(3, 2, 18);
  const FileTree tree = read(writer);
  const std::vector<Attribute>& attributes = tree_file(tree, "file").state.attributes;
  REQUIRE(attributes.size() == 1);
  CHECK(attributes[0].full_name() == "user.colour");
  CHECK(attributes[0].value.size() == 3);
  REQUIRE(tree_file(tree, "other").state.attributes.size() == 1);
  CHECK(tree_file(tree, "other").state.attributes[0].full_name() == "trusted.gone");
}

TEST_CASE("an ACL in either byte order is the one that ext2 has", "[jffs2]") {
  Jffs2Writer writer(any_order());
  const bool is_big = writer.order() == jffs2::ByteOrder::kBig;
  const std::string little = number_of(
      {1, 0, 0, 0, 1, 0, 6, 0, 2, 0, 4, 0, 0x70, 0x11, 1, 0, 4, 0, 4, 0, 16, 0, 4, 0, 32, 0, 0, 0});
  const std::string big = number_of(
      {0, 0, 0, 1, 0, 1, 0, 6, 0, 2, 0, 4, 0, 1, 0x11, 0x70, 0, 4, 0, 4, 0, 16, 0, 4, 0, 32, 0, 0});
  writer.add_file("file", file_of(2, ""));
  writer.add(Jffs2Xattr{1, 1, jffs2::kPrefixAclAccess, "", is_big ? big : little});
  writer.add_xref(2, 1, 2);
  const FileTree tree = read(writer);
  const std::vector<Attribute>& attributes = tree_file(tree, "file").state.attributes;
  REQUIRE(attributes.size() == 1);
  CHECK(attributes[0].full_name() == "system.posix_acl_access");
  CHECK(std::string(reinterpret_cast<const char*>(attributes[0].value.data()),
                    attributes[0].value.size()) == little);
}

TEST_CASE("whiteouts of the union patches and marks of overlayfs", "[jffs2]") {
  Jffs2Writer writer(any_order());
  writer.add_name({1, 1, 0, "whiteout", jffs2::kTypeWhiteout});
  writer.add_file("device", node_of(2, 0020000, std::string(2, '\0')));
  writer.add_name({1, 2, 2, "same device"});
  writer.add_file("null", node_of(3, 0020666,
                                  writer.order() == jffs2::ByteOrder::kBig ? number_of({1, 3})
                                                                           : number_of({3, 1})));
  writer.add_file("opaque", node_of(4, 0040755, ""));
  writer.add(Jffs2Xattr{1, 1, jffs2::kPrefixTrusted, "overlay.opaque", "y"});
  writer.add_xref(4, 1, 2);
  const FileTree tree = read(writer);
  CHECK(tree_name(tree, "whiteout").mark == TreeMark::kWhiteout);
  CHECK(tree_name(tree, "device").mark == TreeMark::kWhiteout);
  CHECK(tree_name(tree, "same device").mark == TreeMark::kWhiteout);
  CHECK(tree_file(tree, "null").state.device_minor == 3);
  CHECK(tree_file(tree, "opaque").is_opaque);
  CHECK(tree_file(tree, "opaque").state.attributes.empty());
}

TEST_CASE("a file under a new name takes the place of a whiteout", "[jffs2]") {
  Jffs2Writer writer;
  writer.add_name({1, 1, 0, "name", jffs2::kTypeWhiteout});
  writer.add(file_of(2, "again"));
  writer.add_name({1, 2, 2, "name"});
  CHECK(content_of(read(writer), "name") == "again");
  writer.add_name({1, 3, 0, "name", jffs2::kTypeWhiteout});
  CHECK(tree_name(read(writer), "name").mark == TreeMark::kWhiteout);
  writer.add_name({1, 4, 0, "name", jffs2::kTypeDeleted});
  CHECK_FALSE(has_path(read(writer), "name"));
}

TEST_CASE("nodes with a wrong checksum do not count", "[jffs2]") {
  Jffs2Writer writer;
  writer.add_file("file", file_of(2, "right"));
  Jffs2Inode newer = file_of(2, "WRONG");
  newer.version = 2;
  const size_t node = writer.add(newer);
  const size_t dirent = writer.add_name({1, 9, 0, "file"});
  CHECK_FALSE(has_path(read(writer), "file"));
  // The header of the dirent, its fields, its name.
  const size_t offset = GENERATE(5, 8, 17, 33, 37, 41);
  writer.bytes()[dirent + offset] ^= 1;
  CHECK(content_of(read(writer), "file") == "WRONG");
  // The header of the inode, its fields, its data.
  const size_t inode_offset = GENERATE(6, 9, 20, 61, 65, 69);
  writer.bytes()[node + inode_offset] ^= 1;
  CHECK(content_of(read(writer), "file") == "right");
  const std::vector<std::string> notes = notes_of(writer);
  // A wrong header is no node.
  CHECK(notes.size() == size_t{offset > 8} + size_t{inode_offset > 9});
}

TEST_CASE("a file whose last node does not count is shorter", "[jffs2]") {
  Jffs2Writer writer;
  writer.add_file("file", file_of(2, "first"));
  Jffs2Inode last = file_of(2, "last");
  last.offset = 5;
  last.size = 9;
  last.version = 2;
  const size_t place = writer.add(last);
  Jffs2Inode touched = file_of(2, "");
  touched.size = 9;
  touched.version = 3;
  writer.add(touched);
  CHECK(content_of(read(writer), "file") == "firstlast");
  writer.bytes()[place + sizeof(jffs2::RawInode)] ^= 1;
  CHECK(content_of(read(writer), "file") == "first");
}

TEST_CASE("obsolete nodes and kinds of nodes that may be passed over", "[jffs2]") {
  Jffs2Writer writer(any_order());
  writer.add_node(jffs2::kCleanMarker, "");
  writer.add_file("file", file_of(2, "content"));
  writer.add_node(jffs2::kPadding, std::string(40, 'p'));
  writer.add_node(jffs2::kSummary, std::string(60, 's'));
  writer.add_node(0x600f, "unknown, but copied");
  writer.add_node(0x200e, "unknown, but deleted");
  writer.add_node(0xa00f, "unknown, but readable");
  const size_t deletion = writer.add_name({1, 2, 0, "file"});
  // Flash can clear bits in place; the checksum is that of the node before.
  const size_t flag = deletion + (writer.order() == jffs2::ByteOrder::kBig ? 2 : 3);
  writer.bytes()[flag] = static_cast<char>(writer.bytes()[flag] & ~0x20);
  CHECK(content_of(read(writer), "file") == "content");
  CHECK(notes_of(writer).empty());
}

TEST_CASE("names without an inode, and directories without a state", "[jffs2]") {
  Jffs2Writer writer;
  writer.add_file("lost", file_of(5, ""), 4);
  writer.add_name({1, 1, 4, "directory"});
  writer.add_name({1, 1, 77, "nothing"});
  const FileTree tree = read(writer);
  CHECK_FALSE(has_path(tree, "nothing"));
  CHECK(tree_file(tree, "directory").is_implied);
  CHECK(tree_file(tree, "directory").state.mode == 0040755);
  CHECK(has_path(tree, "directory/lost"));
  CHECK(notes_of(writer).size() == 2);
}
