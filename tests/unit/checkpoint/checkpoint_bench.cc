// SPDX-License-Identifier: BSD-3-Clause
#include "tests/unit/checkpoint/checkpoint_bench.h"

#include <algorithm>
#include <atomic>
#include <fstream>

namespace unionfs::testing {

void write_differences(Disk& disk, ConstByteSpan wanted) {
  const std::vector<std::byte> now = read_all(disk);
  const size_t size = disk.geometry().merged().block_size_bytes;
  for (size_t offset = 0; offset < now.size(); offset += size) {
    const ConstByteSpan block = wanted.subspan(offset, size);
    if (!std::equal(block.begin(), block.end(), now.begin() + static_cast<ptrdiff_t>(offset))) {
      expect_success(disk.write(offset, block));
    }
  }
}

std::vector<std::byte> changed_by_debugfs(const Disk& disk,
                                          const std::vector<std::string>& requests) {
  const ScratchDirectory scratch;
  const std::filesystem::path path = scratch.path() / "merged.img";
  std::vector<std::byte> bytes = read_all(disk);
  save(bytes, path);
  std::filesystem::resize_file(path, bytes.size());
  for (const auto& [name, length] :
       {std::pair("small", 500), std::pair("large", 90000), std::pair("larger", 140000)}) {
    const std::vector<std::byte> content = pattern(static_cast<uint64_t>(length), size_t(length));
    write_file(scratch.path() / name,
               {reinterpret_cast<const char*>(content.data()), content.size()});
  }
  std::string input;
  for (const std::string& request : requests) {
    std::string line = request;
    if (const size_t at = line.find("@/"); at != std::string::npos) {
      line.replace(at, 1, scratch.path().string());
    }
    input += line + "\n";
  }
  run({"debugfs", "-w", "-f", "-", path.string()}, input);
  // What debugfs leaves may take e2fsck two rounds.
  run({"e2fsck", "-fy", path.string()}, "", {0, 1});
  run({"e2fsck", "-fy", path.string()}, "", {0, 1});
  run({"e2fsck", "-fn", path.string()});
  std::ifstream stream(path, std::ios::binary);
  stream.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  REQUIRE(stream);
  return bytes;
}

Result<CheckpointFigures> checkpoint(std::unique_ptr<Disk> disk) {
  UNIONFS_TRY(disk->close());
  const std::atomic<bool> is_cancelled{false};
  return disk->checkpoint(AskedBy::kPerson, is_cancelled);
}

std::vector<std::byte> shown(const Lower& lower, WritableFile& upper, const std::string& boot_id) {
  std::unique_ptr<Disk> disk = load_disk(lower, upper, boot_id);
  if (disk->has_journal()) {
    expect_success(disk->finish_checkpoint());
    disk = load_disk(lower, upper, boot_id);
    CHECK_FALSE(disk->has_journal());
  }
  expect_success(disk->attach(Access::kReadOnly));
  return read_all(*disk);
}

const CheckpointImages& CheckpointImages::of(uint32_t block_size_bytes) {
  static std::map<uint32_t, std::unique_ptr<CheckpointImages>> all;
  std::unique_ptr<CheckpointImages>& images = all[block_size_bytes];
  if (!images) {
    images.reset(new CheckpointImages(block_size_bytes));
  }
  return *images;
}

CheckpointImages::CheckpointImages(uint32_t block_size_bytes)
    : lower_(small_image(block_size_bytes)) {
  std::unique_ptr<MemoryFile> upper = make_upper(lower_, small_merged_size(block_size_bytes));
  auto disk = open_disk(lower_, *upper);
  write_differences(
      *disk, changed_by_debugfs(
                 *disk, {"mkdir /new", "write @/large /new/large", "write @/small /new/small",
                         "symlink /new/link " + std::string(80, 'y'), "rm /small",
                         "set_inode_field /etc/deep/deeper/large mode 0100600",
                         "punch /etc/deep/deeper/large 20 40", "mknod /new/pipe p",
                         "ea_set /new/small user.note of_the_layer", "rmdir /empty"}));
  value_of(checkpoint(std::move(disk)));
  with_layer_ = upper->clone();

  disk = open_disk(lower_, *upper);
  before_ = read_all(*disk);
  write_differences(
      *disk,
      changed_by_debugfs(*disk, {"rm /new/large", "write @/larger /new/larger", "mkdir /etc/more",
                                 "write @/small /etc/more/small", "rm /link", "mknod /link c 1 3",
                                 "ln /hello /new/hello", "set_inode_field /hello links_count 3",
                                 "set_inode_field /new/small mtime 20200101", "rm /new/link",
                                 "punch /etc/deep/deeper/large 100 150", "unlink /etc/middle",
                                 "set_inode_field /new/pipe uid 77"}));
  expect_success(disk->close());
  session_ = read_all(*disk);
  disk.reset();
  with_session_ = upper->clone();

  value_of(checkpoint(open_disk(lower_, *upper)));
  after_ = shown(lower_, *upper);
  const std::string differing = difference(facts_of(session_), facts_of(after_));
  if (!differing.empty() || session_ == before_) {
    throw std::runtime_error("the checkpoint that tests start from is wrong: " + differing);
  }
  check_layer_clean(*upper);
}

}  // namespace unionfs::testing
