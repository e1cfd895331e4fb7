// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/check/table_check.h"

#include <functional>
#include <optional>

namespace unionfs {

void check_state_area(const CheckSources& sources, Violations& violations) {
  constexpr uint32_t kKnown = upper_format::kFlagInUse | upper_format::kFlagUnproven;
  const uint32_t unknown = sources.area.flags & ~kKnown;
  if (unknown != 0) {
    violations.add("state area: unknown flags {:#x}", unknown);
  }
}

namespace {

// Numbers that follow one another are one violation, because a run of the tables may be as
// long as it likes.
template <typename Number>
class Stretch {
 public:
  using Report = std::function<void(Number first, Number last)>;

  explicit Stretch(Report report) : report_(std::move(report)) {}
  ~Stretch() { end(); }
  Stretch(const Stretch&) = delete;
  Stretch& operator=(const Stretch&) = delete;

  // Ascending.
  void add(Number number) {
    if (first_ && *last_ + 1 != number) {
      end();
    }
    first_ = first_.value_or(number);
    last_ = number;
  }

 private:
  void end() {
    if (first_) {
      report_(*first_, *last_);
    }
    first_.reset();
  }

  const Report report_;
  std::optional<Number> first_;
  std::optional<Number> last_;
};

template <typename Number>
std::string text_of(const char* what, Number first, Number last) {
  return first == last ? fmt::format("{} {} is", what, first)
                       : fmt::format("{}s {} to {} are", what, first, last);
}

class WhiteoutCheck {
 public:
  WhiteoutCheck(const CheckSources& sources, const LayerNumbers& numbers, LowerSide& lower,
                Violations& violations)
      : from_(sources),
        first_inode_(sources.layout().first_inode),
        numbers_(numbers),
        lower_(lower),
        violations_(violations) {}

  Result<std::set<BlockNumber>> run() {
    UNIONFS_TRY(violations_.take(check_listed()));
    return std::move(missing_);
  }

 private:
  // What is whited out is the lower's; and what the geometry released is
  // whited out.
  Result<void> check_listed() {
    UNIONFS_TRY(check_listed_blocks());
    UNIONFS_TRY(check_listed_inodes());
    check_released();
    return {};
  }

  Result<void> check_listed_blocks() {
    Stretch<BlockNumber> wrong([this](BlockNumber first, BlockNumber last) {
      violations_.add("{} whited out, but the lower has no file's block there",
                      text_of("block", first, last));
    });
    for (const BlockRange& range : from_.tables.block_whiteouts) {
      for (BlockNumber block = range.begin; block < range.end; ++block) {
        const FixedRange* fixed = from_.geometry.fixed_at_or_after(block);
        UNIONFS_ASSIGN(const bool is_used, lower_.is_used(block));
        if (!is_used || (fixed != nullptr && fixed->blocks.contains(block))) {
          wrong.add(block);
        }
      }
    }
    return {};
  }

  Result<void> check_listed_inodes() {
    Stretch<InodeNumber> empty([this](InodeNumber first, InodeNumber last) {
      violations_.add("{} whited out, but free and empty in the lower",
                      text_of("inode", first, last));
    });
    for (const InodeRange& range : from_.tables.inode_whiteouts) {
      for (InodeNumber inode = range.begin; inode < range.end; ++inode) {
        UNIONFS_ASSIGN(const bool is_used, lower_.is_used(inode));
        UNIONFS_ASSIGN(const bool has_remains, lower_.has_remains(inode));
        if (!is_used && !has_remains) {
          empty.add(inode);
        } else if (inode.value() < first_inode_ && inode.value() != ext2::kResizeInode) {
          violations_.add("the reserved inode {} is whited out", inode);
        }
      }
    }
    return {};
  }

  void check_released() {
    const auto& released = from_.geometry.released();
    for (const BlockRange& range : released) {
      for (BlockNumber block = range.begin; block < range.end; ++block) {
        if (!numbers_.block_whiteouts.test(block)) {
          missing_.insert(block);
          violations_.add_mendable("block {} of the lower's resize inode is not whited out", block);
        }
      }
    }
    if (!released.empty() && !numbers_.inode_whiteouts.test(InodeNumber(ext2::kResizeInode))) {
      violations_.add("the lower's resize inode is not whited out");
    }
  }

  const CheckSources& from_;
  const uint32_t first_inode_;
  const LayerNumbers& numbers_;
  LowerSide& lower_;
  Violations& violations_;
  std::set<BlockNumber> missing_;
};

}  // namespace

Result<std::set<BlockNumber>> check_whiteouts(const CheckSources& sources,
                                              const LayerNumbers& numbers, LowerSide& lower,
                                              Violations& violations) {
  return WhiteoutCheck(sources, numbers, lower, violations).run();
}

}  // namespace unionfs
