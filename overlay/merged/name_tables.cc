// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/merged/name_tables.h"

#include <algorithm>

namespace unionfs {

Result<std::shared_ptr<const NameTable>> NameTable::read(const Volume& volume,
                                                         const InodeRecord& directory) {
  auto table = std::make_shared<NameTable>();
  const DirectoryRules rules = DirectoryRules::of(volume);
  const auto visit = [&](FileBlock, BlockNumber block, ConstByteSpan bytes) -> Result<EntryStep> {
    const auto keep = [&](const EntryView& entry) {
      if (entry.kind != EntryKind::kFree) {
        table->rows_.push_back({table->text_.size(),
                                static_cast<uint8_t>(entry.name.size()),
                                {entry.inode, entry.file_type, entry.kind}});
        table->text_ += entry.name;
      }
      return EntryStep::kContinue;
    };
    UNIONFS_TRY(for_each_entry(bytes, rules, {volume.name(), directory.number(), block}, keep));
    return EntryStep::kContinue;
  };
  if (Result<void> walked = walk_directory_blocks(volume, directory, visit); !walked) {
    if (walked.error().kind == ErrorKind::kSystem) {
      return Failure(std::move(walked).error());
    }
    table->damage_ = std::move(walked).error();
  }
  std::stable_sort(table->rows_.begin(), table->rows_.end(), [&](const Row& a, const Row& b) {
    return table->name_of(a) < table->name_of(b);
  });
  return std::shared_ptr<const NameTable>(std::move(table));
}

Result<std::optional<FoundName>> NameTable::find(std::string_view name) const {
  const auto found = std::lower_bound(
      rows_.begin(), rows_.end(), name,
      [this](const Row& row, std::string_view wanted) { return name_of(row) < wanted; });
  if (found != rows_.end() && name_of(*found) == name) {
    return std::optional<FoundName>(found->found);
  }
  return damage_ ? Result<std::optional<FoundName>>(Failure(*damage_))
                 : Result<std::optional<FoundName>>(std::nullopt);
}

Result<std::shared_ptr<const NameTable>> NameTables::of(const InodeRecord& directory) const {
  const MutexLock lock(mutex_);
  auto place = std::find_if(kept_.begin(), kept_.end(), [&](const Kept& kept) {
    return kept.names != nullptr && kept.directory == directory.number();
  });
  if (place == kept_.end()) {
    UNIONFS_ASSIGN(auto names, NameTable::read(volume_, directory));
    --place;
    *place = {directory.number(), std::move(names)};
  }
  std::rotate(kept_.begin(), place, place + 1);
  return kept_.front().names;
}

}  // namespace unionfs
