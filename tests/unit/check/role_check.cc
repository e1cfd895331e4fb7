// SPDX-License-Identifier: BSD-3-Clause
//
// Rule I1 of docs/format.md: whichever whiteout of a block is missing, the check names the
// block, and a repair puts it back.
#include "overlay/check/upper_check.h"
#include "tests/unit/checkpoint/checkpoint_bench.h"
#include "tests/unit/support/old_version.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

constexpr uint32_t kBlock = 1024;

std::string all_messages(const CheckReport& report) {
  std::string text;
  for (const Violation& violation : report.found) {
    text += violation.message + "\n";
  }
  return text;
}

// Takes the first or the last block out of a run of whiteouts; returns it.
BlockNumber forget_whiteout(const Lower& lower, MemoryFile& upper, size_t run, bool is_first) {
  OpenedUpper opened = value_of(open_upper(lower.volume, upper));
  BlockRange& range = opened.tables.block_whiteouts.at(run);
  const BlockNumber block = is_first ? range.begin : BlockNumber(range.end.value() - 1);
  if (is_first) {
    ++range.begin;
  } else {
    range.end = block;
  }
  const std::vector<std::byte> tables = encode_layer_tables(opened.tables);
  REQUIRE(tables.size() == opened.area.layer_tables.length);
  upper.poke(opened.area.layer_tables.offset, tables);
  return block;
}

}  // namespace

TEST_CASE("Check: a block that lost its role is whited out", "[check][roles]") {
  const ScratchDirectory tree;
  make_tree(tree.path());
  write_file(tree.path() / "huge", std::string(600000, 'h'));  // has a double indirect block
  write_file(tree.path() / "cut", std::string(300000, 'c'));
  MakeOptions options;
  options.features = "filetype,sparse_super,large_file,^resize_inode,dir_index";
  options.more = {"-g", "512", "-N", "192"};
  options.content = tree.path();
  const RealImage image(3000, options);
  image.change({"ea_set /hello user.note of_the_lower", "ea_set /small user.note of_the_lower"});
  const Lower lower(image);
  const auto upper = make_upper(lower, lower.layout().size_bytes() + kMebibyte);
  // A file with nothing left but its holes, one that lost a part, and others that are gone;
  // then directories, files and attributes where their blocks were.
  for (const std::vector<std::string>& requests :
       {std::vector<std::string>{"punch /huge 0 2000", "punch /cut 5 200",
                                 "rm /etc/deep/deeper/large", "rm /small", "rmdir /empty"},
        {"write @/large /again", "mkdir /made", "ea_set /again user.note of_the_layer",
         "ea_rm /hello user.note"}}) {
    auto disk = open_disk(lower, *upper);
    write_differences(*disk, changed_by_debugfs(*disk, requests));
    (void)value_of(checkpoint(std::move(disk)));
  }
  // With its records it would be the upper of another lower.
  make_without_records(*upper, lower.volume);
  const CheckReport sound =
      value_of(check_upper(*lower.file, *upper, CheckPurpose::kLook, quiet_log()));
  INFO(all_messages(sound));
  REQUIRE(sound.found.empty());

  const size_t runs = value_of(open_upper(lower.volume, *upper)).tables.block_whiteouts.size();
  CHECK(runs > 3);
  const Facts wanted = facts_of(shown(lower, *upper));
  int named = 0;
  for (size_t run = 0; run < runs; ++run) {
    for (const bool is_first : {true, false}) {
      const auto broken = upper->clone();
      const BlockRange range =
          value_of(open_upper(lower.volume, *upper)).tables.block_whiteouts.at(run);
      if (range.count() < 2) {
        continue;
      }
      const BlockNumber block = forget_whiteout(lower, *broken, run, is_first);
      const CheckReport report =
          value_of(check_upper(*lower.file, *broken, CheckPurpose::kRepair, quiet_log()));
      INFO("block " << block.value() << "\n" << all_messages(report));
      CHECK_FALSE(report.found.empty());
      CHECK(report.left.empty());
      // Otherwise it shows where the lower has it, so that only the counts are wrong.
      if (all_messages(report).find(fmt::format("block {} ", block)) != std::string::npos) {
        ++named;
        CHECK(difference(wanted, facts_of(shown(lower, *broken))).empty());
      } else {
        CHECK(all_messages(report).find("the kept counts are") != std::string::npos);
      }
    }
  }
  CHECK(named > 5);
}
