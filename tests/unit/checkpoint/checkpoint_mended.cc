// SPDX-License-Identifier: BSD-3-Clause
//
// Lowers that are damaged, and that the client's e2fsck mends on the served disk.  What it
// leaves is clean ext2, so it becomes a layer, and stays clean.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <random>

#include "fsparse/block_map.h"
#include "overlay/upper/layer_create.h"
#include "tests/unit/checkpoint/checkpoint_bench.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

struct Damage {
  const char* name;
  std::vector<std::string> requests;  // of debugfs; {FILE} is its first block, {FILE 14} its 14th
  std::vector<std::string> client_requests = {};  // what the client does before its e2fsck
};

const Damage kDamages[] = {
    {"a free inode has a mode and a link",
     {"set_inode_field <40> mode 0100644", "set_inode_field <40> links_count 1",
      "set_inode_field <40> size 5"}},
    {"a free inode has a mode and no time of its deletion", {"set_inode_field <40> mode 0100644"}},
    {"a free inode has blocks of a file",
     {"set_inode_field <40> mode 0100644", "set_inode_field <40> links_count 1",
      "set_inode_field <40> size 9000", "set_inode_field <40> block[0] {/etc/middle}",
      "set_inode_field <40> block[1] {/small}", "set_inode_field <40> block[2] 700"}},
    {"a free inode is a directory",
     {"set_inode_field <40> mode 040755", "set_inode_field <40> links_count 2",
      "set_inode_field <40> size 1024", "set_inode_field <40> block[0] {/etc}"}},
    {"an inode is marked free", {"freei /small"}},
    {"an inode of many blocks is marked free", {"freei /etc/deep/deeper/large"}},
    {"a directory is marked free", {"freei /etc"}},
    {"an inode that nobody has is marked used", {"seti <40>"}},
    {"an inode is empty", {"clri /small"}},
    {"a directory is empty", {"clri /etc"}},
    {"a directory below a directory is empty", {"clri /etc/deep"}},
    {"a block is marked free", {"freeb {/etc/middle 3}"}},
    {"all blocks of a large file are marked free",
     {"freeb {/etc/deep/deeper/large} 12", "freeb {/etc/deep/deeper/large 14} 100"}},
    {"an indirect block is marked free", {"freeb {/etc/deep/deeper/large 13}"}},
    {"blocks of a directory are marked free", {"freeb {/etc}", "freeb {/etc/deep}"}},
    {"a block that nobody has is marked used", {"setb 900 7"}},
    {"wrong link counts",
     {"set_inode_field /hello links_count 7", "set_inode_field /small links_count 0",
      "set_inode_field /etc links_count 9"}},
    {"wrong counts of blocks",
     {"set_inode_field /small blocks 99", "set_inode_field /etc/middle blocks 0"}},
    {"used inodes have a time of deletion",
     {"set_inode_field /small dtime 123456789", "set_inode_field /etc dtime 123456789"}},
    {"a list of orphans",
     {"set_inode_field /small links_count 0", "unlink /small", "set_super_value last_orphan 15"}},
    {"inodes without a name", {"unlink /small", "unlink /etc/middle"}},
    {"a directory without a name", {"unlink /etc"}},
    {"a name of a free inode", {"link <45> /gone"}},
    {"a directory has two names", {"link /etc/deep /again"}},
    {"pointers lead outside and into the metadata",
     {"set_inode_field /etc/middle block[1] 999999", "set_inode_field /small block[0] 2",
      "set_inode_field /etc/middle block[IND] 888888"}},
    {"an indirect block is no indirect block",
     {"set_inode_field /etc/deep/deeper/large block[IND] {/small}"}},
    {"two files have one block",
     {"set_inode_field /etc/middle block[2] {/small}",
      "set_inode_field /etc/deep/deeper/large block[5] {/etc/middle}"}},
    {"two files have one block, and one gives it up",
     {"set_inode_field /etc/middle block[2] {/small}"},
     {"set_inode_field /etc/middle block[2] 0"}},
    {"two files have one block below an indirect block, and one is cut",
     {"set_inode_field /small block[0] {/etc/deep/deeper/large 40}"},
     {"set_inode_field /etc/deep/deeper/large block[IND] 0",
      "set_inode_field /etc/deep/deeper/large size 12288"}},
    {"two files have one indirect block",
     {"set_inode_field /etc/middle block[IND] {/etc/deep/deeper/large 13}"}},
    {"a directory has a hole",
     {"set_inode_field /etc size 3072", "set_inode_field /etc/deep size 2048"}},
    {"a directory of no size", {"set_inode_field /etc size 0"}},
    {"names are damaged", {"zap_block -p 0xff -o 30 -l 60 {/etc}"}},
    {"all names are damaged", {"zap_block {/etc}", "zap_block -p 0x21 {/etc/deep}"}},
    {"an unknown mode", {"set_inode_field /small mode 0170644"}},
    {"a directory became a file", {"set_inode_field /etc mode 0100644"}},
    {"a file became a directory", {"set_inode_field /small mode 040755"}},
    {"a device has blocks", {"set_inode_field /small mode 020644"}},
    {"a symbolic link without its target", {"set_inode_field \"/etc/long link\" block[0] 0"}},
    {"extended attributes elsewhere", {"set_inode_field /small file_acl 800"}},
    {"extended attributes outside", {"set_inode_field /small file_acl 999999"}},
    {"reserved inodes are in use",
     {"set_inode_field <9> mode 0100644", "set_inode_field <9> links_count 1",
      "set_inode_field <9> block[0] 700", "set_inode_field <8> mode 0100600",
      "set_inode_field <8> links_count 1", "set_inode_field <8> block[0] 701"}},
    {"a reserved inode is a directory",
     {"set_inode_field <10> mode 040755", "set_inode_field <3> mode 0120777"}},
    {"reserved inodes are free", {"freei <5>", "freei <9>"}},
};

