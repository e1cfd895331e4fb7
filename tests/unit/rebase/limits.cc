// SPDX-License-Identifier: BSD-3-Clause
//
// What a plan asks of an image against what that can hold.
#include "overlay/rebase/limits.h"

#include "fsparse/directory.h"
#include "tests/unit/support/overlay_fixture.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

// A new file of this size in the root of the image; its content is an inode of the same image.
PlannedFileId add_file(Plan& plan, const std::string& name, const PlannedContent& content) {
  PlannedFile file;
  file.state.mode = ext2::kModeRegular | 0644;
  file.content = content;
  const auto id = static_cast<PlannedFileId>(plan.files.size());
  plan.files.push_back(std::move(file));
  plan.names.emplace(PlannedNameKey{kPlannedRoot, name}, PlannedName{id, "/" + name});
  return id;
}

struct Room {
  explicit Room(uint32_t block_size = 1024)
      : lower(small_image(block_size)),
        geometry(value_of(Geometry::grow(lower.volume, small_merged_size(block_size)))) {
    PlannedFile root;
    root.existing = kRootDirectory;
    root.state = value_of(file_state_of(lower.volume, kRootDirectory));
    plan.files.push_back(root);
    for (const NamedEntry& entry : value_of(
             read_directory(lower.volume, value_of(read_inode(lower.volume, kRootDirectory))))) {
      if (entry.name == "small") {
        some_file = entry.inode;
        some_name = entry.name;
      }
    }
    REQUIRE(some_file.value() != 0);
  }
  PlannedContent some_content() const { return {&lower.volume, some_file}; }
  FoundLimits find() const { return value_of(find_limits(plan, lower.volume, geometry)); }
  std::string all_texts() const {
    std::string texts;
    for (const Conflict& conflict : find().conflicts) {
      CHECK((conflict.conflict_class == ConflictClass::kLimit));
      CHECK(conflict.path.empty());
      texts += conflict.text + "\n";
    }
    return texts;
  }
  std::string only_conflict(const std::string& path) const {
    const FoundLimits found = find();
    REQUIRE(found.conflicts.size() == 1);
    CHECK((found.conflicts[0].conflict_class == ConflictClass::kLimit));
    CHECK((found.conflicts[0].resolution == Resolution::kNone));
    CHECK(found.conflicts[0].path == path);
    return found.conflicts[0].text;
  }

  Lower lower;
  Geometry geometry;
  Plan plan;
  InodeNumber some_file{0};
  std::string some_name;
};

Attribute attribute_of(size_t value_bytes, const std::string& name = "name") {
  return {ext2::kXattrIndexUser, name, std::vector<std::byte>(value_bytes)};
}

// A file of which nothing is stored.
class HollowBytes final : public FileBytes {
 public:
  explicit HollowBytes(uint64_t size_bytes) : size_bytes_(size_bytes) {}
  uint64_t size_bytes() const override { return size_bytes_; }
  Result<std::optional<ByteRange>> next_data(uint64_t) override {
    return std::optional<ByteRange>();
  }
  Result<void> read(uint64_t, ByteSpan buffer) override {
    std::fill(buffer.begin(), buffer.end(), std::byte{0});
    return {};
  }

 private:
  uint64_t size_bytes_;
};

PlannedContent hollow(uint64_t size_bytes) {
  return {nullptr, InodeNumber(0), std::make_shared<HollowBytes>(size_bytes)};
}

}  // namespace

TEST_CASE("Limits: an empty plan and a small file fit", "[rebase][limits]") {
  Room room;
  CHECK(room.find().conflicts.empty());
  add_file(room.plan, "new", room.some_content());
  const FoundLimits found = room.find();
  CHECK(found.conflicts.empty());
  CHECK(found.notes.empty());
}

TEST_CASE("Limits: more files than inodes", "[rebase][limits]") {
  Room room;
  uint64_t free_inodes = 0;
  for (const Group& group : room.geometry.groups()) {
    free_inodes += group.free_inodes_count;
  }
  PlannedFile fifo;
  fifo.state.mode = ext2::kModeFifo | 0600;
  for (uint64_t i = 0; i < free_inodes; ++i) {
    const auto id = static_cast<PlannedFileId>(room.plan.files.size());
    room.plan.files.push_back(fifo);
    const std::string name = std::to_string(i);
    room.plan.names.emplace(PlannedNameKey{kPlannedRoot, name}, PlannedName{id, "/" + name});
  }
  CHECK_THAT(room.all_texts(), !Catch::Contains("inodes"));
  const auto id = static_cast<PlannedFileId>(room.plan.files.size());
  room.plan.files.push_back(fifo);
  room.plan.names.emplace(PlannedNameKey{kPlannedRoot, "more"}, PlannedName{id, "/more"});
  CHECK_THAT(room.all_texts(), Catch::Contains(fmt::format("needs {} inodes more, and {} are free",
                                                           free_inodes + 1, free_inodes)));
}

TEST_CASE("Limits: more content than blocks, unless something goes", "[rebase][limits]") {
  Room room;
  const InodeRecord record = value_of(read_inode(room.lower.volume, room.some_file));
  const uint64_t blocks = uint64_t{record.raw().i_blocks} / 2;
  uint64_t free_blocks = 0;
  for (const Group& group : room.geometry.groups()) {
    free_blocks += group.free_blocks_count;
  }
  for (uint64_t i = 0; i <= free_blocks / blocks; ++i) {
    add_file(room.plan, "new" + std::to_string(i), room.some_content());
  }
  CHECK_THAT(room.all_texts(), Catch::Contains(fmt::format("more, and {} are free", free_blocks)));
  // What goes makes room.
  room.plan.names.emplace(PlannedNameKey{kPlannedRoot, room.some_name},
                          PlannedName{std::nullopt, "/" + room.some_name});
  CHECK_THAT(room.all_texts(),
             Catch::Contains(fmt::format("more, and {} are free", free_blocks + blocks)));
}

