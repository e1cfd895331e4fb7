// SPDX-License-Identifier: BSD-3-Clause
//
// The names of a directory, in little room.
#ifndef UNIONFS_OVERLAY_CHANGES_SORTED_NAMES_H
#define UNIONFS_OVERLAY_CHANGES_SORTED_NAMES_H

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fsparse/numbers.h"

namespace unionfs {

// Names with the inodes that they lead to, ascending by their bytes.  A value.  Memory: the names'
// bytes, and eight for each name.
class SortedNames {
 public:
  using Entry = std::pair<std::string, InodeNumber>;

  // Gives entries by value.  Valid while the names are, where they are.
  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = Entry;
    using difference_type = std::ptrdiff_t;
    using pointer = void;
    using reference = Entry;

    Iterator(const SortedNames& names, size_t index) : names_(&names), index_(index) {}

    Entry operator*() const {
      return {std::string(names_->name(index_)), names_->places_[index_].inode};
    }
    Iterator& operator++() {
      ++index_;
      return *this;
    }
    bool operator==(const Iterator& other) const { return index_ == other.index_; }

   private:
    const SortedNames* names_;
    size_t index_;
  };

  // `name` is behind all that were added before.  All names together have less than 4 GiB, as
  // those of any directory of ext2 have.
  void add(std::string_view name, InodeNumber inode);
  // Gives back the room that was kept for further names.
  void shrink();

  std::optional<InodeNumber> find(std::string_view name) const;
  bool contains(std::string_view name) const { return find(name).has_value(); }
  // The name that leads to the inode; the first if there are several.
  std::optional<std::string> name_of(InodeNumber inode) const;
  size_t size() const { return places_.size(); }
  Iterator begin() const { return {*this, 0}; }
  Iterator end() const { return {*this, places_.size()}; }

  bool operator==(const SortedNames&) const = default;

 private:
  struct Place {
    uint32_t end = 0;  // of the name in `bytes_`; it begins where the one before ends
    InodeNumber inode;

    bool operator==(const Place&) const = default;
  };

  std::string_view name(size_t index) const {
    const uint32_t begin = index == 0 ? 0 : places_[index - 1].end;
    return std::string_view(bytes_).substr(begin, places_[index].end - begin);
  }

  std::string bytes_;
  std::vector<Place> places_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHANGES_SORTED_NAMES_H
