// SPDX-License-Identifier: BSD-3-Clause
#include "tools/make/level_source.h"

#include "overlay/merged/merged_image.h"
#include "tools/command_line/text.h"
#include "tools/make/fsck.h"
#include "tools/make/image_copy.h"

namespace unionfs::img {
namespace {

const std::atomic<bool> source_never_cancelled{false};

Result<uint16_t> state_of(const MergedView& view) {
  ext2::Superblock superblock;
  UNIONFS_TRY(
      view.read(ext2::kSuperblockOffsetBytes, std::as_writable_bytes(std::span(&superblock, 1))));
  return superblock.s_state;
}

}  // namespace

void add_frozen_trust(CLI::App& command, FrozenTrust& trust) {
  CLI::Option* frozen = command.add_flag(
      "--frozen", trust.was_frozen,
      "The guest had frozen its file system when the level was frozen: check all of it, and drop "
      "open files without a name");
  command
      .add_flag("--fsck", trust.with_fsck,
                "The level is as after a crash: have e2fsck mend a copy of what it shows")
      ->excludes(frozen);
}

Result<std::unique_ptr<LevelSource>> LevelSource::open(const Chain& chain, size_t kept,
                                                       const FrozenTrust& trust) {
  std::unique_ptr<LevelSource> source(new LevelSource(chain));
  UNIONFS_TRY(source->find_levels(kept));
  if (chain.frozen_view() == nullptr && (trust.was_frozen || trust.with_fsck)) {
    return invalid("{}: is a sealed layer, and clean; --frozen and --fsck are for frozen levels",
                   source->name());
  }
  if (trust.with_fsck) {
    UNIONFS_TRY(source->run_fsck());
  } else if (trust.was_frozen) {
    UNIONFS_TRY(source->mend());
  } else if (chain.frozen_view() != nullptr) {
    UNIONFS_TRY(source->check_clean());
  }
  return source;
}

// The sessions end at the topmost level that has a layer.
Result<void> LevelSource::find_levels(size_t kept) {
  size_t top = chain_.layers().size() - 1;
  while (top > 0 && chain_.layers()[top]->area().is_void()) {
    --top;
  }
  if (kept > top) {
    return invalid(
        "{}: is a session over {} without a layer of its own, and a layer never stands on a "
        "session; keep {} levels at most",
        chain_.layers()[kept]->upper_file().name(), chain_.layers()[top]->upper_file().name(), top);
  }
  const LayerOverLower& layer = *chain_.layers()[top];
  const MergedView* frozen = chain_.frozen_view();
  source_.emplace(
      SquashSource{*chain_.layers()[kept], layer, frozen != nullptr ? *frozen : layer.view()});
  return {};
}

Result<void> LevelSource::check_clean() const {
  UNIONFS_ASSIGN(const uint16_t state, state_of(source_->view));
  if ((state & ext2::kStateError) != 0) {
    return unsupported("{}: is marked as having errors; have it mended: give --fsck", name());
  }
  if (chain_.is_unproven()) {
    return unsupported(
        "{}: power was lost during its session, so nothing proves what it shows; have it checked: "
        "give --fsck",
        name());
  }
  if ((state & ext2::kStateValid) == 0) {
    return unsupported(
        "{}: was mounted when it was frozen; if the guest had frozen its file system, give "
        "--frozen, else --fsck",
        name());
  }
  return {};
}

// Nothing is taken on trust but that no write was on its way.
Result<void> LevelSource::mend() {
  UNIONFS_ASSIGN(const uint16_t state, state_of(source_->view));
  if ((state & ext2::kStateError) != 0 || chain_.is_unproven()) {
    return check_clean();
  }
  auto mended = MendedImage::make(name(), source_->view, source_never_cancelled);
  if (!mended) {
    mended.error().message += "; so the guest had not frozen it; have it mended: give --fsck";
    return Failure(std::move(mended).error());
  }
  mended_ = std::move(*mended);
  if (has_e2fsck()) {
    UNIONFS_ASSIGN(const auto copy, copy_metadata(*mended_));
    UNIONFS_TRY(look_with_e2fsck(*copy, name()));
  } else {
    note(fmt::format("{}: e2fsck is not here, so only unionfs-img has checked it", name()));
  }
  source_->mended = &mended_->file();
  source_->mended_blocks = &mended_->changed();
  return {};
}

Result<void> LevelSource::run_fsck() {
  const MergedFile shown(name(), source_->view);
  const Layout& layout = source_->top.geometry().merged();
  UNIONFS_ASSIGN(checked_, copy_image(shown, layout));
  UNIONFS_TRY(mend_with_e2fsck(*checked_, name()));
  UNIONFS_ASSIGN(checked_volume_, Volume::open(*checked_, SuperblockUse::kMerged));
  checked_changes_.emplace(layout);
  UNIONFS_TRY(find_differences(shown, *checked_, layout, *checked_changes_));
  source_->mended = checked_.get();
  source_->mended_blocks = &*checked_changes_;
  return {};
}

}  // namespace unionfs::img
