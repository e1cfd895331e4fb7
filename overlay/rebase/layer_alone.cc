// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/rebase/layer_alone.h"

#include "overlay/upper/lower_records_form.h"
#include "overlay/upper/upper_facts.h"

namespace unionfs {

Result<std::unique_ptr<LayerAlone>> LayerAlone::open(const ReadableFile& upper,
                                                     const Below& new_lower, const LogSink& log,
                                                     const std::atomic<bool>& is_cancelled) {
  UNIONFS_ASSIGN(const UpperFacts facts, read_upper_facts(upper));
  if (facts.written_blocks > 0) {
    return invalid(
        "{}: has an open session of {} blocks, which mean something only over its own lower; "
        "without that the session cannot be carried over",
        upper.name(), facts.written_blocks);
  }
  UNIONFS_ASSIGN(OpenedUpper opened, open_upper_alone(upper));
  UNIONFS_ASSIGN(Layer layer,
                 Layer::load(opened.volume, *opened.geometry, std::move(opened.tables)));
  std::unique_ptr<LayerAlone> alone(
      new LayerAlone(new_lower, std::move(opened), std::move(layer), is_cancelled));
  UNIONFS_TRY(alone->open_over_new(upper, log));
  return alone;
}

LayerAlone::LayerAlone(const Below& new_lower, OpenedUpper opened, Layer layer,
                       const std::atomic<bool>& is_cancelled)
    : new_lower_(new_lower),
      opened_(std::move(opened)),
      layer_(std::move(layer)),
      own_blocks_(opened_.volume.layout(), layer_.own_blocks()),
      own_inodes_(opened_.volume.layout(), layer_.own_inodes()),
      inode_whiteouts_(opened_.volume.layout(), layer_.inode_whiteouts()),
      is_cancelled_(is_cancelled) {}

// Where that is not possible the numbers of the records mean nothing in the new lower.
Result<void> LayerAlone::open_over_new(const ReadableFile& file, const LogSink& log) {
  if (!area().has_lower_records() ||
      new_lower_.layout().block_size_bytes != upper().layout().block_size_bytes) {
    return {};
  }
  const auto is_other = [](const Error& error) { return error.kind != ErrorKind::kSystem; };
  Result<OpenedUpper> opened = open_upper_over_another(new_lower_.volume(), file);
  if (!opened) {
    return is_other(opened.error()) ? Result<void>() : Failure(opened.error());
  }
  auto over = LayerOverLower::make(new_lower_, std::move(*opened), log);
  if (!over) {
    return is_other(over.error()) ? Result<void>() : Failure(over.error());
  }
  auto merged = MergedImage::open("layer over the new lower", (*over)->view());
  if (!merged) {
    return is_other(merged.error()) ? Result<void>() : Failure(merged.error());
  }
  over_ = std::move(*over);
  merged_ = std::move(*merged);
  digests_.emplace(new_lower_.volume(), bits_of(layer_), is_cancelled_);
  return {};
}

bool LayerAlone::may_be_of_old(InodeNumber inode) const {
  if (is_whited_out(inode)) {
    return false;
  }
  return !area().has_lower_records() || find_record(records(), inode) != nullptr;
}

Result<bool> LayerAlone::is_new(InodeNumber inode) {
  if (!may_be_of_old(inode)) {
    return true;
  }
  UNIONFS_ASSIGN(const AloneState own, state_of(inode));
  UNIONFS_ASSIGN(const bool is_recorded, is_as_recorded(inode));
  if (!is_recorded) {
    return own.state.created && own.state.created->seconds > int64_t{area().lower.identity.s_wtime};
  }
  UNIONFS_ASSIGN(const InodeRecord now, read_inode(upper(), inode));
  UNIONFS_ASSIGN(const InodeRecord before, read_inode(theirs(), inode));
  UNIONFS_ASSIGN(const FileState old_state, file_state_of(theirs(), inode));
  const bool has_other_birth =
      own.state.created && old_state.created && own.state.created != old_state.created;
  return now.type() != before.type() || has_other_birth ||
         now.raw().i_generation != before.raw().i_generation;
}

Result<bool> LayerAlone::is_as_recorded(InodeNumber inode) {
  const LowerInode* record = find_record(records(), inode);
  if (!digests_ || record == nullptr || inode.value() > new_lower_.layout().inode_count()) {
    return false;
  }
  const auto [known, is_new] = recorded_.emplace(inode, false);
  if (is_new) {
    UNIONFS_ASSIGN(const LowerInode found, digests_->of(inode));
    known->second = found == *record;
  }
  return known->second;
}

Result<AloneContent> LayerAlone::content_of(InodeNumber inode) {
  UNIONFS_ASSIGN(const InodeRecord own, read_inode(upper(), inode));
  if (!may_be_of_old(inode) || !own.is_regular()) {
    return AloneContent::kOwn;
  }
  // The merged count has a block of attributes that is not own besides.
  const KeptInode* kept = layer_.kept_inode(inode);
  const uint64_t merged = kept == nullptr ? own.raw().i_blocks.value() : kept->block_sectors;
  const uint64_t attributes = foreign_attributes(own) ? upper().layout().block_size_bytes / 512 : 0;
  if (merged == own.raw().i_blocks.value() + attributes) {
    return AloneContent::kOwn;
  }
  UNIONFS_ASSIGN(const bool is_recorded, is_as_recorded(inode));
  if (!is_recorded) {
    return AloneContent::kUnknown;
  }
  UNIONFS_ASSIGN(const bool is_covered, digests_->covers_content(inode));
  return is_covered ? AloneContent::kFromBothOf : AloneContent::kUnknown;
}

std::optional<BlockNumber> LayerAlone::foreign_attributes(const InodeRecord& own) const {
  const std::optional<BlockNumber> block = upper().file_block(own.file_acl());
  return block && !own_blocks_.test(*block) ? block : std::nullopt;
}

Result<bool> LayerAlone::are_attributes_proven(const InodeRecord& own, BlockNumber block) {
  if (!digests_ || block.value() >= new_lower_.layout().block_count) {
    return false;
  }
  if (const LowerXattr* record = find_record(records(), block); record != nullptr) {
    UNIONFS_ASSIGN(const LowerXattr found, digests_->of(block));
    return found == *record;
  }
  UNIONFS_ASSIGN(const bool is_recorded, is_as_recorded(own.number()));
  if (!is_recorded) {
    return false;
  }
  UNIONFS_ASSIGN(const InodeRecord theirs, read_inode(new_lower_.volume(), own.number()));
  return theirs.raw().i_file_acl == own.raw().i_file_acl;
}

Result<bool> LayerAlone::has_foreign_attributes(InodeNumber inode) const {
  UNIONFS_ASSIGN(const InodeRecord own, read_inode(upper(), inode));
  return foreign_attributes(own).has_value();
}

Result<AloneState> LayerAlone::state_of(InodeNumber inode) {
  UNIONFS_ASSIGN(InodeRecord own, read_inode(upper(), inode));
  const std::optional<BlockNumber> foreign = foreign_attributes(own);
  AloneState known;
  std::vector<Attribute> attributes;
  if (foreign) {
    UNIONFS_ASSIGN(known.has_all_attributes, are_attributes_proven(own, *foreign));
    if (known.has_all_attributes) {
      UNIONFS_ASSIGN(attributes, read_attributes(theirs(), own));
      sort_attributes(attributes);
    }
    own.raw().i_file_acl = 0U;
  }
  UNIONFS_ASSIGN(known.state, file_state_of(upper(), own));
  if (foreign && known.has_all_attributes) {
    known.state.attributes = std::move(attributes);
  }
  if (const KeptInode* kept = layer_.kept_inode(inode); kept != nullptr) {
    known.state.links_count = kept->links_count;
  }
  return known;
}

}  // namespace unionfs
