// SPDX-License-Identifier: BSD-3-Clause
#include "fsparse/inode.h"

#include "tests/unit/support/open_image.h"

namespace unionfs {
namespace {

using namespace testing;

// One inode of every type.
std::vector<std::string> every_type(const std::filesystem::path& directory) {
  write_file(directory / "content", "some words");
  return {"write " + (directory / "content").string() + " regular",
          "mkdir directory",
          "symlink fast target",
          "symlink slow " + std::string(100, 't'),
          "mknod fifo p",
          "mknod character c 1 3",
          "mknod block b 7 0"};
}

// The bytes that debugfs' inode_dump prints: lines "0020  0123 4567 ...  text",
// "*" for lines that repeat.
std::vector<std::byte> dumped_record(const std::string& output, size_t size_bytes) {
  std::vector<std::byte> bytes(size_bytes);
  size_t filled = 0;
  std::vector<std::byte> line_bytes;
  size_t begin = 0;
  while (begin < output.size()) {
    const size_t end = std::min(output.find('\n', begin), output.size());
    const std::string line = output.substr(begin, end - begin);
    begin = end + 1;
    if (line.size() < 8 || line[0] == '*') {
      continue;
    }
    const size_t offset = std::stoul(line.substr(0, 4), nullptr, 8);
    while (filled < offset && !line_bytes.empty()) {  // lines left out as repeated
      std::copy(line_bytes.begin(), line_bytes.end(), bytes.begin() + static_cast<long>(filled));
      filled += line_bytes.size();
    }
    line_bytes.clear();
    for (size_t i = 0; i < 16; ++i) {
      const std::string digits = line.substr(6 + i * 2 + i / 2, 2);
      line_bytes.push_back(static_cast<std::byte>(std::stoul(digits, nullptr, 16)));
    }
    std::copy(line_bytes.begin(), line_bytes.end(), bytes.begin() + static_cast<long>(offset));
    filled = offset + 16;
  }
  while (filled < size_bytes) {
    std::copy(line_bytes.begin(), line_bytes.end(), bytes.begin() + static_cast<long>(filled));
    filled += 16;
  }
  return bytes;
}

}  // namespace

TEST_CASE("inodes of every type are told apart", "[fsparse][inode]") {
  const RealImage real(8192, {.inode_size_bytes = GENERATE(128U, 256U)});
  real.change(every_type(real.directory()));
  const OpenImage open(real.load());
  CHECK(open.inode("regular").file_type() == ext2::kFileTypeRegular);
  CHECK(open.inode("regular").size_bytes() == 10);
  CHECK(open.inode("directory").is_directory());
  CHECK(open.inode("fast").is_fast_symlink());
  CHECK_FALSE(open.inode("fast").has_block_map());
  CHECK(open.inode("slow").is_symlink());
  CHECK_FALSE(open.inode("slow").is_fast_symlink());
  CHECK(open.inode("slow").has_block_map());
  CHECK(open.inode("fifo").is_fifo());
  CHECK(open.inode("character").file_type() == ext2::kFileTypeCharDevice);
  CHECK(open.inode("block").file_type() == ext2::kFileTypeBlockDevice);
  for (const char* name : {"fifo", "character", "block"}) {
    CHECK_FALSE(open.inode(name).has_block_map());
    CHECK(open.inode(name).has_known_type());
  }
  CHECK(open.inode(InodeNumber(7)).has_block_map());
  CHECK(open.inode(InodeNumber(1)).has_block_map());
  CHECK_FALSE(open.inode(InodeNumber(3)).has_block_map());
}

TEST_CASE("a symlink with an xattr block is still fast", "[fsparse][inode]") {
  const RealImage real(8192, {});
  real.change({"symlink fast target", "symlink slow " + std::string(70, 't'),
               "ea_set fast trusted.a b", "ea_set slow trusted.a b"});
  real.check_clean();
  const OpenImage open(real.load());
  CHECK(open.inode("fast").file_acl().value() != 0);
  CHECK(open.inode("fast").raw().i_blocks == 2);
  CHECK(open.inode("fast").is_fast_symlink());
  CHECK(open.inode("slow").raw().i_blocks == 4);
  CHECK_FALSE(open.inode("slow").is_fast_symlink());
}

TEST_CASE("records are what debugfs dumps", "[fsparse][inode]") {
  const uint32_t inode_size = GENERATE(128U, 256U, 1024U);
  const RealImage real(8192, {.inode_size_bytes = inode_size});
  real.change(every_type(real.directory()));
  real.change({"sif regular uid 0x12345678", "sif regular gid 0x9abcdef0",
               "sif regular size 0x123456789", "sif regular mtime_extra 5"});
  OpenImage open(real.load());
  for (uint32_t number = 1; number <= 20; ++number) {
    const InodeRecord inode = open.inode(InodeNumber(number));
    const auto dumped =
        dumped_record(real.debugfs(fmt::format("inode_dump <{}>", number)), inode_size);
    INFO("inode " << number);
    CHECK(std::equal(dumped.begin(), dumped.end(), inode.bytes().begin(), inode.bytes().end()));
  }
  const InodeRecord regular = open.inode("regular");
  CHECK(regular.size_bytes() == 0x123456789);
  CHECK(regular.user_id() == 0x12345678);
  CHECK(regular.group_id() == 0x9abcdef0);
  open.raw(open.inode("directory").number()).i_size_high = 7;
  CHECK(open.inode("directory").size_bytes() == 1024);  // i_dir_acl, not a size
}

TEST_CASE("extra fields count as far as i_extra_isize goes", "[fsparse][inode]") {
  const RealImage real(8192, {.inode_size_bytes = 256});
  real.change(every_type(real.directory()));
  real.change({"sif regular mtime_extra 0x55", "sif regular crtime 0x1234"});
  OpenImage open(real.load());
  const InodeNumber number = open.inode("regular").number();
  const uint64_t offset = inode_offset(open.volume.layout(), open.volume.groups(), number);
  Le16& extra_size = open.image.edit<Le16>(offset + 128);
  REQUIRE(extra_size == 32);
  const auto extra = open.inode(number).extra();
  REQUIRE(extra.has_value());
  CHECK(extra->i_mtime_extra == 0x55);
  CHECK(extra->i_crtime == 0x1234);
  extra_size = 12;
  CHECK(open.inode(number).extra()->i_mtime_extra == 0x55);
  CHECK(open.inode(number).extra()->i_crtime == 0);
  for (const uint16_t wrong : std::initializer_list<uint16_t>{0, 1, 3, 30, 129, 132, 0xffff}) {
    extra_size = wrong;
    INFO("i_extra_isize " << wrong);
    CHECK_FALSE(open.inode(number).extra().has_value());
  }
  extra_size = 128;
  CHECK(open.inode(number).extra().has_value());
}

TEST_CASE("there are no extra fields in 128 bytes", "[fsparse][inode]") {
  const OpenImage open(RealImage(8192, {}).load());
  CHECK(open.inode(InodeNumber(2)).extra_size_bytes() == 0);
  CHECK_FALSE(open.inode(InodeNumber(2)).extra().has_value());
}

TEST_CASE("inode numbers outside the image are refused", "[fsparse][inode]") {
  OpenImage open(RealImage(8192, {}).load());
  const auto count = static_cast<uint32_t>(open.volume.layout().inode_count());
  CHECK(open.inode(InodeNumber(count)).type() == 0);
  CHECK(open.image.read_count() == 1);
  for (const uint32_t wrong : {0U, count + 1, 0xffffffffU}) {
    expect_error(read_inode(open.volume, InodeNumber(wrong)),
                 {fmt::format("lower.img: inode {} is not from 1 to {}", wrong, count)});
  }
  const uint64_t offset = inode_offset(open.volume.layout(), open.volume.groups(), InodeNumber(20));
  open.image.fail(offset, offset + 1);
  CHECK(expect_error(read_inode(open.volume, InodeNumber(20)), {"lower.img"}) ==
        ErrorKind::kSystem);
}

}  // namespace unionfs
