// SPDX-License-Identifier: BSD-3-Clause
#include "tests/unit/changes/plan_bench.h"

#include <fcntl.h>
#include <unistd.h>

#include "fsparse/directory.h"
#include "overlay/upper/layer_create.h"

namespace unionfs::testing {
namespace {

constexpr uint32_t kNow = 1'700'000'000;

std::string text_of(uint64_t seed, size_t length) {
  const std::vector<std::byte> bytes = pattern(seed, length);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

constexpr size_t kLarge = 900'000;  // with indirect blocks of two levels where blocks are small

const RealImage& make_below(uint32_t block_size_bytes, uint32_t inode_size_bytes) {
  static std::map<std::pair<uint32_t, uint32_t>, std::unique_ptr<RealImage>> images;
  auto& image = images[{block_size_bytes, inode_size_bytes}];
  if (image) {
    return *image;
  }
  const ScratchDirectory tree;
  for (const char* name : {"a/inner/deep", "b/other", "old/kept"}) {
    std::filesystem::create_directories(tree.path() / name);
  }
  write_file(tree.path() / "large", text_of(1, kLarge));
  write_file(tree.path() / "small", "small\n");
  write_file(tree.path() / "second", "second\n");
  write_file(tree.path() / "a/in_a", "in a\n");
  write_file(tree.path() / "a/inner/file", text_of(2, 9000));
  write_file(tree.path() / "b/in_b", "in b\n");
  write_file(tree.path() / "old/gone", text_of(3, 30000));
  write_file(tree.path() / "old/kept/file", "kept\n");
  std::filesystem::create_symlink("small", tree.path() / "link");
  std::filesystem::create_symlink(std::string(200, 's'), tree.path() / "long_link");
  MakeOptions options;
  options.block_size_bytes = block_size_bytes;
  options.inode_size_bytes = inode_size_bytes;
  options.features = "filetype,sparse_super,resize_inode,ext_attr,dir_index,large_file";
  options.more = {"-N", "512"};
  options.content = tree.path();
  image = std::make_unique<RealImage>(8 * kMebibyte / block_size_bytes, options);
  image->change({"ln small twice", "ln small b/thrice", "sif small links_count 3",
                 "mknod device c 1 3", "mknod pipe p", "ea_set small user.colour red",
                 "ea_set a user.colour blue", "sif a generation 7", "sif b generation 8"});
  image->repair({});
  image->check_clean();
  return *image;
}

const RealImage& make_source(uint32_t block_size_bytes, uint32_t inode_size_bytes) {
  static std::map<std::pair<uint32_t, uint32_t>, std::unique_ptr<RealImage>> images;
  auto& image = images[{block_size_bytes, inode_size_bytes}];
  if (image) {
    return *image;
  }
  const ScratchDirectory tree;
  std::filesystem::create_directories(tree.path() / "directory");
  std::string changed = text_of(1, kLarge);
  changed[kLarge / 2] ^= 1;
  write_file(tree.path() / "changed", changed);
  write_file(tree.path() / "cut", text_of(1, 30'500));
  write_file(tree.path() / "grown", text_of(1, kLarge) + text_of(9, 70'000));
  write_file(tree.path() / "new", text_of(4, 20'000));
  std::filesystem::create_symlink("another", tree.path() / "link");
  std::filesystem::create_symlink(std::string(300, 't'), tree.path() / "long_link");
  {
    // Data, a hole of 400,000 bytes, data, and a hole at the end.
    const std::string all = text_of(1, kLarge);
    write_file(tree.path() / "holes", "");
    const int descriptor = ::open((tree.path() / "holes").c_str(), O_WRONLY);
    REQUIRE(::pwrite(descriptor, all.data(), 102'400, 0) == 102'400);
    REQUIRE(::pwrite(descriptor, all.data() + 512'000, 102'400, 512'000) == 102'400);
    REQUIRE(::ftruncate(descriptor, kLarge) == 0);
    ::close(descriptor);
  }
  MakeOptions options;
  options.block_size_bytes = block_size_bytes;
  options.inode_size_bytes = inode_size_bytes;
  options.features = "filetype,sparse_super,ext_attr,large_file";
  options.content = tree.path();
  image = std::make_unique<RealImage>(8 * kMebibyte / block_size_bytes, options);
  image->change({"mknod device c 8 17", "mknod block b 3 1", "mknod pipe p",
                 "ea_set new user.colour green", "ea_set new trusted.more " + std::string(400, 'm'),
                 "ea_set directory user.place here"});
  image->repair({});
  return *image;
}

// The directory of a path, and its last name.
std::pair<std::string, std::string> split(const std::string& path) {
  const size_t slash = path.rfind('/');
  return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

// Open for writing, over a new layer.
std::unique_ptr<Disk> new_disk(const PlanImages& images, MemoryFile& upper, uint64_t extra_bytes) {
  const uint64_t size = images.image().layout().size_bytes() + extra_bytes;
  expect_success(
      create_layer(upper, images.image(), value_of(Geometry::grow(images.image(), size))));
  return open_disk(images.lower, upper);
}

Result<MadeFiles> make_on(Disk& disk, const Plan& plan) {
  UNIONFS_ASSIGN(const auto files, MergedFiles::open(disk, kNow));
  UNIONFS_ASSIGN(MadeFiles made, make_planned(plan, *files, {}));
  UNIONFS_TRY(files->close());
  return made;
}

}  // namespace

PlanImages images_of(uint32_t block_size, uint32_t source_block_size, uint32_t inode_size,
                     uint32_t source_inode_size) {
  return {make_below(block_size, inode_size), make_source(source_block_size, source_inode_size)};
}

const RealImage& source_image() {
  return make_source(1024, 128);
}

InodeNumber inode_at(const Volume& volume, const std::string& path) {
  InodeNumber inode = kRootDirectory;
  for (size_t begin = 1; begin < path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const InodeRecord record = value_of(read_inode(volume, inode));
    if (!record.is_directory()) {
      return InodeNumber(0);
    }
    const auto entry = value_of(find_name(volume, record, path.substr(begin, end - begin)));
    if (!entry) {
      return InodeNumber(0);
    }
    inode = entry->inode;
    begin = end + 1;
  }
  return inode;
}

std::string content_at(const Volume& volume, const std::string& path) {
  const InodeRecord record = value_of(read_inode(volume, inode_at(volume, path)));
  const uint32_t block_size = volume.layout().block_size_bytes;
  std::string content(round_up(record.size_bytes(), block_size), '\0');
  expect_success(
      walk_block_map(volume, record, [&](BlockRole role, BlockNumber block) -> Result<WalkStep> {
        if (role.level == 0) {
          const ByteSpan bytes = std::as_writable_bytes(std::span(content));
          REQUIRE(role.first.value() * block_size < content.size());
          UNIONFS_TRY(
              volume.read_block(block, bytes.subspan(role.first.value() * block_size, block_size)));
        }
        return WalkStep::kContinue;
      }));
  content.resize(record.size_bytes());
  return content;
}

PlannedFileId PlanWriter::existing(const std::string& path) {
  const InodeNumber inode = inode_at(images_.image(), path);
  REQUIRE(inode != InodeNumber(0));
  for (PlannedFileId id = 0; id < plan.files.size(); ++id) {
    if (plan.files[id].existing == inode) {
      return id;
    }
  }
  PlannedFile file;
  file.existing = inode;
  file.state = value_of(file_state_of(images_.image(), inode));
  plan.files.push_back(std::move(file));
  return static_cast<PlannedFileId>(plan.files.size() - 1);
}

PlannedFileId PlanWriter::copy_of(const std::string& source_path) {
  const InodeNumber inode = inode_at(images_.source(), source_path);
  REQUIRE(inode != InodeNumber(0));
  PlannedFile file;
  file.state = value_of(file_state_of(images_.source(), inode));
  plan.files.push_back(std::move(file));
  const auto id = static_cast<PlannedFileId>(plan.files.size() - 1);
  const uint16_t type = state(id).type();
  if (type != ext2::kModeDirectory && type != ext2::kModeFifo && type != ext2::kModeSocket) {
    give_content(id, source_path);
  }
  return id;
}

void PlanWriter::give_content(PlannedFileId id, const std::string& source_path) {
  plan.files[id].content = {&images_.source(), inode_at(images_.source(), source_path)};
}

void PlanWriter::put(const std::string& path, PlannedFileId id) {
  const auto [directory, name] = split(path);
  plan.names[{existing(directory), name}] = {id, path};
}

void PlanWriter::remove(const std::string& path) {
  const auto [directory, name] = split(path);
  plan.names[{existing(directory), name}] = {std::nullopt, path};
}

void PlanWriter::put_in(PlannedFileId directory, const std::string& name, PlannedFileId id) {
  plan.names[{directory, name}] = {id, "(new)/" + name};
}

void PlanWriter::remove_in(PlannedFileId directory, const std::string& name) {
  plan.names[{directory, name}] = {std::nullopt, "(new)/" + name};
}

uint64_t MadeLayer::own_block_count() const {
  const Layout& layout = layer->geometry().merged();
  const BlockSet own(layout, layer->layer().own_blocks());
  uint64_t count = 0;
  expect_success(own.for_each([&count](BlockNumber) -> Result<void> {
    ++count;
    return {};
  }));
  return count;
}

Result<MadeFiles> try_plan(const PlanImages& images, MemoryFile& upper, const Plan& plan,
                           uint64_t extra_bytes) {
  const auto disk = new_disk(images, upper, extra_bytes);
  Result<MadeFiles> made = make_on(*disk, plan);
  expect_success(disk->close());
  return made;
}

MadeLayer make_layer(const PlanImages& images, const Plan& plan) {
  MadeLayer made;
  made.upper = std::make_unique<MemoryFile>("upper.img");
  auto disk = new_disk(images, *made.upper, kMebibyte);
  made.made = value_of(make_on(*disk, plan));
  check_merged_clean(*disk);
  expect_success(disk->close());
  const std::atomic<bool> is_cancelled{false};
  made.figures = value_of(disk->checkpoint(AskedBy::kPerson, is_cancelled, made.made.hints));
  disk.reset();
  check_layer_clean(*made.upper);
  made.layer = value_of(LayerOverLower::load(*images.lower.image, *made.upper, {}));
  made.merged = value_of(MergedImage::open("new layer", made.layer->view()));
  const ProofFigures proof = value_of(check_planned(plan, *made.layer, made.volume()));
  CHECK(proof.names == plan.names.size());
  return made;
}

}  // namespace unionfs::testing
