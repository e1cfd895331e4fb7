// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/changes/sorted_names.h"

#include <algorithm>

namespace unionfs {

void SortedNames::add(std::string_view name, InodeNumber inode) {
  bytes_ += name;
  places_.push_back({static_cast<uint32_t>(bytes_.size()), inode});
}

void SortedNames::shrink() {
  bytes_.shrink_to_fit();
  places_.shrink_to_fit();
}

std::optional<InodeNumber> SortedNames::find(std::string_view wanted) const {
  size_t first = 0;
  size_t end = places_.size();
  while (first < end) {
    const size_t middle = first + (end - first) / 2;
    const int order = name(middle).compare(wanted);
    if (order == 0) {
      return places_[middle].inode;
    }
    order < 0 ? first = middle + 1 : end = middle;
  }
  return std::nullopt;
}

std::optional<std::string> SortedNames::name_of(InodeNumber inode) const {
  for (size_t index = 0; index < places_.size(); ++index) {
    if (places_[index].inode == inode) {
      return std::string(name(index));
    }
  }
  return std::nullopt;
}

}  // namespace unionfs
