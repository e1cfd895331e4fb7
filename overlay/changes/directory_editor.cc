// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/changes/directory_editor.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "overlay/changes/directory_index.h"

namespace unionfs {
namespace {

void set_entry_size(ByteSpan block, uint32_t offset, uint32_t size_bytes) {
  ext2::DirectoryEntry raw;
  std::memcpy(&raw, block.data() + offset, sizeof(raw));
  raw.rec_len = static_cast<uint16_t>(size_bytes);
  std::memcpy(block.data() + offset, &raw, sizeof(raw));
}

}  // namespace

Result<DirectoryEditor> DirectoryEditor::open(MergedFiles& files, InodeNumber directory) {
  DirectoryEditor editor(files, directory);
  UNIONFS_TRY(editor.read());
  return editor;
}

Result<void> DirectoryEditor::read() {
  if (!files_.is_inode_used(directory_)) {
    return corrupt("merged image: inode {}: is free, but a name leads to it", directory_);
  }
  UNIONFS_ASSIGN(const InodeRecord record, files_.read_inode(directory_));
  has_index_ = record.has_index();
  const Volume& volume = files_.volume();
  const auto visit = [&](FileBlock, BlockNumber number, ConstByteSpan bytes) -> Result<EntryStep> {
    // Checks the entries once; they are not checked again.
    UNIONFS_TRY(for_each_entry(
        bytes, DirectoryRules::of(volume), {volume.name(), directory_, number},
        [&](const EntryView& entry) {
          if (entry.kind == EntryKind::kReal) {
            places_.emplace(entry.name, Place{blocks_.size(), entry.offset, entry.inode});
          }
          return EntryStep::kContinue;
        }));
    blocks_.push_back({{bytes.begin(), bytes.end()}, 0, false});
    numbers_.push_back(number);
    learn_spare(blocks_.size() - 1);
    return EntryStep::kContinue;
  };
  UNIONFS_TRY(walk_directory_blocks(volume, record, visit));
  if (!find(".") || !find("..")) {
    return corrupt("merged image: inode {}: directory without \".\" or \"..\"", directory_);
  }
  return {};
}

DirectoryEditor DirectoryEditor::create(MergedFiles& files, InodeNumber directory,
                                        InodeNumber parent) {
  DirectoryEditor editor(files, directory);
  const uint32_t block_size = files.layout().block_size_bytes;
  constexpr uint32_t kDotSize = ext2::entry_size_bytes(1);
  Block block{std::vector<std::byte>(block_size), 0, true};
  const uint8_t type = editor.type_on_disk(ext2::kFileTypeDirectory);
  put_entry(block.bytes, 0, kDotSize, directory, type, ".");
  put_entry(block.bytes, kDotSize, block_size - kDotSize, parent, type, "..");
  editor.blocks_.push_back(std::move(block));
  editor.places_.emplace(".", Place{0, 0, directory});
  editor.places_.emplace("..", Place{0, kDotSize, parent});
  editor.learn_spare(0);
  return editor;
}

std::optional<InodeNumber> DirectoryEditor::find(const std::string& name) const {
  const auto found = places_.find(name);
  return found == places_.end() ? std::nullopt : std::optional(found->second.inode);
}

std::vector<std::string> DirectoryEditor::names() const {
  std::vector<std::string> names;
  for (const auto& [name, place] : places_) {
    if (name != "." && name != "..") {
      names.push_back(name);
    }
  }
  return names;
}

// ---- entries -------------------------------------------------------------------

std::vector<EntryView> DirectoryEditor::entries_of(size_t block) const {
  std::vector<EntryView> entries;
  const Volume& volume = files_.volume();
  const Result<void> walked =
      for_each_entry(blocks_[block].bytes, DirectoryRules::of(volume),
                     {volume.name(), directory_, BlockNumber(0)}, [&](const EntryView& entry) {
                       entries.push_back(entry);
                       return EntryStep::kContinue;
                     });
  assert(walked);  // they were checked when they were read
  (void)walked;
  return entries;
}

void DirectoryEditor::learn_spare(size_t block) {
  uint32_t largest = 0;
  for (const EntryView& entry : entries_of(block)) {
    largest = std::max(largest, entry.spare_bytes());
  }
  blocks_[block].largest_spare = largest;
}

void DirectoryEditor::rewind_to(size_t block) {
  for (size_t& first : first_with_room_) {
    first = std::min(first, block);
  }
}

void DirectoryEditor::remove(const std::string& name) {
  const auto found = places_.find(name);
  assert(found != places_.end());
  const Place place = found->second;
  places_.erase(found);
  Block& block = blocks_[place.block];
  const EntryView* before = nullptr;
  const std::vector<EntryView> entries = entries_of(place.block);
  for (const EntryView& entry : entries) {
    if (entry.offset != place.offset) {
      before = &entry;
      continue;
    }
    if (before == nullptr) {
      rewrite_entry(block.bytes, place.offset, InodeNumber(0), ext2::kFileTypeUnknown);
    } else {
      set_entry_size(block.bytes, before->offset, before->size_bytes + entry.size_bytes);
    }
    break;
  }
  block.is_changed = true;
  learn_spare(place.block);
  rewind_to(place.block);
}

void DirectoryEditor::replace(const std::string& name, InodeNumber inode, uint8_t file_type) {
  Place& place = places_.at(name);
  place.inode = inode;
  rewrite_entry(blocks_[place.block].bytes, place.offset, inode, type_on_disk(file_type));
  blocks_[place.block].is_changed = true;
}

size_t DirectoryEditor::block_with_room(uint32_t size_bytes) {
  size_t& first = first_with_room_[size_bytes / 4];
  while (first < blocks_.size() && blocks_[first].largest_spare < size_bytes) {
    ++first;
  }
  if (first == blocks_.size()) {
    Block block{std::vector<std::byte>(files_.layout().block_size_bytes), 0, true};
    set_entry_size(block.bytes, 0, files_.layout().block_size_bytes);
    blocks_.push_back(std::move(block));
    learn_spare(first);
  }
  return first;
}

void DirectoryEditor::add(const std::string& name, InodeNumber inode, uint8_t file_type) {
  assert(places_.find(name) == places_.end());
  const uint32_t needed = ext2::entry_size_bytes(static_cast<uint32_t>(name.size()));
  const size_t index = block_with_room(needed);
  Block& block = blocks_[index];
  for (const EntryView& entry : entries_of(index)) {
    if (entry.spare_bytes() < needed) {
      continue;
    }
    const uint32_t kept = entry.size_bytes - entry.spare_bytes();
    if (kept > 0) {
      set_entry_size(block.bytes, entry.offset, kept);
    }
    put_entry(block.bytes, entry.offset + kept, entry.size_bytes - kept, inode,
              type_on_disk(file_type), name);
    places_.emplace(name, Place{index, entry.offset + kept, inode});
    break;
  }
  block.is_changed = true;
  has_additions_ = true;
  learn_spare(index);
}

// ---- writing -------------------------------------------------------------------

bool DirectoryEditor::wants_index() const {
  const ext2::Superblock& raw = files_.volume().superblock().raw();
  return raw.s_rev_level != ext2::kGoodOldRevision &&
         (raw.s_feature_compat & ext2::kCompatDirIndex) != 0 && blocks_.size() > 1;
}

// A name was put where there was room, which an index knows nothing of.
Result<void> DirectoryEditor::build_index() {
  std::vector<IndexedName> names;
  for (const auto& [name, place] : places_) {
    if (name == "." || name == "..") {
      continue;
    }
    ext2::DirectoryEntry raw;
    std::memcpy(&raw, blocks_[place.block].bytes.data() + place.offset, sizeof(raw));
    names.push_back({0, name, place.inode, raw.file_type});
  }
  const uint8_t type = type_on_disk(ext2::kFileTypeDirectory);
  UNIONFS_ASSIGN(std::vector<std::vector<std::byte>> indexed,
                 index_directory(files_.volume().superblock().raw(), files_.volume().name(),
                                 directory_, places_.at("..").inode, type, std::move(names)));
  has_index_ = !indexed.empty();
  if (has_index_) {
    blocks_.clear();
    for (std::vector<std::byte>& bytes : indexed) {
      blocks_.push_back({std::move(bytes), 0, true});
    }
  }
  return {};
}

Result<void> DirectoryEditor::write() {
  if (has_additions_) {
    has_index_ = false;
    if (wants_index()) {
      UNIONFS_TRY(build_index());
    }
  }
  for (size_t i = 0; i < blocks_.size(); ++i) {
    if (i >= numbers_.size()) {
      UNIONFS_TRY(files_.append_block(directory_, i, blocks_[i].bytes));
    } else if (blocks_[i].is_changed) {
      UNIONFS_TRY(files_.disk().write(files_.layout().offset_of(numbers_[i]), blocks_[i].bytes));
    }
  }
  if (blocks_.size() < numbers_.size()) {
    UNIONFS_TRY(files_.cut_directory(directory_, blocks_.size()));
  }
  return write_inode();
}

Result<void> DirectoryEditor::write_inode() {
  UNIONFS_ASSIGN(InodeRecord record, files_.read_inode(directory_));
  const int links = record.raw().i_links_count + subdirectory_change_;
  if (links < 2 || links > ext2::kMaxLinks) {
    return system_failure(EMLINK, fmt::format("merged image: inode {}: {} links, for it and the "
                                              "directories in it, are not from 2 to {}",
                                              directory_, links, ext2::kMaxLinks));
  }
  record.raw().i_links_count = static_cast<uint16_t>(links);
  record.raw().i_flags =
      (record.raw().i_flags & ~ext2::kFlagIndex) | (has_index_ ? ext2::kFlagIndex : 0);
  return files_.write_inode(record);
}

}  // namespace unionfs
