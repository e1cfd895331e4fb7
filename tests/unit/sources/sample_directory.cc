// SPDX-License-Identifier: BSD-3-Clause
#include "tests/unit/sources/sample_directory.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/unit/support/expect.h"
#include "tests/unit/support/real_image.h"

namespace unionfs::testing {
namespace {

void make_special_files(const std::filesystem::path& directory) {
  REQUIRE(mkfifo((directory / "fifo").c_str(), 0640) == 0);
  if (geteuid() == 0) {
    REQUIRE(mknod((directory / "tty").c_str(), S_IFCHR | 0620, makedev(4, 64)) == 0);
    REQUIRE(mknod((directory / "disk").c_str(), S_IFBLK | 0660, makedev(8, 17)) == 0);
    REQUIRE(lchown((directory / "text").c_str(), 1000, 65534) == 0);
    REQUIRE(chmod((directory / "text").c_str(), 06755) == 0);
  }
}

}  // namespace

std::string sample_text(size_t length, int seed) {
  std::string text;
  for (int line = seed; text.size() < length; ++line) {
    text += fmt::format("line {} of {}\n", line * 7919, seed);
  }
  text.resize(length);
  return text;
}

std::string sample_noise(size_t length) {
  std::string noise;
  uint32_t state = 12345;
  while (noise.size() < length) {
    state = state * 1664525 + 1013904223;
    noise += static_cast<char>(state >> 24);
  }
  return noise;
}

void make_sample_directory(const std::filesystem::path& directory) {
  std::filesystem::create_directories(directory / "sub/deep/deeper");
  write_file(directory / "empty", "");
  write_file(directory / "one", "1");
  write_file(directory / "page", sample_text(4096, 1));
  write_file(directory / "text", sample_text(100001, 2));
  write_file(directory / "noise", sample_noise(70000));
  write_file(directory / "zeros", std::string(50000, '\0') + "end");
  write_file(directory / "sub/runs",
             std::string(9000, 'a') + sample_text(100, 3) + std::string(9000, 'b'));
  write_file(directory / "sub/deep/deeper" / std::string(200, 'n'), "long name");
  write_file(directory / "sub/\xff odd\nname", "odd");
  std::filesystem::create_hard_link(directory / "one", directory / "sub/one again");
  std::filesystem::create_symlink("../text", directory / "sub/link");
  std::filesystem::create_symlink(std::string(250, 't'), directory / "long link");
  make_special_files(directory);
}

bool set_attribute(const std::filesystem::path& file, const char* name, const std::string& value) {
  return setxattr(file.c_str(), name, value.data(), value.size(), 0) == 0;
}

bool set_sample_acl(const std::filesystem::path& file, const char* name) {
  constexpr uint8_t kSampleAcl[] = {
      2,  0, 0, 0,                                                         //
      1,  0, 7, 0, 255, 255, 255, 255, 2,  0, 6, 0, 0x70, 0x11, 1,   0,    //
      4,  0, 4, 0, 255, 255, 255, 255, 16, 0, 7, 0, 255,  255,  255, 255,  //
      32, 0, 0, 0, 255, 255, 255, 255};
  return setxattr(file.c_str(), name, kSampleAcl, sizeof kSampleAcl, 0) == 0;
}

}  // namespace unionfs::testing
