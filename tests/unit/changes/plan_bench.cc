// SPDX-License-Identifier: BSD-3-Clause
#include "tests/unit/changes/plan_bench.h"

#include "fsparse/directory.h"
#include "overlay/merged/merged_image.h"
#include "overlay/upper/layer_create.h"

namespace unionfs::testing {
namespace {

constexpr uint32_t kNow = 1'700'000'000;

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
  return made;
}

}  // namespace unionfs::testing