// Puts the block that "{FILE NUMBER}" means in its place.
std::string with_blocks(const RealImage& image, std::string request) {
  const size_t begin = request.find('{');
  if (begin == std::string::npos) {
    return request;
  }
  const size_t end = request.find('}', begin);
  const std::string what = request.substr(begin + 1, end - begin - 1);
  const size_t blank = what.find(' ');
  const size_t number = blank == std::string::npos ? 1 : std::stoul(what.substr(blank));
  const std::vector<uint64_t> blocks = numbers_in(image.debugfs("blocks " + what.substr(0, blank)));
  return request.replace(begin, end + 1 - begin, std::to_string(blocks.at(number - 1)));
}

std::unique_ptr<RealImage> sound_image(const std::string& features) {
  const ScratchDirectory tree;
  make_tree(tree.path());
  MakeOptions options;
  options.features = "filetype,sparse_super,large_file,dir_index," + features;
  options.more = {"-g", "512", "-N", "192"};
  options.content = tree.path();
  auto image = std::make_unique<RealImage>(1500, options);
  image->change({"ea_set /hello user.note of_the_lower"});
  return image;
}

struct Use {
  const char* name;
  std::vector<std::vector<std::string>> commands;  // that end with the image
  bool is_grown;
};

const Use kUses[] = {
    {"a journal", {{"tune2fs", "-J", "size=1"}, {"tune2fs", "-O", "^has_journal"}}, true},
    {"quotas", {{"tune2fs", "-O", "quota"}, {"tune2fs", "-O", "^quota"}}, true},
    {"an image of the size of the lower",
     {{"resize2fs", "-f", "@", "10M"}, {"resize2fs", "-f", "@", "20M"}},
     true},
    {"a smaller image with a resize inode",
     {{"resize2fs", "-f", "@", "6M"}, {"resize2fs", "-f", "@", "10M"}},
     false},
    {"files in reserved inodes",
     {{"debugfs", "-w", "-R", "set_inode_field <9> mode 0100600"},
      {"debugfs", "-w", "-R", "set_inode_field <9> links_count 1"}},
     true},
};

std::vector<std::byte> bytes_in(const std::filesystem::path& path) {
  std::vector<std::byte> bytes(std::filesystem::file_size(path));
  std::ifstream stream(path, std::ios::binary);
  stream.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  REQUIRE(stream);
  return bytes;
}

