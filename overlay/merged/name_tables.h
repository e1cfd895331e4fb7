// SPDX-License-Identifier: BSD-3-Clause
//
// The names of directories of one image, sorted, for who looks for so many of them
// that going through the directory for each would take the square of its size.
#ifndef UNIONFS_OVERLAY_MERGED_NAME_TABLES_H
#define UNIONFS_OVERLAY_MERGED_NAME_TABLES_H

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fsparse/directory.h"
#include "fsparse/inode.h"
#include "fsparse/volume.h"
#include "overlay/host/mutex.h"

namespace unionfs {

// What an entry of a directory says, of whatever kind but free space.
struct FoundName {
  InodeNumber inode;  // 0 unless kReal
  uint8_t file_type = 0;
  EntryKind kind = EntryKind::kReal;
};

// All names of one directory, in a damaged one those before the damage.  Immutable, so
// thread-safe.  Takes the bytes of the names and 32 bytes for each.
class NameTable {
 public:
  // Fails only if the host cannot read the image.
  static Result<std::shared_ptr<const NameTable>> read(const Volume& volume,
                                                       const InodeRecord& directory);

  // The first entry of that name; nothing if there is none.  The error of a damaged
  // directory, where the name may be behind the damage.
  Result<std::optional<FoundName>> find(std::string_view name) const;

 private:
  struct Row {
    size_t offset = 0;  // of the name in text_
    uint8_t length = 0;
    FoundName found;
  };

  std::string_view name_of(const Row& row) const {
    return std::string_view(text_).substr(row.offset, row.length);
  }

  std::string text_;       // all names, one behind the other
  std::vector<Row> rows_;  // by name
  std::optional<Error> damage_;
};

// The tables of the last few directories that were asked for.  The image must never
// change and outlive the tables.
//
// Safe for concurrent use by multiple threads; who asks for a directory waits while
// another thread reads one.
class NameTables {
 public:
  explicit NameTables(const Volume& volume) : volume_(volume) {}

  const Volume& volume() const { return volume_; }
  Result<std::shared_ptr<const NameTable>> of(const InodeRecord& directory) const
      UNIONFS_EXCLUDES(mutex_);

 private:
  // As many clients may read directories at once without reading each one again and again.
  static constexpr size_t kKept = 4;

  struct Kept {
    InodeNumber directory;
    std::shared_ptr<const NameTable> names;  // nullptr: none yet
  };

  const Volume& volume_;
  mutable Mutex mutex_;
  mutable std::array<Kept, kKept> kept_ UNIONFS_GUARDED_BY(mutex_);  // the last asked for first
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_MERGED_NAME_TABLES_H
