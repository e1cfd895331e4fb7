// SPDX-License-Identifier: BSD-3-Clause
//
// Images that mkfs.jffs2 made, against the directory that it made them of.  It cuts targets of
// symlinks to 256 bytes, and knows the old numbers of devices alone.
#include <fstream>
#include <set>

#include "overlay/host/posix_file.h"
#include "overlay/sources/jffs2_nodes.h"
#include "overlay/sources/jffs2_source.h"
#include "tests/unit/sources/jffs2_writer.h"
#include "tests/unit/sources/sample_directory.h"
#include "tests/unit/sources/tree_facts.h"
#include "tests/unit/support/expect.h"
#include "tests/unit/support/real_image.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

using std::filesystem::path;

struct Compressor {
  const char* options;
  uint8_t compr;
};

// What compresses nodes of the image.
std::set<uint8_t> compressors_in(const std::string& image) {
  std::set<uint8_t> found;
  MemoryImage bytes("flash.img", [&] {
    const auto* begin = reinterpret_cast<const std::byte*>(image.data());
    return std::vector<std::byte>(begin, begin + image.size());
  }());
  for (const auto& [inode, nodes] : value_of(jffs2::read_nodes(bytes, {})).inodes) {
    for (const jffs2::InodeNode& node : nodes) {
      found.insert(node.compression);
    }
  }
  return found;
}