TEST_CASE("Limits: too many names of one file", "[rebase][limits]") {
  Room room;
  const PlannedFileId id = add_file(room.plan, "new", room.some_content());
  for (int i = 1; i < ext2::kMaxLinks; ++i) {
    const std::string name = "n" + std::to_string(i);
    room.plan.names.emplace(PlannedNameKey{kPlannedRoot, name}, PlannedName{id, "/" + name});
  }
  for (const Conflict& conflict : room.find().conflicts) {
    CHECK(conflict.path.empty());  // the directory's blocks
  }
  room.plan.names.emplace(PlannedNameKey{kPlannedRoot, "z"}, PlannedName{id, "/z"});
  const auto found = find_limits(room.plan, room.lower.volume, room.geometry);
  if (found) {
    CHECK_THAT(found->conflicts.back().text, Catch::Contains("65001 names"));
  } else {
    CHECK(found.error().error_number == EMLINK);
  }
}

TEST_CASE("Limits: a target that is not shorter than a block", "[rebase][limits]") {
  Room room;
  const PlannedFileId id = add_file(room.plan, "new", {});
  FileState& state = room.plan.files[id].state;
  state.mode = ext2::kModeSymlink | 0777;
  state.target = std::string(1023, 't');
  CHECK(room.find().conflicts.empty());
  state.target.push_back('t');
  CHECK_THAT(room.only_conflict("/new"), Catch::Contains("1024 bytes is not shorter"));
}

TEST_CASE("Limits: a file that is too large for blocks of this size", "[rebase][limits]") {
  // 12 + 256 + 256 ^ 2 + 256 ^ 3 blocks of 1 KiB.
  constexpr uint64_t kMost = (12 + 256 + 65536 + 16777216) * uint64_t{1024};
  Room room;
  const PlannedFileId id = add_file(room.plan, "new", hollow(kMost));
  CHECK(room.find().conflicts.empty());
  room.plan.files[id].content = hollow(kMost + 1);
  CHECK_THAT(room.only_conflict("/new"),
             Catch::Contains("more than a file with blocks of 1024 bytes can have"));

  Room larger(4096);
  add_file(larger.plan, "new", hollow(kMost + 1));
  CHECK(larger.find().conflicts.empty());
}

TEST_CASE("Limits: attributes that do not fit", "[rebase][limits]") {
  Room room;
  const PlannedFileId id = add_file(room.plan, "new", room.some_content());
  room.plan.files[id].state.attributes = {attribute_of(900)};
  CHECK(room.find().conflicts.empty());
  room.plan.files[id].state.attributes = {attribute_of(900, "a"), attribute_of(900, "b")};
  CHECK_THAT(room.only_conflict("/new"), Catch::Contains("2 extended attributes"));
}

TEST_CASE("Limits: room for attributes in inode and block", "[rebase][limits]") {
  // 256 - 128 - 32 - 8 bytes, of which an entry takes 16 and its name 4.
  CHECK_FALSE(room_for_attributes({attribute_of(68)}, 256, 1024).needs_block);
  CHECK(room_for_attributes({attribute_of(69)}, 256, 1024).needs_block);
  CHECK(room_for_attributes({attribute_of(1)}, 128, 1024).needs_block);
  // 1024 - 32 - 4 bytes.
  CHECK(room_for_attributes({attribute_of(968)}, 128, 1024).fits);
  CHECK_FALSE(room_for_attributes({attribute_of(969)}, 128, 1024).fits);
  CHECK(room_for_attributes({attribute_of(968, "a"), attribute_of(68, "b")}, 256, 1024).fits);
}

TEST_CASE("Limits: times that an inode of 128 bytes cannot keep", "[rebase][limits]") {
  Room room;
  const bool is_large = room.geometry.merged().inode_size_bytes > 128;
  const PlannedFileId id = add_file(room.plan, "new", room.some_content());
  room.plan.files[id].state.modified = {1'700'000'000, 5};
  FoundLimits found = room.find();
  CHECK(found.conflicts.empty());
  CHECK(found.notes.size() == (is_large ? 0 : 1));
  room.plan.files[id].state.modified = {int64_t{1} << 40, 0};
  CHECK_THAT(room.only_conflict("/new"), Catch::Contains("its times"));
}

TEST_CASE("Limits: how many blocks a file takes at most", "[rebase][limits]") {
  constexpr uint32_t kPointers = 256;
  CHECK(most_blocks_of_file(0, 0, kPointers) == 0);
  CHECK(most_blocks_of_file(12, 12, kPointers) == 12);
  CHECK(most_blocks_of_file(13, 13, kPointers) == 14);
  CHECK(most_blocks_of_file(12 + 256, 12 + 256, kPointers) == 12 + 256 + 1);
  // The double indirect block and the first below it.
  CHECK(most_blocks_of_file(12 + 256 + 1, 12 + 256 + 1, kPointers) == 12 + 256 + 1 + 3);
  const uint64_t twice = 12 + 256 + 256 * 256;
  CHECK(most_blocks_of_file(twice, twice, kPointers) == twice + 1 + 1 + 256);
  CHECK(most_blocks_of_file(twice + 1, twice + 1, kPointers) == twice + 1 + 1 + 1 + 256 + 3);
  // One block at the end of a hole.
  CHECK(most_blocks_of_file(twice + 1, 1, kPointers) == 1 + 3);
}
