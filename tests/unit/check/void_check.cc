// SPDX-License-Identifier: BSD-3-Clause
//
// The check of an upper that has no layer yet.
#include <catch2/catch.hpp>

#include "fsparse/directory.h"
#include "overlay/check/upper_check.h"
#include "overlay/upper/upper_state.h"
#include "tests/unit/service/snapshot_bench.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

// A void upper over a frozen layer, and a void level between them.
class VoidRow {
 public:
  VoidRow() {
    const auto overlay = bench_.serve();
    for (const char* name : {"layered", "void"}) {
      expect_success(overlay->disk().write(20'000, pattern(1, 5000)));
      (void)value_of(overlay->snapshot(name));
      bench_.names.emplace_back(name);
    }
    expect_success(overlay->close());
  }

  std::string place(const std::string& name) const { return bench_.place(name); }
  std::unique_ptr<Overlay> serve() const { return bench_.serve(); }
  Result<CheckReport> check(const std::string& name = "upper.img",
                            CheckPurpose purpose = CheckPurpose::kLook) const {
    return check_upper(bench_.levels_up_to("none"), place(name), purpose, quiet_log());
  }
  Result<CheckReport> check_frozen(const std::string& name) const {
    LevelPaths levels = bench_.levels_up_to(name);
    levels.pop_back();
    return check_upper(levels, place(name), CheckPurpose::kLook, quiet_log());
  }
  // What is found after a change of the file of this name.
  std::vector<Violation> found_after(
      const std::string& name, const std::function<void(PosixFile&, StateArea&)>& change) const {
    std::filesystem::permissions(place(name), std::filesystem::perms::owner_write,
                                 std::filesystem::perm_options::add);
    {
      const auto file = value_of(PosixFile::open(place(name), FileLock::kExclusive));
      expect_success(file->make_writable());
      StateArea area = value_of(read_upper_state(*file)).area;
      change(*file, area);
    }
    return value_of(check_frozen_or_upper(name)).left;
  }

 private:
  Result<CheckReport> check_frozen_or_upper(const std::string& name) const {
    return name == "upper.img" ? check() : check_frozen(name);
  }

  SnapshotBench bench_;
};

bool has_part(const std::vector<std::string>& lines, const std::string& part) {
  return std::ranges::any_of(
      lines, [&](const std::string& line) { return line.find(part) != std::string::npos; });
}

bool has_violation(const std::vector<Violation>& violations, const std::string& part) {
  return std::ranges::any_of(violations, [&](const Violation& violation) {
    return violation.message.find(part) != std::string::npos;
  });
}

}  // namespace

TEST_CASE("Check: a void upper is checked as far as it goes", "[void_check]") {
  const VoidRow row;
  const CheckReport empty = value_of(row.check());
  CHECK(empty.left.empty());
  CHECK(empty.is_void);
  CHECK(has_part(empty.checked, "stands on the frozen level \"void\""));
  CHECK(has_part(empty.checked, "layered"));  // in whose places it lies
  CHECK(has_part(empty.not_checked, "checkpoint"));
  CHECK_FALSE(has_part(empty.not_checked, "blocks written"));
  {
    const auto overlay = row.serve();
    expect_success(overlay->disk().write(50'000, pattern(2, 10'240)));
    const CheckReport served = value_of(row.check());
    CHECK(served.left.empty());
    CHECK(has_part(served.not_checked, "the open session (11 blocks written so far)"));
    expect_success(overlay->close());
  }
  // Nothing is there to be repaired, and nothing is.
  const CheckReport repaired = value_of(row.check("upper.img", CheckPurpose::kRepair));
  CHECK(repaired.left.empty());
  CHECK_FALSE(repaired.is_repair_tried);

  const CheckReport frozen = value_of(row.check_frozen("void"));
  CHECK(frozen.left.empty());
  CHECK(frozen.is_void);
  CHECK(has_part(frozen.not_checked, "the frozen session (6 blocks written)"));
  CHECK(has_part(frozen.not_checked, "seal -o FILE"));
  const CheckReport layered = value_of(row.check_frozen("layered"));
  CHECK(layered.left.empty());
  CHECK_FALSE(layered.is_void);
  CHECK(has_part(layered.not_checked, "the frozen session"));
}

TEST_CASE("Check: bits past the end, names and whiteouts of a void upper are found",
          "[void_check]") {
  const VoidRow row;
  const auto past_end = row.found_after("void", [](PosixFile& file, StateArea& area) {
    const std::array<std::byte, 1> bits = {std::byte{0x81}};
    expect_success(file.write(area.durable_bitmap.end() - 1, bits));
  });
  REQUIRE(past_end.size() == 1);
  CHECK(has_violation(past_end, "durable bitmap has bits of 2 blocks past the last one"));

  // A checkpoint would take the name for deleted.
  const auto whiteout = row.found_after("upper.img", [](PosixFile& file, StateArea&) {
    const Volume volume = value_of(Volume::open(file, SuperblockUse::kUpper));
    const InodeRecord root = value_of(read_inode(volume, kRootDirectory));
    for (const NamedEntry& entry : value_of(read_directory(volume, root))) {
      if (entry.kind == EntryKind::kFallthru) {
        const uint64_t type = volume.layout().offset_of(entry.block) + entry.offset + 7;
        const std::array<std::byte, 1> bytes = {std::byte{ext2::kFileTypeWhiteout}};
        expect_success(file.write(type, bytes));
        return;
      }
    }
    FAIL("the root has no names");
  });
  CHECK(has_violation(whiteout, "is void, and has a name of its own"));
  CHECK(value_of(row.check("upper.img", CheckPurpose::kRepair)).left.size() == whiteout.size());

  const auto no_id = row.found_after("layered", [](PosixFile& file, StateArea& area) {
    area.freeze_id = {};
    expect_success(write_state_header(file, area));
  });
  CHECK(has_violation(no_id, "is frozen without an id"));
  // What stands on it stands on the level that had one.
  expect_error(row.check(), {"stands on the frozen level \"layered\""});
}