// The merged image after these commands, and e2fsck -fy.
std::vector<std::byte> changed_by(const Disk& disk, const Use& use) {
  const ScratchDirectory scratch;
  const std::filesystem::path path = scratch.path() / "merged.img";
  save(read_all(disk), path);
  for (std::vector<std::string> command : use.commands) {
    const auto place = std::find(command.begin(), command.end(), "@");
    place == command.end() ? command.push_back(path) : void(*place = path);
    run(command);
    run({"e2fsck", "-fy", path.string()}, "", {0, 1});
  }
  run({"e2fsck", "-fn", path.string()});
  return bytes_in(path);
}

// The merged image as e2fsck leaves it; nothing if it cannot mend all.
std::vector<std::byte> mended_by_e2fsck(const Disk& disk,
                                        const std::vector<std::string>& requests = {}) {
  const ScratchDirectory scratch;
  const std::filesystem::path path = scratch.path() / "merged.img";
  save(read_all(disk), path);
  for (const std::string& request : requests) {
    run({"debugfs", "-w", "-R", request, path.string()});
  }
  for (int round = 0; round < 3; ++round) {
    run({"e2fsck", "-fy", path.string()}, "", {0, 1, 4, 5});
  }
  const std::string left = run({"e2fsck", "-fn", path.string()}, "", {0, 4, 12});
  return left.find("not fixed") == std::string::npos &&
                 left.find("still has errors") == std::string::npos
             ? bytes_in(path)
             : std::vector<std::byte>();
}

// The session becomes a layer, which shows the same, cleanly.
void expect_layer(const Lower& lower, MemoryFile& upper, std::unique_ptr<Disk> disk) {
  const Facts wanted = facts_of(read_all(*disk));
  const auto figures = checkpoint(std::move(disk));
  if (!figures) {
    FAIL_CHECK("refused: " << figures.error().message);
    return;
  }
  const auto after = load_disk(lower, upper);
  expect_success(after->attach(Access::kReadOnly));
  check_merged_clean(*after);
  check_layer_clean(upper);
  CHECK(difference(wanted, facts_of(read_all(*after))).empty());
}

}  // namespace

TEST_CASE("Checkpoint: a lower that the client's e2fsck mended becomes a layer",
          "[checkpoint][mended]") {
  const char* only = std::getenv("UNIONFS_DAMAGE");
  bool has_resize_inode = false;
  for (const Damage& damage : kDamages) {
    if (only != nullptr && std::string(damage.name).find(only) == std::string::npos) {
      continue;
    }
    has_resize_inode = !has_resize_inode;
    INFO(damage.name);
    const auto image = sound_image(has_resize_inode ? "resize_inode" : "^resize_inode");
    std::vector<std::string> requests;
    for (const std::string& request : damage.requests) {
      requests.push_back(with_blocks(*image, request));
    }
    image->change(requests);
    CHECK_NOTHROW(run({"e2fsck", "-fn", image->path().string()}, "", {4, 12}));
    const Lower lower(*image);
    const auto upper = make_upper(lower, lower.layout().size_bytes() + 3 * kMebibyte);
    auto disk = open_disk(lower, *upper);
    const std::vector<std::byte> mended = mended_by_e2fsck(*disk, damage.client_requests);
    REQUIRE_FALSE(mended.empty());
    write_differences(*disk, mended);
    expect_layer(lower, *upper, std::move(disk));
  }
}

