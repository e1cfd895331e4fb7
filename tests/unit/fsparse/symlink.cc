// SPDX-License-Identifier: BSD-3-Clause
#include "fsparse/symlink.h"

#include "tests/unit/support/open_image.h"

namespace unionfs {
namespace {

using namespace testing;

std::string target_of(size_t length) {
  std::string text;
  for (size_t i = 0; i < length; ++i) {
    text += static_cast<char>('a' + i % 26);
  }
  return text;
}

}  // namespace

TEST_CASE("symlinks of every length are read", "[fsparse][symlink]") {
  const uint32_t block_size = GENERATE(1024U, 2048U, 4096U);
  const RealImage real(4096, {.block_size_bytes = block_size});
  const std::vector<size_t> lengths = {1, 2, 58, 59, 60, 61, 200, 1000};
  for (const size_t length : lengths) {
    real.change({fmt::format("symlink link{} {}", length, target_of(length))});
  }
  const OpenImage open(real.load());
  for (const size_t length : lengths) {
    const InodeRecord inode = open.inode(fmt::format("link{}", length));
    CHECK(value_of(read_symlink(open.volume, inode)) == target_of(length));
    CHECK(inode.is_fast_symlink() == (length < 60));
    CHECK_THAT(real.debugfs(fmt::format("stat link{}", length)),
               Catch::Contains(length < 60 ? "Fast link dest: \"" + target_of(length) : "(0):"));
  }
}

TEST_CASE("symlinks of a wrong shape are refused", "[fsparse][symlink]") {
  const RealImage real(4096, {});
  real.change({"symlink fast " + target_of(59), "symlink slow " + target_of(300)});
  OpenImage open(real.load());
  ext2::Inode& fast = open.raw(open.inode("fast").number());
  ext2::Inode& slow = open.raw(open.inode("slow").number());
  const auto expect = [&](std::string_view name, std::initializer_list<std::string> parts) {
    expect_error(read_symlink(open.volume, open.inode(name)), parts);
  };
  SECTION("size 0") {
    fast.i_size = 0;
    slow.i_size = 0;
    expect("fast", {"lower.img: inode 12: symlink of 0 bytes, not of 1 to 59"});
    expect("slow", {"lower.img: inode 13: symlink of 0 bytes, not of 1 to 1023"});
  }
  SECTION("too long") {
    fast.i_size = 60;
    slow.i_size = 1024;
    expect("fast", {"symlink of 60 bytes"});
    expect("slow", {"symlink of 1024 bytes"});
    slow.i_size = 0xffffffff;
    expect("slow", {"symlink of 4294967295 bytes"});
  }
  SECTION("a NUL in the target") {
    fast.i_block[1] = 0;
    open.block(BlockNumber(slow.i_block[0].value()))[299] = std::byte{0};
    expect("fast", {"NUL"});
    expect("slow", {"NUL"});
  }
  SECTION("no block") {
    slow.i_block[0] = 0;
    expect("slow", {"symlink has no block"});
  }
  SECTION("a block outside") {
    slow.i_block[0] = 900123;
    expect("slow", {"lower.img: inode 13: block 900123 is outside the image (4096 blocks)"});
  }
  SECTION("not a symlink") {
    expect("lost+found", {"is not a symlink"});
  }
}

}  // namespace unionfs
