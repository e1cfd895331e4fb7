// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/stack/read_ahead.h"

#include <algorithm>
#include <exception>
#include <future>
#include <memory>
#include <system_error>
#include <vector>

#include "overlay/merged/lower_image.h"
#include "overlay/merged/merged_image.h"
#include "overlay/upper/opened_upper.h"

namespace unionfs {
namespace {

// As far as a level tells it without what is below it.
void read_alone(const ReadableFile& level, bool is_lower) {
  if (is_lower) {
    (void)LowerImage::open(level);
    return;
  }
  Result<OpenedUpper> opened = open_upper_alone(level);
  if (opened) {
    (void)Layer::load(opened->volume, *opened->geometry, std::move(opened->tables));
  }
}

bool keeps_chunks(const LevelFile& level) {
  return level.is_remote() && level.remote()->keeps_chunks();
}

// What is not kept would be read twice.
bool is_rehearsed(std::span<const LevelFile* const> levels) {
  return !levels.empty() && std::ranges::all_of(levels, [](const LevelFile* level) {
    return !level->is_remote() || keeps_chunks(*level);
  });
}

Result<void> check_no_read_failed(std::span<const LevelFile* const> levels) {
  for (const LevelFile* const level : levels) {
    if (level->is_remote()) {
      UNIONFS_TRY(level->remote()->check_no_read_failed());
    }
  }
  return {};
}

// As long as it is there.
class AheadOnly {
 public:
  explicit AheadOnly(std::span<const LevelFile* const> levels) : levels_(levels) { tell(true); }
  ~AheadOnly() { tell(false); }
  AheadOnly(const AheadOnly&) = delete;
  AheadOnly& operator=(const AheadOnly&) = delete;

 private:
  void tell(bool is_ahead) const {
    for (const LevelFile* const level : levels_) {
      if (level->is_remote()) {
        level->remote()->read_only_ahead(is_ahead);
      }
    }
  }

  const std::span<const LevelFile* const> levels_;
};

// The levels once more, as a chain has them, but nothing is compared.
class Rehearsal {
 public:
  // Ends at a level that cannot be opened, or shows its session, too.
  void open(std::span<const LevelFile* const> levels) {
    auto lower = LowerImage::open(levels.front()->bytes());
    if (!lower) {
      return;
    }
    belows_.push_back(*std::move(lower));
    for (const LevelFile* const level : levels.subspan(1)) {
      if (!add_layer(level->bytes())) {
        return;
      }
    }
  }

  // What of the levels below each layer its opening compares.
  void read_compared() const {
    static const std::atomic<bool> is_cancelled{false};
    side_by_side(layers_.size(), [this](size_t index) {
      const auto can_wait = [](InodeNumber) { return true; };
      (void)compare_some(layers_[index]->lower_comparison(is_cancelled), can_wait);
    });
  }

 private:
  bool add_layer(const ReadableFile& level) {
    const Below& below = *belows_.back();
    Result<OpenedUpper> opened = open_upper(below.volume(), level, below.identity());
    if (!opened || opened->area.is_frozen() || opened->area.is_freezing()) {
      return false;
    }
    auto layer = LayerOverLower::make(below, *std::move(opened), {});
    if (!layer) {
      return false;
    }
    layers_.push_back(*std::move(layer));
    auto over = LayerBelow::open(*layers_.back());
    if (!over) {
      return false;
    }
    belows_.push_back(*std::move(over));
    return true;
  }

  std::vector<std::unique_ptr<LayerOverLower>> layers_;
  std::vector<std::unique_ptr<Below>> belows_;
};

}  // namespace

void side_by_side(size_t count, const std::function<void(size_t)>& work) {
  std::vector<std::future<void>> calls;
  for (size_t i = 0; i < count; ++i) {
    try {
      calls.push_back(std::async(std::launch::async, work, i));
    } catch (const std::system_error&) {  // no thread: one after the other, then
      work(i);
    }
  }
  for (std::future<void>& call : calls) {
    call.get();
  }
}

Result<void> read_ahead(std::span<const LevelFile* const> levels) {
  const AheadOnly only(levels);
  try {
    side_by_side(levels.size(), [levels](size_t index) {
      if (keeps_chunks(*levels[index])) {
        read_alone(levels[index]->bytes(), index == 0);
      }
    });
    UNIONFS_TRY(check_no_read_failed(levels));
    if (is_rehearsed(levels)) {
      Rehearsal rehearsal;
      rehearsal.open(levels);
      UNIONFS_TRY(check_no_read_failed(levels));
      rehearsal.read_compared();
    }
  } catch (const std::exception&) {  // no memory, say: the opening is to find out itself
  }
  return check_no_read_failed(levels);
}

}  // namespace unionfs