namespace {

// Where an image keeps what e2fsck looks at.
std::vector<uint64_t> metadata_offsets(const RealImage& image) {
  const MemoryImage bytes = image.load();
  const Volume volume = value_of(Volume::open(bytes, SuperblockUse::kLower));
  const Layout& layout = volume.layout();
  std::vector<uint64_t> offsets;
  const auto add = [&](BlockNumber block) { offsets.push_back(layout.offset_of(block)); };
  for (const Group& group : volume.groups()) {
    add(group.block_bitmap);
    add(group.inode_bitmap);
  }
  for (uint32_t number = 1; number <= 24; ++number) {
    const InodeNumber inode(number);
    const uint64_t offset = inode_offset(layout, volume.groups(), inode);
    offsets.insert(offsets.end(), 3, offset - offset % layout.block_size_bytes);
    const InodeRecord record = value_of(read_inode(volume, inode));
    expect_success(
        walk_block_map(volume, record, [&](BlockRole role, BlockNumber block) -> Result<WalkStep> {
          if (number >= layout.first_inode && (record.is_directory() || role.level > 0)) {
            add(block);
          }
          return WalkStep::kContinue;
        }));
  }
  return offsets;
}

// A few bytes of the metadata become others.
void damage_at_random(const RealImage& image, uint64_t seed) {
  std::mt19937_64 random(seed);
  const std::vector<uint64_t> places = metadata_offsets(image);
  std::fstream file(image.path(), std::ios::in | std::ios::out | std::ios::binary);
  for (uint64_t count = 1 + random() % 4; count > 0; --count) {
    const uint64_t place = places[random() % places.size()] + random() % 256 * 4;
    const uint64_t value = std::array<uint64_t, 5>{0, UINT64_MAX, random(), random() % 1500,
                                                   random() % 64}[random() % 5];
    file.seekp(static_cast<std::streamoff>(place));
    file.write(reinterpret_cast<const char*>(&value),
               static_cast<std::streamsize>(1 + random() % 4));
  }
  REQUIRE(file.flush());
}

}  // namespace

TEST_CASE("Checkpoint: so does one that was damaged anyhow", "[checkpoint][mended]") {
  const char* first = std::getenv("UNIONFS_SEED");
  const char* count = std::getenv("UNIONFS_ROUNDS");
  const uint64_t begin = first != nullptr ? std::strtoull(first, nullptr, 0) : 1;
  const uint64_t end = begin + (count != nullptr ? std::strtoull(count, nullptr, 0) : 10);
  uint64_t mended_count = 0;
  for (uint64_t seed = begin; seed < end; ++seed) {
    INFO("UNIONFS_SEED=" << seed);
    const auto image = sound_image(seed % 2 == 0 ? "resize_inode" : "^resize_inode");
    damage_at_random(*image, seed);
    const MemoryImage bytes = image->load();
    const auto is_lower = Volume::open(bytes, SuperblockUse::kLower);
    const auto geometry = is_lower ? Geometry::grow(*is_lower, bytes.size_bytes() + 3 * kMebibyte)
                                   : Result<Geometry>(Failure(is_lower.error()));
    MemoryFile upper("upper.img");
    if (!geometry || !create_layer(upper, *is_lower, *geometry)) {
      continue;  // nobody serves it
    }
    const Lower lower(*image);
    auto disk = open_disk(lower, upper);
    const std::vector<std::byte> mended = mended_by_e2fsck(*disk);
    if (mended.empty()) {
      continue;
    }
    ++mended_count;
    write_differences(*disk, mended);
    expect_layer(lower, upper, std::move(disk));
  }
  CHECK(mended_count > (end - begin) / 2);
}

TEST_CASE("Checkpoint: reserved inodes that were used and left are no obstacle",
          "[checkpoint][mended]") {
  const uint32_t inode_size = GENERATE(128, 256);
  const ScratchDirectory tree;
  make_tree(tree.path());
  MakeOptions options;
  options.inode_size_bytes = inode_size;
  options.features = "filetype,sparse_super,large_file,dir_index,resize_inode";
  options.content = tree.path();
  const RealImage image(10240, options);
  const Lower lower(image);
  for (const Use& use : kUses) {
    INFO(use.name << ", inodes of " << inode_size << " bytes");
    const auto upper =
        make_upper(lower, lower.layout().size_bytes() + (use.is_grown ? 10 * kMebibyte : 0));
    auto disk = open_disk(lower, *upper);
    write_differences(*disk, changed_by(*disk, use));
    expect_layer(lower, *upper, std::move(disk));
    // And what comes after it.
    disk = open_disk(lower, *upper);
    write_differences(*disk,
                      changed_by_debugfs(*disk, {"write @/large /more", "rm /small", "mkdir /in"}));
    expect_layer(lower, *upper, std::move(disk));
  }
}
