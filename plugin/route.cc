// SPDX-License-Identifier: BSD-3-Clause
#include "plugin/route.h"

#include "fsparse/numbers.h"

namespace unionfs {
namespace {

std::string describe_source(const Run& run) {
  switch (run.source) {
    case Source::kZero:
      return "nowhere, zeros";
    case Source::kLower:
      return fmt::format("the lower at {}", run.offset);
    case Source::kUpper:
      return fmt::format("the upper at {}", run.offset);
    case Source::kSynthesizedFixed:
      return "computed metadata";
    case Source::kSynthesizedTranslated:
      return "computed contents of a directory or file";
  }
  return "?";
}

}  // namespace

std::string describe_route(const MergedView& view, uint64_t offset, uint64_t length,
                           int most_runs) {
  const uint32_t block_size = view.block_size_bytes();
  BlockNumber block(offset / block_size);
  const BlockNumber end(divide_round_up(offset + length, block_size));
  std::string route;
  for (; block < end && most_runs > 0; --most_runs) {
    const Run run = view.run_at(block, end);
    route += fmt::format("{}{} blocks from {}: {}", route.empty() ? "" : ", ", run.end - block,
                         block, describe_source(run));
    block = run.end;
  }
  return route + (block < end ? ", ..." : "");
}

}  // namespace unionfs
