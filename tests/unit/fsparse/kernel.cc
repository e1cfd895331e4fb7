// SPDX-License-Identifier: BSD-3-Clause
//
// A tree that the kernel wrote, against what the kernel says of it.  Hidden:
// kernel.sh runs it where images can be mounted.
#include <dirent.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <map>

#include "fsparse/symlink.h"
#include "fsparse/xattr.h"
#include "tests/unit/support/open_image.h"

namespace unionfs {
namespace {

using namespace testing;

// Mounted until the end of its scope.
class Mounted {
 public:
  explicit Mounted(const RealImage& image) : directory_(image.directory() / "mounted") {
    std::filesystem::create_directories(directory_);
    run({"mount", "-t", "ext2", "-o", "loop", image.path().string(), directory_.string()});
  }
  ~Mounted() {
    try {
      run({"umount", directory_.string()});
    } catch (const std::exception& exception) {
      WARN(exception.what());
    }
  }
  Mounted(const Mounted&) = delete;
  Mounted& operator=(const Mounted&) = delete;

  const std::filesystem::path& directory() const { return directory_; }

 private:
  std::filesystem::path directory_;
};

std::string name_of(int number) {
  return fmt::format("{}-{}", number, std::string(120, 'n'));
}

void set_attribute(const std::filesystem::path& path, const std::string& name,
                   std::string_view value) {
  INFO(path << " " << name);
  REQUIRE(lsetxattr(path.c_str(), name.c_str(), value.data(), value.size(), 0) == 0);
}

void write_tree(const std::filesystem::path& top) {
  std::filesystem::create_directory(top / "many");
  for (int i = 0; i < 1500; ++i) {
    write_file(top / "many" / name_of(i), "");
  }
  for (int i = 0; i < 1500; i += 3) {
    std::filesystem::remove(top / "many" / name_of(i));
  }
  write_file(top / "sparse", "begin");
  std::filesystem::resize_file(top / "sparse", uint64_t{3} << 30);
  std::filesystem::create_symlink("target", top / "fast");
  std::filesystem::create_symlink(std::string(59, 'f'), top / "longest fast");
  std::filesystem::create_symlink(std::string(60, 's'), top / "shortest slow");
  std::filesystem::create_symlink(std::string(1000, 's'), top / "slow");
  set_attribute(top / "fast", "trusted.link", "of a symlink");
  set_attribute(top / "slow", "trusted.link", "of a symlink");
  write_file(top / "attributes", "");
  set_attribute(top / "attributes", "user.colour", "green");
  set_attribute(top / "attributes", "user.long", std::string(500, 'v'));
  set_attribute(top / "attributes", "security.capability.x", std::string("\0\1\2", 3));
  set_attribute(top / "attributes", "trusted.empty", "");
}

// What lies below a directory: name to inode number.
std::map<std::string, uint64_t> listed(const std::filesystem::path& directory) {
  std::map<std::string, uint64_t> list;
  DIR* stream = opendir(directory.c_str());
  REQUIRE(stream != nullptr);
  while (const dirent* entry = readdir(stream)) {
    list[entry->d_name] = entry->d_ino;
  }
  closedir(stream);
  return list;
}

std::map<std::string, std::string> attributes_of(const std::filesystem::path& path) {
  std::map<std::string, std::string> map;
  std::vector<char> names(4096);
  const ssize_t names_size = llistxattr(path.c_str(), names.data(), names.size());
  REQUIRE(names_size >= 0);
  for (ssize_t i = 0; i < names_size;) {
    const std::string name = names.data() + i;
    i += static_cast<ssize_t>(name.size()) + 1;
    std::vector<char> value(4096);
    const ssize_t size = lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
    REQUIRE(size >= 0);
    map[name] = std::string(value.data(), static_cast<size_t>(size));
  }
  return map;
}

void compare_file(const OpenImage& open, const std::filesystem::path& path, InodeNumber number) {
  struct stat status = {};
  REQUIRE(lstat(path.c_str(), &status) == 0);
  const InodeRecord inode = open.inode(number);
  INFO(path);
  CHECK(inode.raw().i_mode == status.st_mode);
  CHECK(inode.size_bytes() == static_cast<uint64_t>(status.st_size));
  CHECK(inode.raw().i_blocks == status.st_blocks);
  CHECK(inode.raw().i_links_count == status.st_nlink);
  if (inode.is_symlink()) {
    CHECK(value_of(read_symlink(open.volume, inode)) == std::filesystem::read_symlink(path));
  }
  std::map<std::string, std::string> found;
  for (const Attribute& attribute : value_of(read_attributes(open.volume, inode))) {
    found[attribute.full_name()] = {reinterpret_cast<const char*>(attribute.value.data()),
                                    attribute.value.size()};
  }
  CHECK(found == attributes_of(path));
  // i_blocks counts what the walk finds, and the xattr block.
  uint64_t block_count = inode.file_acl().value() != 0 ? 1 : 0;
  expect_success(walk_block_map(open.volume, inode, [&](BlockRole, BlockNumber) {
    ++block_count;
    return WalkStep::kContinue;
  }));
  CHECK(block_count * open.volume.layout().block_size_bytes / 512 == inode.raw().i_blocks);
}

void compare_directory(const OpenImage& open, const std::filesystem::path& path,
                       InodeNumber number) {
  const InodeRecord directory = open.inode(number);
  const auto expected = listed(path);
  CHECK(value_of(read_directory(open.volume, directory)).size() == expected.size());
  for (const auto& [name, inode] : expected) {
    const auto found = value_of(find_name(open.volume, directory, name));
    INFO(path << " " << name);
    REQUIRE(found.has_value());
    CHECK(found->inode.value() == inode);
    if (name != "." && name != "..") {
      compare_file(open, path / name, found->inode);
    }
  }
}

}  // namespace

TEST_CASE("a tree of the kernel reads as the kernel reads it", "[.][kernel]") {
  const uint32_t inode_size = GENERATE(128U, 256U);
  const uint32_t block_size = GENERATE(1024U, 4096U);
  CAPTURE(inode_size, block_size);
  const RealImage real(32768, {.block_size_bytes = block_size, .inode_size_bytes = inode_size});
  write_tree(Mounted(real).directory());
  real.check_clean();
  const OpenImage open(real.load());
  const Mounted mounted(real);
  compare_directory(open, mounted.directory(), kRootDirectory);
  compare_directory(open, mounted.directory() / "many", open.inode("many").number());
  if (!open.inode("many").has_index()) {
    WARN("this kernel's ext2 keeps no indexes");  // a driver of its own, not ext4's
  }
}

}  // namespace unionfs