std::string read_image(const path& image) {
  std::ifstream file(image, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void no_notes(const std::string& note) {
  FAIL_CHECK("a sound image was complained of: " << note);
}

}  // namespace

TEST_CASE("what mkfs.jffs2 packed is read", "[jffs2]") {
  const Compressor compressor =
      GENERATE(values<Compressor>({{"-m none", jffs2::kComprNone},
                                   {"-x zlib -x lzo", jffs2::kComprRtime},
                                   {"-x rtime -x lzo", jffs2::kComprZlib},
                                   {"-x zlib -x rtime -X lzo", jffs2::kComprLzo},
                                   {"-s 16384 -x rtime -x lzo", jffs2::kComprZlib}}));
  const std::string order = GENERATE("-l", "-b");
  const std::string blocks = GENERATE("-e 128KiB", "-e 64KiB -p -n");
  INFO(compressor.options << " " << order << " " << blocks);
  const ScratchDirectory scratch;
  make_sample_directory(scratch.path() / "tree");
  const path image = scratch.path() / "image";
  run({"sh", "-c",
       fmt::format("cd {} && mkfs.jffs2 {} {} {} -r tree -o image", scratch.path().string(),
                   compressor.options, order, blocks)});
  expect_as_directory(value_of(read_jffs2_image(image.string(), no_notes)), scratch.path() / "tree",
                      ComparedTimes::kSecondsOfFiles);
  CHECK(compressors_in(read_image(image)).contains(compressor.compr));
}

TEST_CASE("attributes and ACLs of mkfs.jffs2 are read in both byte orders", "[jffs2]") {
  const std::string order = GENERATE("-l", "-b");
  const ScratchDirectory scratch;
  const path tree = scratch.path() / "tree";
  std::filesystem::create_directories(tree / "directory");
  write_file(tree / "file", "content");
  if (!set_attribute(tree / "file", "user.colour", "blue")) {
    WARN("no attributes in " << scratch.path().string());
    return;
  }
  REQUIRE(set_attribute(tree / "directory", "user.long", std::string(3000, 'v')));
  REQUIRE(set_sample_acl(tree / "file", "system.posix_acl_access"));
  REQUIRE(set_sample_acl(tree / "directory", "system.posix_acl_default"));
  const path image = scratch.path() / "image";
  run({"mkfs.jffs2", order, "--with-xattr", "-r", tree.string(), "-o", image.string()});
  const FileTree read = value_of(read_jffs2_image(image.string(), no_notes));
  CHECK(tree_file(read, "file").state.attributes.size() == 2);
  expect_as_directory(read, tree, ComparedTimes::kSecondsOfFiles);
}

TEST_CASE("an image whose byte order jffs2dump turned says the same", "[jffs2]") {
  const ScratchDirectory scratch;
  const path tree = scratch.path() / "tree";
  make_sample_directory(tree);
  // jffs2dump leaves their numbers as they are.
  std::filesystem::remove(tree / "tty");
  std::filesystem::remove(tree / "disk");
  const path image = scratch.path() / "image";
  const path turned = scratch.path() / "turned";
  run({"mkfs.jffs2", "-l", "-r", tree.string(), "-o", image.string()});
  run({"jffs2dump", "-l", "-r", "-e", turned.string(), image.string()});
  const auto order =
      value_of(jffs2::find_byte_order(*value_of(PosixFile::open(turned, FileLock::kShared))));
  CHECK(order == jffs2::ByteOrder::kBig);
  expect_as_directory(value_of(read_jffs2_image(turned.string(), no_notes)), tree,
                      ComparedTimes::kSecondsOfFiles);
}

// The reader of mtd-utils passes over the first name, and over what lies behind the first
// eraseblock and page.
TEST_CASE("jffs2reader and jffs2dump see the same names and bytes", "[jffs2]") {
  const ScratchDirectory scratch;
  const path tree = scratch.path() / "tree";
  std::filesystem::create_directories(tree);
  for (const char* name : {"first", "second", "third"}) {
    write_file(tree / name, sample_text(3000, name[0]));
  }
  std::filesystem::create_symlink("target", tree / "zlink");
  const std::string image = scratch.path() / "image";
  run({"mkfs.jffs2", "-l", "-r", tree.string(), "-o", image});
  const FileTree read = value_of(read_jffs2_image(image, no_notes));
  const std::string listing = run({"jffs2reader", image, "-d", "/"});
  for (const char* name : {"second", "third"}) {
    CHECK(run({"jffs2reader", image, "-f", std::string("/") + name}) == content_of(read, name));
    CHECK_THAT(listing, Catch::Contains(name));
  }
  CHECK_THAT(listing, Catch::Contains("zlink  -> target"));
  const std::string dump = run({"jffs2dump", "-l", "-c", image});
  size_t dirents = 0;
  for (size_t at = dump.find("Dirent"); at != dump.npos; at = dump.find("Dirent", at + 1)) {
    ++dirents;
  }
  CHECK(dirents == read.root().names.size());
}

TEST_CASE("erased flash and garbage around and between nodes do not matter", "[jffs2]") {
  const ScratchDirectory scratch;
  make_sample_directory(scratch.path() / "tree");
  const path image = scratch.path() / "image";
  run({"mkfs.jffs2", "-r", (scratch.path() / "tree").string(), "-o", image.string()});
  const std::string before = GENERATE(std::string(300000, '\xff'), std::string(1000, '\0'),
                                      std::string("garbage!\x85\x19\x01\xe0garbage!"));
  write_file(image, before + read_image(image) + std::string(1 << 20, '\xff') + before + "x");
  expect_as_directory(value_of(read_jffs2_image(image.string(), no_notes)), scratch.path() / "tree",
                      ComparedTimes::kSecondsOfFiles);
}

TEST_CASE("what is no jffs2 image is told from one", "[jffs2]") {
  const ScratchDirectory scratch;
  make_sample_directory(scratch.path() / "tree");
  const std::string image = scratch.path() / "image";
  const std::string order = GENERATE("-l", "-b");
  run({"mkfs.jffs2", order, "-r", (scratch.path() / "tree").string(), "-o", image});
  CHECK(value_of(is_jffs2(*value_of(PosixFile::open(image, FileLock::kShared)))));
  for (const std::string& other : {std::string(100000, '\xff'), std::string(),
                                   std::string("\x85\x19"), sample_noise(100000)}) {
    write_file(image, other);
    CHECK_FALSE(value_of(is_jffs2(*value_of(PosixFile::open(image, FileLock::kShared)))));
    CHECK(expect_error(read_jffs2_image(image, {}), {"image", "no jffs2 image"}) ==
          ErrorKind::kInvalid);
  }
}

TEST_CASE("an image that is cut or has flipped bits gives files or an error", "[jffs2]") {
  const ScratchDirectory scratch;
  make_sample_directory(scratch.path() / "tree");
  const path image = scratch.path() / "image";
  run({"mkfs.jffs2", "-m", "size", "-X", "lzo", "-r", (scratch.path() / "tree").string(), "-o",
       image.string()});
  const std::string sound = read_image(image);
  uint32_t state = 99;
  size_t read_wholly = 0;
  for (int round = 0; round < 60; ++round) {
    std::string bytes = sound;
    for (int flips = 0; flips < 20; ++flips) {
      state = state * 1664525 + 1013904223;
      // Into heads, behind which the checksums are made right.
      bytes[(state >> 8) % 6000] = static_cast<char>(state);
    }
    bytes.resize(bytes.size() - state % 5000);
    if (round % 2 == 0) {
      mend_jffs2(bytes, jffs2::ByteOrder::kLittle);
    }
    write_file(image, bytes);
    const auto tree = read_jffs2_image(image.string(), {});
    if (!tree) {
      continue;
    }
    ++read_wholly;
    for (TreeFileId id = 0; id < tree->file_count(); ++id) {
      if (FileBytes* content = tree->file(id).content.get()) {
        std::vector<std::byte> bytes_read(std::min<uint64_t>(content->size_bytes(), 1 << 20));
        const auto result = content->read(0, bytes_read);
        CHECK((result || !result.error().message.empty()));
      }
    }
  }
  CHECK(read_wholly > 0);
}
